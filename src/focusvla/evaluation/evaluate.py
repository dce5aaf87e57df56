"""Evaluation of a checkpoint in the simulator, on all cores.

RESULTS/
├── results.jsonl       a line per episode, appended as it ends
├── protocol.json       the protocol's values
├── trajectories/       joint positions along each episode, from which pictures can be drawn at any time
├── observations/       what the policy saw in trial 0 of each task, for focus pictures
└── videos/             per task the first success and the first failure
"""

import hashlib
import json
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from focusvla.config import EvaluationConfig
from focusvla.data.storage import explained_storage_errors, partial_path
from focusvla.data.video import encode_video
from focusvla.errors import ConfigurationError
from focusvla.evaluation.protocol import protocol
from focusvla.evaluation.results import EpisodeResult, ResultsFile
from focusvla.policy import FocusVLAPolicy, find_checkpoint, load_policy
from focusvla.simulation.libero import CAMERAS, libero_task
from focusvla.simulation.suites import only_environment
from focusvla.simulation.workers import Job, simulate
from focusvla.versions import versions
from focusvla_client import Camera, Observation, Observer, rollout

VIDEO_EVERY_STEPS = 4
"""Control steps between frames of a rollout video, 5 frames a second of simulated time."""


@dataclass
class _Recorder(Observer):
    snapshots: list[np.ndarray] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)

    def on_inference(self, observation: Observation, chunk: np.ndarray) -> None:
        self.observations.append(observation)

    def on_action(self, environment: Any, action: np.ndarray) -> None:
        self.snapshots.append(environment.snapshot())

    def on_end(self, environment: Any, success: bool) -> None:
        self.snapshots.append(environment.snapshot())


def evaluate(
    checkpoint: Path,
    config: EvaluationConfig,
    output: Path,
    on_episode: Callable[[int, int, EpisodeResult | None], None] = lambda done, total, result: None,
) -> list[EpisodeResult]:
    """Evaluate `checkpoint` (or a training run's newest) and write `output`; what is there already is not
    repeated.

    `on_episode` is told finished and all episodes, and the latest result.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ConfigurationError: unknown suite, task or protocol, or `output` holds results of something else.
        SpecMismatchError: the policy was trained for another environment.
        StorageError: `output` cannot be written.
    """
    checkpoint = find_checkpoint(checkpoint)
    rules = protocol(config.protocol)
    rules.max_steps_of(config.suite)
    trials = config.trials or rules.trials_per_task
    tasks = [libero_task(config.suite, task) for task in config.tasks]
    for task in tasks:
        if trials > task.num_init_states:
            raise ConfigurationError(
                f"trials={trials}: expected at most {task.num_init_states}, the init states of task {task.index}."
            )
    policy = load_policy(checkpoint)
    if policy.experiment.model.chunk_length < config.actions_per_inference:
        raise ConfigurationError(
            f"actions_per_inference={config.actions_per_inference}: expected at most the policy's chunk of "
            f"{policy.experiment.model.chunk_length}."
        )
    file = ResultsFile(
        output / "results.jsonl",
        protocol=rules.name,
        policy=_digest(checkpoint),
        actions_per_inference=config.actions_per_inference,
    )
    _write_json(output / "protocol.json", rules.to_dict() | {"checkpoint": str(checkpoint.absolute())})
    pending = [(t, n) for t in config.tasks for n in range(trials) if (t, n) not in file.finished]
    total = len(config.tasks) * trials
    on_episode(total - len(pending), total, None)
    episodes = deque((_run_episode, checkpoint, config, task, trial, output) for task, trial in pending)
    videos: deque[Job] = deque()

    def draw_if_complete(task: int) -> None:
        """Soon, while a process still has the task's environment."""
        if config.videos and all((task, trial) in file.finished for trial in range(trials)):
            worthy = _worth_a_video([result for result in file.results if result.task == task])
            videos.extend(
                (_draw_video, config, r, output) for r in worthy if not _video_path(output, r).exists()
            )

    def next_job() -> Job | None:
        return next((jobs.popleft() for jobs in (videos, episodes) if jobs), None)

    for task in config.tasks:
        draw_if_complete(task)
    done = total - len(pending)
    for result in simulate(next_job, config.workers):
        if isinstance(result, EpisodeResult):
            file.append(result)
            draw_if_complete(result.task)
            done += 1
            on_episode(done, total, result)
    chosen = {(t, n) for t in config.tasks for n in range(trials)}
    return sorted(
        (r for r in file.results if (r.task, r.trial) in chosen),
        key=lambda result: (result.task, result.trial),
    )


def trajectory_name(result: EpisodeResult) -> str:
    """Stem of an episode's files."""
    return f"task-{result.task:03d}-trial-{result.trial:03d}"


@lru_cache(maxsize=1)
def _policy(checkpoint: Path) -> FocusVLAPolicy:
    torch.set_num_threads(1)  # the other cores simulate
    return load_policy(checkpoint)


def _run_episode(
    checkpoint: Path, config: EvaluationConfig, task: int, trial: int, output: Path
) -> EpisodeResult:
    """Play one episode in a worker process; whatever breaks in it is recorded, not raised."""
    rules = protocol(config.protocol)
    start = rules.start(trial)
    began = time.monotonic()
    policy = _policy(checkpoint)
    environment = only_environment(config.suite, task, policy.spec.cameras[0].height)
    policy.spec.require_equal(environment.spec, "the policy", "the environment")
    recorder = _Recorder()
    error, success, steps, inferences = "", False, 0, 0
    try:
        played = rollout(
            environment,
            policy,
            start,
            max_steps=rules.max_steps_of(config.suite),
            actions_per_inference=config.actions_per_inference,
            observers=[recorder],
        )
        success, steps, inferences = played.success, played.steps, played.inferences
    except Exception:  # noqa: BLE001 - one episode must not stop an evaluation; its traceback is in the results
        error = traceback.format_exc()
        steps, inferences = len(recorder.snapshots), len(recorder.observations)
    result = EpisodeResult(
        suite=config.suite,
        task=task,
        instruction=environment.task.instruction,
        trial=trial,
        seed=start.seed,
        success=success,
        steps=steps,
        inferences=inferences,
        seconds=round(time.monotonic() - began, 3),
        protocol=rules.name,
        policy=_digest(checkpoint),
        actions_per_inference=config.actions_per_inference,
        error=error,
        versions=versions(),
    )
    if recorder.snapshots:
        _save(output / "trajectories", result, {"snapshots": np.stack(recorder.snapshots)})
    if trial == 0 and policy.cameras and recorder.observations:
        seen = recorder.observations
        tensors = {f"image.{c}": np.stack([o.images[c] for o in seen]) for c in policy.cameras}
        _save(output / "observations", result, tensors | {"state": np.stack([o.state for o in seen])})
    return result


def _video_path(output: Path, result: EpisodeResult) -> Path:
    outcome = "success" if result.success else "failure"
    return output / "videos" / f"{trajectory_name(result)}-{outcome}.mp4"


def _draw_video(config: EvaluationConfig, result: EpisodeResult, output: Path) -> None:
    """Both cameras side by side along one episode, as H.264."""
    trajectory = output / "trajectories" / f"{trajectory_name(result)}.safetensors"
    if not trajectory.exists():  # the episode broke before its first action
        return
    final = _video_path(output, result)
    environment = only_environment(config.suite, result.task, config.video_size)
    frames = [
        np.concatenate([environment.replay_images(snapshot)[camera] for camera in CAMERAS], axis=1)
        for snapshot in load_file(trajectory)["snapshots"][::VIDEO_EVERY_STEPS]
    ]
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".partial-{final.name}")
    picture = Camera("both", *frames[0].shape[:2])
    encode_video(partial, frames, picture, environment.spec.control_rate_hz / VIDEO_EVERY_STEPS)
    partial.replace(final)


def _worth_a_video(results: list[EpisodeResult]) -> list[EpisodeResult]:
    """Per task the success and the failure of the lowest trial."""
    first: dict[tuple[int, bool], EpisodeResult] = {}
    for result in sorted(results, key=lambda result: (result.task, result.trial)):
        first.setdefault((result.task, result.success), result)
    return list(first.values())


def _save(folder: Path, result: EpisodeResult, tensors: dict[str, np.ndarray]) -> None:
    with explained_storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        final = folder / f"{trajectory_name(result)}.safetensors"
        save_file(tensors, partial_path(final))
        partial_path(final).replace(final)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with explained_storage_errors(path):
        path.write_text(json.dumps(values, indent=2), "utf-8")


@lru_cache(maxsize=1)
def _digest(checkpoint: Path) -> str:
    """Of the weights, so that results of different policies are never mixed."""
    return hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()[:16]
