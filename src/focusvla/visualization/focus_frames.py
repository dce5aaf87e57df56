"""Moments to look into: of a data set, of a recorded evaluation, of the live simulator, or of pictures that are given."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from focusvla.data.episodes import EpisodeSource, require_known_episode
from focusvla.errors import ConfigurationError, DataError, require_known
from focusvla.evaluation.episode_files import (
    asked_in,
    episode_file,
    observed_episodes,
    read_observations,
    read_trajectory,
)
from focusvla.evaluation.episodes import PlannedEpisode
from focusvla.evaluation.presentation import environment_of
from focusvla.evaluation.results import EpisodeResult
from focusvla.policy import FocusVLAPolicy
from focusvla.simulation.environment import SimulatedEnvironment, only_environment
from focusvla.suites import Protocol, protocol, suite_of
from focusvla.visualization.focus_metrics import Regions
from focusvla_client import Observation, Spec, episode

_SAME_ASPECT = 0.01
"""How much the sides' ratio of a given picture may differ from the camera's, as a share of it."""


@dataclass(frozen=True)
class Frame:
    """One moment of an episode."""

    episode: str
    """A name that is a file's stem as well."""
    step: int
    """Control steps since the episode began."""
    observation: Observation
    spec: Spec
    """The conventions of the observation."""
    regions: Regions | None
    """Where the task's object, its target and the gripper are; None where no simulator tells."""
    suite: str = ""
    """Of the episode; empty where it is of none."""


def frames_of_data(source: EpisodeSource, index: int, step: int | None, every: int) -> Iterator[Frame]:
    """One step of a recorded episode, or every `every`th from the first on.

    Raises:
        DataError: there is no such episode or step.
    """
    require_known_episode(index, source.num_episodes)
    recorded = source.episode(index)
    if step is not None and not 0 <= step < len(recorded):
        raise DataError(
            f"step={step}: expected 0..{len(recorded) - 1} in episode {index}. Ask for one of these."
        )
    steps = slice(step, step + 1) if step is not None else slice(0, None, every)
    cameras = [camera.name for camera in source.spec.cameras]
    pictures = zip(
        *(islice(source.frames(index, name), steps.start, steps.stop, steps.step) for name in cameras),
        strict=True,
    )
    for shown, images in zip(range(len(recorded))[steps], pictures, strict=True):
        seen = Observation(
            dict(zip(cameras, images, strict=True)), recorded.state[shown], recorded.instruction
        )
        yield Frame(f"episode-{index:06d}", shown, seen, source.spec, None)


def frames_of_results(results: Path, with_regions: bool) -> Iterator[Frame]:
    """What a policy saw in the episodes of an evaluation whose observations it saved.

    Regions are those of the saved trajectories, drawn in the simulator.

    Raises:
        DataError: there are no observations, or a file is damaged, lacks a camera or is of another episode.
        MissingDependencyError: regions are wanted and the simulator is not installed.
    """
    for result in observed_episodes(results):
        planned = PlannedEpisode.of(result)
        cameras = [camera.name for camera in suite_of(result.suite).spec(1).cameras]
        images, states = read_observations(episode_file(results, "observations", planned), cameras)
        size = len(images[cameras[0]][0])
        steps = asked_in(results, result, len(states))
        spec = suite_of(result.suite).spec(size)
        regions = _recorded_regions(results, result, size, steps) if with_regions else None
        for index, step in enumerate(steps):
            seen = {camera: frames[index] for camera, frames in images.items()}
            observation = Observation(seen, states[index], result.instruction)
            found = next(regions) if regions else None
            yield Frame(planned.name, step, observation, spec, found, result.suite)


def frames_of_simulation(
    policy: FocusVLAPolicy, episodes: Sequence[PlannedEpisode], rules: Protocol, actions_per_inference: int
) -> Iterator[Frame]:
    """What `policy` sees as it plays `episodes`.

    Raises:
        ConfigurationError: an unknown suite, task or trial, or one that the protocol does not cover.
        SpecMismatchError: the policy was trained for another environment.
        MissingDependencyError: the simulator is not installed.
    """
    chunk_length = policy.experiment.model.chunk_length
    if actions_per_inference > chunk_length:
        raise ConfigurationError(
            f"every={actions_per_inference}: expected at most the policy's chunk of {chunk_length} steps."
        )
    for planned in episodes:
        max_steps = rules.max_steps_of(planned.suite)
        environment = environment_of(rules, planned.suite, planned.task, policy.spec)
        playing = episode(
            environment,
            policy.cameras,
            rules.start(planned.suite, planned.trial),
            max_steps=max_steps,
            actions_per_inference=actions_per_inference,
        )
        observation, step = next(playing), 0
        while True:
            regions = _regions(environment, environment.snapshot())
            yield Frame(planned.name, step, observation, environment.spec, regions, planned.suite)
            try:
                observation = playing.send(policy.infer(observation))
            except StopIteration:
                break
            step += actions_per_inference


def frame_of_images(images: Mapping[str, Path], instruction: str, state: np.ndarray, spec: Spec) -> Frame:
    """Pictures from files, one for each camera of `spec`, oriented as it says and brought to its size.

    Raises:
        ConfigurationError: a camera that `spec` does not have, or a picture of another shape.
        DataError: a file is no picture.
    """
    sizes = {camera.name: camera for camera in spec.cameras}
    seen = {}
    for name, path in images.items():
        require_known("camera", name, sizes)
        camera = sizes[name]
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(
                f"images: expected a picture for camera {name!r}, got {path}: {error}."
            ) from error
        ratio = picture.width * camera.height / (picture.height * camera.width)
        if abs(ratio - 1) > _SAME_ASPECT:
            raise ConfigurationError(
                f"images: expected {camera.width}x{camera.height} pixels for camera {name!r} or a multiple of it, got "
                f"{picture.width}x{picture.height} in {path}. Crop it."
            )
        seen[name] = np.asarray(picture.resize((camera.width, camera.height), Image.Resampling.LANCZOS))
    return Frame("images", 0, Observation(seen, state, instruction), spec, None)


def _recorded_regions(
    results: Path, result: EpisodeResult, size: int, steps: Sequence[int]
) -> Iterator[Regions | None]:
    planned = PlannedEpisode.of(result)
    path = episode_file(results, "trajectories", planned)
    if not path.is_file():
        raise DataError(
            f"{path}: expected the trajectory, which tells where things are, got none. Use --no-regions."
        )
    snapshots = read_trajectory(path)["snapshots"]
    if len(snapshots) <= steps[-1]:
        raise DataError(
            f"{path}: expected more than {steps[-1]} steps, as its observations have, got {len(snapshots)}. Use "
            "--no-regions, or evaluate again."
        )
    environment = only_environment(planned.suite, planned.task, size)
    rules = protocol(result.protocol, result.protocol_revision)
    environment.reset(rules.start(planned.suite, planned.trial))  # which places fixtures
    for step in steps:
        yield _regions(environment, snapshots[step])


def _regions(environment: SimulatedEnvironment, snapshot: np.ndarray) -> Regions | None:
    return environment.replay_regions(snapshot)
