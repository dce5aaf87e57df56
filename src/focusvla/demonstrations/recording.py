"""What recordings in a simulator share: how attempts begin, how one that succeeded is written, and what is noted of one
that did not."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from focusvla.config import RecordingConfig
from focusvla.data.normalization import SMALLEST_RANGE, untouched_dimensions
from focusvla.data.shards import write_episode_shard
from focusvla.simulation.environment import SimulatedEnvironment, suite_tasks
from focusvla.simulation.trajectory import TrajectoryRecorder
from focusvla.storage import complete_lines, replace_text
from focusvla.suites import Start, suite_of
from focusvla_client import Spec

Config = TypeVar("Config", bound=RecordingConfig)

REJECTED = "rejected.jsonl"
"""A line per attempt that was not kept."""


def completed(config: Config) -> Config:
    """The same with all tasks of the suite, and its own values, in place of what is not given."""
    suite = suite_of(config.suite)
    displacement, arm = config.displacement_meters, config.arm_displacement_meters
    return replace(
        config,
        tasks=config.tasks or tuple(task.index for task in suite_tasks(config.suite)),
        displacement_meters=suite.displacement_meters if displacement is None else displacement,
        arm_displacement_meters=suite.arm_displacement_meters if arm is None else arm,
        max_steps=config.max_steps or suite.demonstration_steps,
    )


def draw_attempt(config: RecordingConfig, number: int, rng: np.random.Generator) -> tuple[float, Start]:
    """Standard deviation of the noise, and start, of an attempt with `config` that is complete."""
    sigma = config.noise * rng.choice([0.0, 0.5, 1.0])
    start = Start(
        init_state=None,
        seed=int(rng.integers(2**31)),
        displacement_meters=0.0 if is_undisplaced(config, number) else config.displacement_meters or 0.0,
        arm_displacement_meters=(config.arm_displacement_meters or 0.0) if number % 3 else 0.0,
    )
    return float(sigma), start


def attempt_metadata(
    config: RecordingConfig, task: int, number: int, sigma: float, start: Start
) -> dict[str, Any]:
    """What an episode's metadata say of its attempt, with what `draw_attempt` gave."""
    return {
        "suite": config.suite,
        "task": task,
        "attempt": number,
        "start": asdict(start),
        "noise": sigma,
        "pushes": config.pushes,
        "mesh_cell_meters": config.mesh_cell_meters,
    }


def is_undisplaced(config: RecordingConfig, number: int) -> bool:
    """True for that share of the attempts, spread evenly over their numbers."""
    return int((number + 1) * config.undisplaced_share) > int(number * config.undisplaced_share)


def episode_folder(episodes: Path, suite: str, task: int, number: int) -> Path:
    """Where the episode of an attempt goes; folders in the order of their names are in that of their attempts."""
    return episodes / f"{suite}-{task:03d}-{number:06d}"


def write_recording(
    folder: Path,
    recorder: TrajectoryRecorder,
    steps: int,
    drawing: SimulatedEnvironment,
    steps_per_picture: int,
    metadata: dict[str, Any],
) -> None:
    """Publish the first `steps` of what `recorder` noted, with pictures by `drawing`, which has been reset to the same
    start.

    Raises:
        StorageError: it cannot be written.
    """
    action = np.stack(recorder.actions)
    assert not holds_a_switch(action, drawing.spec), "an expert told the gripper what no policy can answer"
    drawn = [drawing.replay_images(snapshot) for snapshot in recorder.snapshots[:steps:steps_per_picture]]
    images = [drawn[step // steps_per_picture] for step in range(steps)]
    write_episode_shard(
        folder,
        drawing.spec,
        frames={camera: [image[camera] for image in images] for camera in images[0]},
        state=np.stack(recorder.states[:steps]),
        action=action,
        instruction=drawing.task.instruction,
        metadata=metadata,
    )


def holds_a_switch(action: Float[np.ndarray, "steps action"], spec: Spec) -> bool:
    """Whether a gripper that obeys the sign alone is told 0, which no policy can answer: nearly 0 opens or closes it."""
    return bool((np.abs(action[:, untouched_dimensions(spec)]) < SMALLEST_RANGE).any())


def note_rejected(staging: Path, attempt: dict[str, Any]) -> None:
    """Add a line to the rejected attempts."""
    lines = [*_lines(staging / REJECTED), json.dumps(attempt)]
    replace_text(staging / REJECTED, "".join(line + "\n" for line in lines))


def read_rejected(staging: Path) -> list[dict[str, Any]]:
    """What `note_rejected` has noted."""
    return [json.loads(line) for line in _lines(staging / REJECTED)]


def _lines(path: Path) -> list[str]:
    return complete_lines(path.read_text("utf-8")) if path.exists() else []
