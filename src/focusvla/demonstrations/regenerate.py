"""LIBERO's original demonstrations without their no-ops, as the published data sets for policies have them.

People who demonstrate pause, and policies that learn from pauses stand still. Leaving the pauses out of the files is
not enough, since the states after them are not those that the remaining actions lead to. So each demonstration's
moving actions are played again in the simulator from its first state, what succeeds is kept, and its states and
pictures are recorded anew, in any size. (openvla's regeneration, which LIBERO's published RLDS and LeRobot sets come
from.)

`data/growing_dataset.py` says where what is kept waits for the rest; beside it `rejected.jsonl` has a line per
demonstration that was not kept, with the reason.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from focusvla.config import RegenerationConfig
from focusvla.data.formats.libero_hdf5 import FILE_ENDING, LiberoDemo, find_demos, libero_files
from focusvla.data.formats.no_ops import moving_steps
from focusvla.data.growing_dataset import GrowingDataset
from focusvla.data.shards import read_shard, write_episode_shard
from focusvla.demonstrations.recording import note_rejected, read_rejected
from focusvla.errors import ConfigurationError, DataError, require_known
from focusvla.simulation.environment import only_environment, suite_tasks
from focusvla.simulation.libero import LiberoEnvironment
from focusvla.simulation.trajectory import TrajectoryRecorder
from focusvla.simulation.workers import Call, simulate
from focusvla.suites import Start, suite_of
from focusvla_client import Observation, Spec, rollout

Progress = Callable[[int, int, str], None]
"""Called with demonstrations played, demonstrations in all, and a line about the latest one."""


@dataclass(frozen=True)
class Replayed:
    """What became of one demonstration."""

    file: str
    demo: str
    """Its name in the file."""
    steps: int
    """Actions that were played."""
    no_ops: int
    """Actions that were left out."""
    reason: str
    """Why it was rejected; empty if it was kept."""
    seconds: float


def regenerate_demonstrations(
    config: RegenerationConfig,
    source: Path,
    output: Path,
    on_progress: Progress = lambda done, total, line: None,
) -> dict[str, Any]:
    """Play the demonstrations at `source`, LIBERO's original files, again without their no-ops, and record those that
    succeed as a LeRobot v3.0 data set at `output`; continue where an interrupted run stopped.

    Returns the summary that is also written to `meta/regeneration.json`: kept and rejected demonstrations.

    Raises:
        DataError: there are no such files, one is damaged, or no demonstration succeeds.
        ConfigurationError: an unknown suite, a file that is called after none of its tasks, or an unfinished recording
            of something else.
        StorageError: `output` is made of something else, or cannot be written.
        WorkerError: a simulating process was killed again and again.
    """
    files = libero_files(source)
    tasks = _tasks(config.suite, source, files)
    demos = {(demo.path.name, demo.key): demo for file in files for demo in find_demos(file)}
    counts = Counter(file for file, _ in demos)
    made_of = json.loads(json.dumps(asdict(config) | {"workers": 0, "demonstrations": dict(counts)}))
    growing = GrowingDataset(output, made_of, "regeneration.json")
    if summary := growing.finished():
        return summary
    growing.open()
    _replay_missing(config, demos, tasks, growing, on_progress)
    summary = {
        "kept": [shard.metadata for shard in growing.shards()],
        "rejected": read_rejected(growing.staging),
    }
    suite = suite_of(config.suite)
    return growing.publish(summary, suite.spec(config.image_size), suite.robot)


def _tasks(suite: str, source: Path, files: Sequence[Path]) -> dict[str, int]:
    """The number of the task that each file is called after."""
    if not files:
        raise DataError(f"{source}: expected files called TASK{FILE_ENDING}, got none. Name their folder.")
    name, count = Counter(file.name for file in files).most_common(1)[0]
    if count > 1:
        raise DataError(
            f"{source}: expected {name} once, got it {count} times. Name the folder of one suite."
        )
    numbers = {task.name: task.index for task in suite_tasks(suite)}
    for file in files:
        require_known(f"{file}: task of {suite}", file.name.removesuffix(FILE_ENDING), numbers)
    return {file.name: numbers[file.name.removesuffix(FILE_ENDING)] for file in files}


def _replay_missing(
    config: RegenerationConfig,
    demos: dict[tuple[str, str], LiberoDemo],
    tasks: dict[str, int],
    growing: GrowingDataset,
    on_progress: Progress,
) -> None:
    done = {(record["file"], record["demo"]) for record in read_rejected(growing.staging)}
    done |= {(shard.metadata["file"], shard.metadata["demo"]) for shard in growing.shards()}
    missing = iter([key for key in demos if key not in done])
    count = len(done)
    on_progress(count, len(demos), "")

    def next_demo() -> Call | None:
        key = next(missing, None)
        return key and Call(_replay, (config, demos[key], tasks[key[0]], growing.episodes))

    if count == len(demos):
        return
    for replayed in simulate(next_demo, config.workers):
        if replayed.reason:
            note_rejected(growing.staging, asdict(replayed))
        count += 1
        on_progress(count, len(demos), _describe(replayed))


def _replay(config: RegenerationConfig, demo: LiberoDemo, task: int, episodes: Path) -> Replayed:
    """Play one demonstration in a worker process and, if it succeeds, draw and publish it."""
    began = time.monotonic()
    folder = (
        episodes / f"{demo.path.name.removesuffix(FILE_ENDING)}-{int(demo.key.removeprefix('demo_')):06d}"
    )
    if folder.exists():  # by a process that was killed right after
        shard = read_shard(folder)
        return Replayed(demo.path.name, demo.key, shard.length, shard.metadata["no_ops"], "", 0.0)
    environment = only_environment(config.suite, task, config.image_size, config.mesh_cell_meters)
    assert isinstance(environment, LiberoEnvironment)
    steps = no_ops = 0
    recorder = TrajectoryRecorder(environment)

    def ended(reason: str) -> Replayed:
        return Replayed(demo.path.name, demo.key, steps, no_ops, reason, time.monotonic() - began)

    try:
        state, actions = demo.replay()
        kept = moving_steps(actions)
        steps, no_ops = len(kept), len(actions) - len(kept)
        if not steps:
            return ended("no action moves")
        result = rollout(
            _Restored(environment, state),
            _Recorded(actions[kept]),
            Start(init_state=None, settle_steps=config.settle_steps),
            max_steps=steps,
            actions_per_inference=steps,
            stop_on_success=False,
            observers=[recorder],
        )
    except (DataError, ConfigurationError) as error:  # a damaged file, or one of another version of the scene
        return ended(str(error))
    if not result.success:
        return ended("not solved")
    images = [environment.replay_images(snapshot) for snapshot in recorder.snapshots[:steps]]
    write_episode_shard(
        folder,
        environment.spec,
        frames={camera: [image[camera] for image in images] for camera in images[0]},
        state=np.stack(recorder.states[:steps]),
        action=np.stack(recorder.actions),
        instruction=environment.task.instruction,
        metadata={
            "suite": config.suite,
            "task": task,
            "file": demo.path.name,
            "demo": demo.key,
            "no_ops": no_ops,
        },
    )
    return ended("")


class _Restored:
    """An environment whose episodes begin in one state of the simulator."""

    def __init__(self, environment: LiberoEnvironment, state: np.ndarray):
        self.environment = environment
        self._state = state

    @property
    def spec(self) -> Spec:
        return self.environment.spec

    def reset(self, start: Start) -> None:
        self.environment.reset_to(self._state, start.settle_steps)

    def observe(self, cameras: Sequence[str]) -> Observation:
        return self.environment.observe(cameras)

    def apply(self, action: np.ndarray) -> None:
        self.environment.apply(action)

    def success(self) -> bool:
        return self.environment.success()


class _Recorded:
    """A policy that answers with all actions of a demonstration."""

    cameras: Sequence[str] = ()

    def __init__(self, actions: np.ndarray):
        self._actions = actions

    def reset(self) -> None:
        pass

    def infer(self, observation: Observation) -> np.ndarray:
        return self._actions


def _describe(replayed: Replayed) -> str:
    outcome = f"rejected, {replayed.reason}" if replayed.reason else f"{replayed.steps} steps"
    return f"{replayed.file}, {replayed.demo}: {outcome}, {replayed.no_ops} no-ops left out"
