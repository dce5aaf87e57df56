"""Whether a policy server loses, swaps or delays answers under load, and what joining requests gains.

`focusvla serve` runs in a process of its own; 32 clients in this process, on the same cores, ask it as fast as they are
answered, each time with one of 64 observations and a new mark. An answer with another mark, or with actions that are not
what the policy gives for that observation alone, is counted as swapped. A client that is not let in, refused, cut off or
answered with what is no answer ends, and its request is counted as lost. Then two servers, one that joins requests and
one that answers one by one, are asked in turns, and the median throughputs are compared.

    python benchmarks/serving.py [--checkpoint FOLDER] [--preset mini] [--device cpu] [--clients 32] [--seconds 60]
                                 [--quick]

Without a checkpoint, an untrained `mini` is served, or another preset that needs no files. The last line is a JSON
object: `requests`, `lost` and `swapped` of all; `p50_ms`, `p95_ms`, `p99_ms`, `requests_per_second` and `mean_batch`
under load; `memory_mb` of the server in the first and in the last fifth of that time (medians of a sample a second);
`batched_speedup`, with the throughput of each turn and the server's processor time for a request, which other work on the
machine changes less.
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from machine import rounded
from websockets.asyncio.client import connect

from focusvla.data.memory import random_source
from focusvla.policy import load_policy
from focusvla.presets import preset
from focusvla.suites.libero import libero_spec
from focusvla.training.trainer import train
from focusvla.versions import versions
from focusvla_client import Observation
from focusvla_client.wire import pack, unpack

NUM_OBSERVATIONS = 64
TOLERANCE = 1e-4
"""In units of the actions: rounding differs with the size of a batch."""
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Question:
    """An observation and what the policy gives for it alone."""

    observation: Observation
    actions: np.ndarray


@dataclass
class Load:
    """What clients counted."""

    latencies: list[float] = field(default_factory=list)
    lost: int = 0
    swapped: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the server."""

    @property
    def cpu_ms(self) -> float:
        """A request's."""
        return 1000 * self.cpu_seconds / len(self.latencies)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="an untrained preset if not given")
    parser.add_argument("--preset", default="mini", help="of the untrained one")
    parser.add_argument("--device", default="cpu", help="of the servers")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the load")
    parser.add_argument("--turn-seconds", type=float, default=8.0, help="of each turn of the comparison")
    parser.add_argument("--turns", type=int, default=3, help="of each server in the comparison")
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of the servers' CPU for one inference")
    parser.add_argument("--quick", action="store_true", help="4 clients, seconds")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.clients, arguments.seconds, arguments.turn_seconds, arguments.turns = 4, 3.0, 1.0, 1
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint or untrained(Path(folder), arguments.preset)
        print(json.dumps(measure(checkpoint, arguments)), flush=True)


def measure(checkpoint: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures."""
    questions = make_questions(checkpoint, arguments.device)
    flags = ["--threads", str(arguments.threads), "--device", arguments.device]
    with served(checkpoint, "--max-batch", str(arguments.max_batch), *flags) as batched:
        load, memory = asyncio.run(under_load(batched, questions, arguments.clients, arguments.seconds))
        mean_batch = figure(batched, "focusvla_batch_size_sum") / figure(batched, "focusvla_batch_size_count")
        with served(checkpoint, "--max-batch", "1", *flags) as one_by_one:
            compared: dict[str, list[Load]] = {batched: [], one_by_one: []}
            for _ in range(arguments.turns):
                for address, turns in compared.items():
                    before = figure(address, "process_cpu_seconds_total")
                    turn = asyncio.run(ask_all(address, questions, arguments.clients, arguments.turn_seconds))
                    turn.cpu_seconds = figure(address, "process_cpu_seconds_total") - before
                    turns.append(turn)
    everything = [load, *itertools.chain(*compared.values())]
    together, alone = (statistics.median(turn.per_second for turn in turns) for turns in compared.values())
    p50, p95, p99 = (1000 * value for value in np.percentile(load.latencies, [50, 95, 99]))
    fifth = max(1, len(memory) // 5)
    return {
        "requests": sum(len(each.latencies) for each in everything),
        "lost": sum(each.lost for each in everything),
        "swapped": sum(each.swapped for each in everything),
        "p50_ms": rounded(p50),
        "p95_ms": rounded(p95),
        "p99_ms": rounded(p99),
        "requests_per_second": rounded(load.per_second),
        "mean_batch": rounded(mean_batch),
        "memory_mb": [rounded(statistics.median(part) / 1e6) for part in (memory[:fifth], memory[-fifth:])],
        "batched_speedup": rounded(together / alone),
        "batched_per_second": [rounded(turn.per_second) for turn in compared[batched]],
        "one_by_one_per_second": [rounded(turn.per_second) for turn in compared[one_by_one]],
        "batched_cpu_ms": [rounded(turn.cpu_ms) for turn in compared[batched]],
        "one_by_one_cpu_ms": [rounded(turn.cpu_ms) for turn in compared[one_by_one]],
        "clients": arguments.clients,
        "seconds": arguments.seconds,
        "max_batch": arguments.max_batch,
        "threads": arguments.threads,
        "device": arguments.device,
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "load_average": os.getloadavg()[0],
        "versions": versions(),
    }


def untrained(folder: Path, name: str) -> Path:
    """A preset after one step on noise."""
    experiment = preset(name)
    training = dataclasses.replace(experiment.training, steps=1, batch_size=4)
    experiment = dataclasses.replace(experiment, training=training)
    source = random_source(libero_spec(experiment.model.vision.image_size), (9, 7, 8))
    return train(experiment, source, folder / "run", cache_folder=folder / "cache")


def make_questions(checkpoint: Path, device: str) -> list[Question]:
    """Observations whose answers are further apart than rounding, so that a swap is seen."""
    policy = load_policy(checkpoint, device)
    rng = np.random.default_rng(0)
    questions = []
    for _ in range(NUM_OBSERVATIONS):
        observation = Observation(
            images={
                c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in policy.spec.cameras
            },
            state=rng.uniform(-1, 1, len(policy.spec.state)).astype(np.float32),
            instruction="lift the cup",
        )
        questions.append(Question(observation, policy.infer(observation)))
    nearest = min(
        np.abs(one.actions - other.actions).max() for one, other in itertools.combinations(questions, 2)
    )
    if nearest < 3 * TOLERANCE:
        raise SystemExit(f"two observations' answers are {nearest:.2g} apart: a swap would not be seen")
    return questions


@contextmanager
def served(checkpoint: Path, *flags: str) -> Iterator[str]:
    """The address of `focusvla serve` in a process of its own, which is asked to end at the end."""
    command = [sys.executable, "-m", "focusvla", "serve", str(checkpoint), "--port", "0", *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    # The device may be said first.
    found = next((match for line in process.stdout if (match := re.search(r"ws://\S+", line))), None)
    try:
        if found is None:
            raise SystemExit(f"{' '.join(command)}: said no address")
        yield found[0]
    finally:
        process.terminate()
        code = process.wait(60)
        process.stdout.close()
    if code:
        raise SystemExit(f"{' '.join(command)}: ended with code {code}")


async def under_load(
    address: str, questions: list[Question], clients: int, seconds: float
) -> tuple[Load, list[float]]:
    """What clients counted, and the server's memory in bytes, once a second."""
    memory: list[float] = []

    async def watch() -> None:
        while True:
            memory.append(await asyncio.to_thread(figure, address, "process_resident_memory_bytes"))
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    load = await ask_all(address, questions, clients, seconds)
    watching.cancel()
    return load, memory


async def ask_all(address: str, questions: list[Question], clients: int, seconds: float) -> Load:
    """Ask with many clients at once, each again as soon as it is answered."""
    load, began = Load(), time.perf_counter()
    marks = itertools.count()

    async def one_client(number: int) -> None:
        async with connect(address, compression=None) as connection:
            await connection.recv()
            ends = time.perf_counter() + seconds
            while time.perf_counter() < ends:
                mark = next(marks)
                question = questions[(mark * 7 + number) % len(questions)]
                request = pack(
                    {
                        "images": dict(question.observation.images),
                        "state": question.observation.state,
                        "prompt": question.observation.instruction,
                        "request_id": mark,
                    }
                )
                asked = time.perf_counter()
                await connection.send(request)
                frame = await asyncio.wait_for(connection.recv(), ANSWER_SECONDS)
                latency = time.perf_counter() - asked
                if isinstance(frame, str):
                    raise RuntimeError(frame)
                answer = unpack(frame)
                is_own = answer["request_id"] == mark and np.allclose(
                    answer["actions"], question.actions, rtol=0, atol=TOLERANCE
                )
                load.latencies.append(latency)
                load.swapped += not is_own

    ended = await asyncio.gather(*map(one_client, range(clients)), return_exceptions=True)
    for error in ended:
        if error is not None:  # a client waits for one answer at a time
            load.lost += 1
            print(f"a client ended early: {error!r}", file=sys.stderr)
    if not load.latencies:
        raise SystemExit(f"{address}: answered none of {clients} clients")
    load.seconds = time.perf_counter() - began
    return load


def figure(address: str, name: str) -> float:
    """One of the server's figures."""
    with urllib.request.urlopen(address.replace("ws://", "http://") + "/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.split()[0] == name)


if __name__ == "__main__":
    main()
