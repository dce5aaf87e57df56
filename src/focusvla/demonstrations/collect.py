"""Recording a data set of scripted demonstrations on all cores, so that any process may be killed at any
time.

An attempt is simulated first, without a picture; if it succeeds, after release and retreat, its frames are
drawn and its shard is published. Attempts are numbered: the data set is made of the successes among attempts
0, 1, 2, ... of each task and does not depend on how many processes recorded it or how often they were
interrupted.

`data/growing_dataset.py` says where the shards wait for the rest; beside them `rejected.jsonl` has a line per failed
attempt, with the reason.
"""

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from focusvla.config import DemonstrationConfig
from focusvla.data.growing_dataset import GrowingDataset
from focusvla.data.shards import read_shard
from focusvla.demonstrations.noise import NoisyEnvironment
from focusvla.demonstrations.recording import (
    attempt_metadata,
    completed,
    draw_attempt,
    episode_folder,
    note_rejected,
    read_rejected,
    write_recording,
)
from focusvla.demonstrations.scripted import require_scripted, scripted_expert
from focusvla.errors import ConfigurationError
from focusvla.simulation.environment import only_environment, suite_task
from focusvla.simulation.trajectory import TrajectoryRecorder
from focusvla.simulation.workers import Call, simulate
from focusvla.suites import suite_of
from focusvla_client import rollout

_HOPELESS_AFTER = 20

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


def collect_demonstrations(
    config: DemonstrationConfig, output: Path, on_progress: Progress = lambda kept, wanted, line: None
) -> dict[str, Any]:
    """Record `config` as a LeRobot v3.0 data set at `output`; continue where an interrupted run stopped.

    Returns the summary that is also written to `meta/demonstrations.json`: kept episodes and attempts per task.

    Raises:
        StorageError: `output` is made of something else, or cannot be written.
        ConfigurationError: unknown suite or task, or an unfinished recording of another configuration.
        WorkerError: a recording process was killed again and again.
        FocusVLAError: an episode cannot be simulated or drawn at all.
    """
    config = completed(config)
    made_of = json.loads(json.dumps(asdict(config) | {"workers": 0}))
    growing = GrowingDataset(output, made_of, "demonstrations.json")
    if summary := growing.finished():
        return summary
    require_scripted(config.suite)
    instructions = {task: suite_task(config.suite, task).instruction for task in config.tasks}
    growing.open()
    ledger = _Ledger.read(growing, config)
    _record_missing(config, ledger, growing, on_progress)
    summary = {
        "tasks": {
            str(task): {
                "instruction": instruction,
                "kept": len(ledger.kept[task]),
                "attempts": len(ledger.kept[task]) + len(ledger.rejected[task]),
            }
            for task, instruction in instructions.items()
        },
        "rejected": read_rejected(growing.staging),
    }
    suite = suite_of(config.suite)
    return growing.publish(summary, suite.spec(config.image_size), suite.robot, config.steps_per_picture)


@dataclass
class _Ledger:
    """Which attempts at each task were kept, rejected or begun."""

    wanted: int
    """Episodes to keep per task."""
    kept: dict[int, set[int]]
    rejected: dict[int, set[int]]
    begun: dict[int, set[int]]

    @classmethod
    def read(cls, growing: GrowingDataset, config: DemonstrationConfig) -> "_Ledger":
        """What earlier runs left."""
        kept = {task: set[int]() for task in config.tasks}
        for shard in growing.shards():
            kept[shard.metadata["task"]].add(shard.metadata["attempt"])
        rejected = {task: set[int]() for task in config.tasks}
        for record in read_rejected(growing.staging):
            rejected[record["task"]].add(record["number"])
        begun = {task: kept[task] | rejected[task] for task in config.tasks}
        return cls(config.episodes_per_task, kept, rejected, begun)

    @property
    def num_kept(self) -> int:
        """Over all tasks."""
        return sum(map(len, self.kept.values()))

    def begin(self) -> tuple[int, int] | None:
        """Task and number of the next attempt, or None while those that run may be enough.

        So what is kept depends on the attempts alone, not on how many run at a time.
        """
        for task, begun in self.begun.items():
            if len(begun) - len(self.rejected[task]) < self.wanted:
                number = next(number for number in itertools.count() if number not in begun)
                begun.add(number)
                return task, number
        return None


def _record_missing(
    config: DemonstrationConfig, ledger: _Ledger, growing: GrowingDataset, on_progress: Progress
) -> None:
    wanted = config.episodes_per_task * len(config.tasks)
    on_progress(ledger.num_kept, wanted, "")
    if ledger.num_kept == wanted:
        return

    def next_attempt() -> Call | None:
        chosen = ledger.begin()
        return chosen and Call(_attempt, (config, *chosen, growing.episodes))

    for attempt in simulate(next_attempt, config.workers):
        (ledger.kept if attempt.kept else ledger.rejected)[attempt.task].add(attempt.number)
        if not attempt.kept:
            note_rejected(growing.staging, asdict(attempt))
            _give_up_if_hopeless(attempt, ledger)
        on_progress(ledger.num_kept, wanted, _describe(attempt))


def _attempt(config: DemonstrationConfig, task: int, number: int, episodes: Path) -> Attempt:
    """Simulate one attempt in a worker process and, if it succeeds, draw and publish it."""
    began = time.monotonic()
    folder = episode_folder(episodes, config.suite, task, number)
    if folder.exists():  # by a process that was killed right after
        return Attempt(task, number, True, read_shard(folder).length, "", 0.0)
    environment = only_environment(config.suite, task, config.image_size, config.mesh_cell_meters)
    rng = np.random.default_rng([config.seed, task, number])
    sigma, start = draw_attempt(config, number, rng)
    recorder = TrajectoryRecorder(environment)
    noisy = NoisyEnvironment(environment, sigma, config.pushes, rng)
    try:
        result = rollout(
            noisy,
            scripted_expert(environment),
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
    write_recording(
        folder,
        recorder,
        result.steps,
        environment,
        config.steps_per_picture,
        metadata=attempt_metadata(config, task, number, sigma, start),
    )
    return Attempt(task, number, True, result.steps, "", time.monotonic() - began)


def _give_up_if_hopeless(attempt: Attempt, ledger: _Ledger) -> None:
    rejected = len(ledger.rejected[attempt.task])
    if not ledger.kept[attempt.task] and rejected >= _HOPELESS_AFTER:
        raise ConfigurationError(
            f"task={attempt.task}: the expert failed in all of {rejected} attempts, last: {attempt.reason}. "
            "Lower `noise` or `displacement_meters`."
        )


def _describe(attempt: Attempt) -> str:
    outcome = f"{attempt.steps} steps" if attempt.kept else f"rejected, {attempt.reason}"
    return f"task {attempt.task}, attempt {attempt.number}: {outcome}"
