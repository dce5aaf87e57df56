"""Recording a data set of scripted demonstrations on all cores, so that any process may be killed at any
time.

An attempt is simulated first, without a picture; if it succeeds, after release and retreat, its frames are
drawn and its shard is published. Attempts are numbered: the data set is made of the successes among attempts
0, 1, 2, ... of each task and does not depend on how many processes recorded it or how often they were
interrupted.

    NAME.recording/             until the data set is complete
    ├── collection.json         the configuration; another one is refused
    ├── rejected.jsonl          a line per failed attempt, with the reason
    └── episodes/               a shard per kept attempt
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from focusvla.config import DemonstrationConfig
from focusvla.data.lerobot_writer import assemble_dataset
from focusvla.data.shards import read_shard_index, write_episode_shard
from focusvla.demonstrations.experts import ScriptedExpert
from focusvla.demonstrations.noise import NoisyEnvironment
from focusvla.errors import ConfigurationError, StorageError
from focusvla.simulation.libero import CAMERAS, LiberoStart, libero_spec, libero_task, only_environment
from focusvla.simulation.workers import simulation_workers
from focusvla_client import Observer, rollout

Progress = Callable[[int, int, str], None]
"""Called with episodes kept, episodes wanted, and a line about the latest attempt."""


@dataclass(frozen=True)
class Attempt:
    """What became of one attempt."""

    task: int
    number: int
    kept: bool
    steps: int
    reason: str
    """Why it was rejected; empty if it was kept."""
    seconds: float


@dataclass
class _Recorder(Observer):
    snapshots: list[np.ndarray] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)

    def on_action(self, environment: Any, action: np.ndarray) -> None:
        self.snapshots.append(environment.environment.snapshot())
        self.states.append(environment.observe(()).state)
        self.actions.append(action)


def collect_demonstrations(
    config: DemonstrationConfig, output: Path, on_progress: Progress = lambda kept, wanted, line: None
) -> dict[str, Any]:
    """Record `config` as a LeRobot v3.0 data set at `output`; continue where an interrupted run stopped.

    Returns the summary that is also written to `meta/demonstrations.json`: kept episodes and attempts per
    task.

    Raises:
        StorageError: `output` exists and is not this collection, or cannot be written.
        ConfigurationError: unknown suite or task, or an unfinished recording of another configuration.
        FocusVLAError: an episode cannot be simulated or drawn at all.
    """
    summary_file = output / "meta" / "demonstrations.json"
    described = json.loads(json.dumps(asdict(config) | {"workers": 0}))
    if output.exists():
        if summary_file.is_file() and json.loads(summary_file.read_text("utf-8"))["config"] == described:
            return json.loads(summary_file.read_text("utf-8"))
        raise StorageError(
            f"output={output}: exists already and is not this collection. Choose another folder."
        )
    tasks = {index: libero_task(config.suite, index) for index in config.tasks}
    staging = output.with_name(output.name + ".recording")
    _open_staging(staging, described)
    rejected = {task: set[int]() for task in tasks}
    for line in _lines(staging / "rejected.jsonl"):
        record = json.loads(line)
        rejected[record["task"]].add(record["number"])
    shards = [shard.folder.name for shard in read_shard_index(staging / "episodes")]
    kept = {
        task: {int(name.rsplit("-", 1)[1]) for name in shards if name.startswith(_shard_name(config, task))}
        for task in tasks
    }
    wanted = config.episodes_per_task * len(tasks)
    on_progress(sum(map(len, kept.values())), wanted, "")
    with simulation_workers(config.workers) as pool:
        workers = config.workers or os.cpu_count() or 1
        running: set[Future[Attempt]] = set()
        started = {task: kept[task] | rejected[task] for task in tasks}
        try:
            while True:
                for task in tasks:
                    in_flight = len(started[task]) - len(kept[task]) - len(rejected[task])
                    while (
                        len(kept[task]) + in_flight < config.episodes_per_task and len(running) < workers + 1
                    ):
                        number = next(n for n in range(10**9) if n not in started[task])
                        started[task].add(number)
                        in_flight += 1
                        running.add(pool.submit(_attempt, config, task, number, staging))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for attempt in (future.result() for future in done):
                    (kept if attempt.kept else rejected)[attempt.task].add(attempt.number)
                    if not attempt.kept:
                        _append_line(staging / "rejected.jsonl", asdict(attempt))
                        _give_up_if_hopeless(attempt, len(kept[attempt.task]), len(rejected[attempt.task]))
                    on_progress(sum(map(len, kept.values())), wanted, _describe(attempt))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    summary = {
        "config": described,
        "tasks": {
            str(task): {
                "instruction": tasks[task].instruction,
                "kept": len(kept[task]),
                "attempts": len(kept[task]) + len(rejected[task]),
            }
            for task in tasks
        },
        "rejected": [json.loads(line) for line in _lines(staging / "rejected.jsonl")],
    }
    assemble_dataset(
        read_shard_index(staging / "episodes"), output, libero_spec(config.image_size), robot_type="panda"
    )
    summary_file.write_text(json.dumps(summary, indent=2), "utf-8")
    shutil.rmtree(staging)
    return summary


def _attempt(config: DemonstrationConfig, task: int, number: int, staging: Path) -> Attempt:
    """Simulate one attempt in a worker process and, if it succeeds, draw and publish it."""
    began = time.monotonic()
    environment = only_environment(config.suite, task, config.image_size, config.mesh_cell_meters)
    rng = np.random.default_rng([config.seed, task, number])
    sigma = config.noise * rng.choice([0.0, 0.5, 1.0])
    start = LiberoStart(
        init_state=None,
        seed=int(rng.integers(2**31)),
        displacement_meters=config.displacement_meters,
        arm_displacement_meters=config.arm_displacement_meters if number % 3 else 0.0,
    )
    recorder = _Recorder()
    noisy = NoisyEnvironment(environment, sigma, rng)
    try:
        result = rollout(
            noisy,
            ScriptedExpert(environment),
            start,
            max_steps=config.max_steps,
            actions_per_inference=1,
            stop_on_success=False,
            observers=[recorder],
        )
    except ConfigurationError as error:  # no free place for the target from this seed
        return Attempt(task, number, False, 0, str(error), time.monotonic() - began)
    if not result.success or result.steps == config.max_steps:
        reason = "not solved" if not result.success else f"not finished within {config.max_steps} steps"
        return Attempt(task, number, False, result.steps, reason, time.monotonic() - began)
    images = [environment.replay_images(snapshot) for snapshot in recorder.snapshots]
    write_episode_shard(
        staging / "episodes" / _shard_name(config, task, number),
        environment.spec,
        frames={camera: [image[camera] for image in images] for camera in CAMERAS},
        state=np.stack(recorder.states),
        action=np.stack(recorder.actions),
        instruction=environment.task.instruction,
        metadata={
            "suite": config.suite,
            "task": task,
            "attempt": number,
            "start": asdict(start),
            "noise": sigma,
            "mesh_cell_meters": config.mesh_cell_meters,
        },
    )
    return Attempt(task, number, True, result.steps, "", time.monotonic() - began)


def _open_staging(staging: Path, described: dict[str, Any]) -> None:
    try:
        (staging / "episodes").mkdir(parents=True, exist_ok=True)
        file = staging / "collection.json"
        if not file.exists():
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(described, indent=2), "utf-8")
            partial.replace(file)
        found = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise StorageError(
            f"{staging}: cannot be written ({error.strerror}). Choose another folder."
        ) from error
    differing = [key for key in described if found.get(key) != described[key]]
    if differing:
        raise ConfigurationError(
            f"{staging} holds an unfinished recording with other values of {', '.join(differing)} "
            f"({', '.join(f'{found.get(key)!r} there, {described[key]!r} here' for key in differing)}). "
            "Continue it with its own values, remove it, or choose another folder."
        )


def _shard_name(config: DemonstrationConfig, task: int, number: int | None = None) -> str:
    return f"{config.suite}-{task:03d}-" + ("" if number is None else f"{number:06d}")


def _lines(path: Path) -> list[str]:
    """Complete lines only: a killed process may have left half of one."""
    text = path.read_text("utf-8") if path.exists() else ""
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]


def _append_line(path: Path, values: dict[str, Any]) -> None:
    kept = "".join(line + "\n" for line in _lines(path))
    partial = path.with_suffix(".partial")
    partial.write_text(kept + json.dumps(values) + "\n", "utf-8")
    partial.replace(path)


def _give_up_if_hopeless(attempt: Attempt, kept: int, rejected: int) -> None:
    if kept == 0 and rejected >= 20:
        raise ConfigurationError(
            f"task={attempt.task}: the expert failed in all of {rejected} attempts, last: {attempt.reason}. "
            "Lower `noise` or `displacement_meters`."
        )


def _describe(attempt: Attempt) -> str:
    outcome = f"{attempt.steps} steps" if attempt.kept else f"rejected, {attempt.reason}"
    return f"task {attempt.task}, attempt {attempt.number}: {outcome}"
