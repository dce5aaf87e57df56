"""Recorded demonstrations played back through the evaluation's own loop.

A demonstration succeeded once, so it succeeds again unless a convention differs between recording and evaluation: the
images' orientation, the gripper's sign, what an action means, when an observation is taken. Disturbed demonstrations are
left out: what they record is what the expert wanted, not what the arm was made to do.

A policy answers nearly, never exactly, what it was taught. With noise on every number, what succeeds no more cannot be
learned: a gripper held at exactly 0 where the simulator takes the sign, for one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.errors import ConfigurationError
from focusvla.simulation.environment import only_environment
from focusvla.simulation.workers import Call, simulate
from focusvla.suites import Start
from focusvla_client import Observation, Observer, rollout

ACTIONS_PER_INFERENCE = 8


@dataclass(frozen=True)
class Replay:
    """How one demonstration went the second time."""

    episode: int
    task: int
    success: bool
    steps: int
    recorded_steps: int
    state_difference: float
    """Greatest difference of any proprioception entry, recorded against seen, over the episode."""
    picture_difference: float
    """Mean difference of the first pictures, recorded against seen, in units of 0 to 255: 1 to 5 from the video's
    compression and simplified meshes, several tens if an image is turned."""


class RecordedActions:
    """A policy that answers with a demonstration's actions, eight at a time."""

    def __init__(self, actions: np.ndarray, cameras: Sequence[str]):
        self.cameras = tuple(cameras)
        self._actions = actions
        self.reset()

    def reset(self) -> None:
        """Begin with the first action."""
        self._next = 0

    def infer(self, observation: Observation) -> np.ndarray:
        """The actions that follow, an empty chunk after the last."""
        chunk = self._actions[self._next : self._next + ACTIONS_PER_INFERENCE]
        self._next += len(chunk)
        return chunk


class _FirstLook(Observer):
    def __init__(self):
        self.observations: list[Observation] = []

    def on_inference(self, observation: Observation, chunk: np.ndarray) -> None:
        self.observations.append(observation)


def replay(
    data: Path,
    num_episodes: int = 0,
    workers: int = 0,
    noise: float = 0.0,
    on_episode: Callable[[int, int, Replay | None], None] = lambda done, total, result: None,
) -> list[Replay]:
    """Play undisturbed demonstrations of a data set back, the first `num_episodes` of them or all if 0.

    With `noise`, each number of each action is off by a normal deviate of that many times half of what the number spans
    in the data, and stays within it; which one is a function of the episode's number.

    Raises:
        DataError: the data set cannot be read.
        ConfigurationError: it was not recorded by `focusvla demonstrate`, or holds no undisturbed demonstration.
    """
    source = LeRobotSource(data)
    chosen = [index for index in range(source.num_episodes) if _is_undisturbed(source.metadata(index), data)]
    if not chosen:
        raise ConfigurationError(
            f"data={data}: expected undisturbed demonstrations, got none among {source.num_episodes}. Record some with "
            "`focusvla demonstrate --noise 0 --no-pushes`."
        )
    lows, highs = zip(
        *((a.min(0), a.max(0)) for a in (source.episode(i).action for i in chosen)), strict=True
    )
    span = np.min(lows, axis=0), np.max(highs, axis=0)
    jobs = [Call(_replay_episode, (data, index, noise, *span)) for index in chosen[: num_episodes or None]]
    total, results = len(jobs), []
    on_episode(0, total, None)
    for result in simulate(lambda: jobs.pop(0) if jobs else None, workers):
        results.append(result)
        on_episode(len(results), total, result)
    return sorted(results, key=lambda result: result.episode)


def _is_undisturbed(metadata: dict[str, Any], data: Path) -> bool:
    if not {"suite", "task", "start", "noise", "pushes"} <= set(metadata):
        raise ConfigurationError(
            f"data={data}: expected episodes that say where they began, as `focusvla demonstrate` records them, got "
            f"{sorted(metadata) or 'none of that'}. Choose another data set, or record it again."
        )
    begins_at_its_start = "takeover" not in metadata  # where a correction begins, a policy has led
    return metadata["noise"] == 0 and not metadata["pushes"] and begins_at_its_start


def _replay_episode(data: Path, index: int, noise: float, low: np.ndarray, high: np.ndarray) -> Replay:
    source = LeRobotSource(data)
    metadata, episode = source.metadata(index), source.episode(index)
    environment = only_environment(metadata["suite"], metadata["task"], source.spec.cameras[0].height)
    source.spec.require_equal(environment.spec, "the data set", "the environment")
    cameras = [camera.name for camera in source.spec.cameras]
    look = _FirstLook()
    deviates = np.random.default_rng(index).standard_normal(episode.action.shape)
    actions = np.clip(episode.action + noise * (high - low) / 2 * deviates, low, high).astype(np.float32)
    played = rollout(
        environment,
        RecordedActions(actions, cameras),
        Start(**metadata["start"]),
        max_steps=len(episode) + 1,
        actions_per_inference=ACTIONS_PER_INFERENCE,
        stop_on_success=False,
        observers=[look],
    )
    seen = np.stack([observation.state for observation in look.observations])
    first = {camera: next(source.frames(index, camera)).astype(float) for camera in cameras}
    return Replay(
        episode=index,
        task=metadata["task"],
        success=played.success,
        steps=played.steps,
        recorded_steps=len(episode),
        state_difference=float(np.abs(seen - episode.state[::ACTIONS_PER_INFERENCE]).max()),
        picture_difference=float(
            np.mean(
                [np.abs(first[camera] - look.observations[0].images[camera]).mean() for camera in cameras]
            )
        ),
    )
