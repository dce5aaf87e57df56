"""Pictures of a policy's focus along the first trial of each task, from what an evaluation saved of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from focusvla.evaluation.episode_files import episode_file, read_observations
from focusvla.evaluation.episodes import PlannedEpisode
from focusvla.evaluation.results import EpisodeResult
from focusvla.policy import FocusVLAPolicy
from focusvla.visualization.attention_maps import (
    FocusMaps,
    capture_focus,
    draw_attention_heat,
    draw_kept_patches,
    enlarge,
)
from focusvla.visualization.data_uris import image_uri
from focusvla.visualization.report_contents import EvaluationContents
from focusvla_client import Observation

LAYER = -1
"""The policy layer that is drawn: the last, whose choice is the sharpest and the next to the action."""


@dataclass(frozen=True)
class CameraPictures:
    """One camera at one moment, as data URIs."""

    camera: str
    image: str
    kept: str
    attention: str
    kept_share: float
    """Of its patches, in the mean over heads and action steps."""
    attention_share: float
    """Of all cameras' attention."""


@dataclass(frozen=True)
class Moment:
    """One inference of an episode."""

    name: str
    inference: int
    """Counted from 1."""
    cameras: tuple[CameraPictures, ...]


@dataclass(frozen=True)
class FocusEpisode:
    """The moments of one episode."""

    task: int
    instruction: str
    is_success: bool
    num_inferences: int
    moments: tuple[Moment, ...]


def choose_moments(num_inferences: int) -> list[tuple[str, int]]:
    """The first, middle and last of `num_inferences`, fewer where they coincide.

    9 has 0, 4 and 8; 2 has 0 and 1.
    """
    found: dict[int, str] = {}
    for name, index in (("early", 0), ("late", num_inferences - 1), ("middle", num_inferences // 2)):
        found.setdefault(index, name)
    return [(found[index], index) for index in sorted(found)]


def has_observations(contents: EvaluationContents) -> bool:
    """Whether the evaluation saved what its policy saw."""
    return any(observation_file(contents, episode).is_file() for episode in contents.episodes)


def observation_file(contents: EvaluationContents, episode: EpisodeResult) -> Path:
    """Where an evaluation keeps what its policy saw in an episode, if it does."""
    return episode_file(contents.evaluation.results, "observations", PlannedEpisode.of(episode))


def draw_focus(
    policy_in: Callable[[str], FocusVLAPolicy], contents: EvaluationContents, max_episodes: int
) -> list[FocusEpisode]:
    """Where a policy, given by suite as the robot there, looks in the first episodes whose observations the evaluation
    saved, at most one a task.

    Raises:
        DataError: a file of observations is damaged or lacks a camera.
        ConfigurationError: the observations do not fit the policy.
    """
    episodes = []
    for episode in contents.episodes:
        path = observation_file(contents, episode)
        if episode.trial != 0 or not path.is_file() or len(episodes) == max_episodes:
            continue
        policy = policy_in(episode.suite)
        images, states = read_observations(path, policy.cameras)
        moments = []
        for name, index in choose_moments(len(states)):
            seen = {camera: frames[index] for camera, frames in images.items()}
            maps = capture_focus(
                policy, Observation(images=seen, state=states[index], instruction=episode.instruction)
            )
            moments.append(Moment(name, index + 1, _draw_cameras(maps, seen)))
        episodes.append(
            FocusEpisode(episode.task, episode.instruction, episode.success, len(states), tuple(moments))
        )
    return episodes


def _draw_cameras(maps: FocusMaps, images: dict[str, np.ndarray]) -> tuple[CameraPictures, ...]:
    masses = {camera: maps.attention_mass(camera, LAYER) for camera in maps.cameras}
    brightest = max(float(mass.max()) for mass in masses.values())
    seen = {camera: maps.seen(images[camera]) for camera in maps.cameras}
    return tuple(
        CameraPictures(
            camera=camera,
            image=image_uri(enlarge(seen[camera], 256)),
            kept=image_uri(draw_kept_patches(seen[camera], maps.kept_share(camera, LAYER))),
            attention=image_uri(draw_attention_heat(seen[camera], masses[camera], brightest)),
            kept_share=float(maps.kept_share(camera, LAYER).mean()),
            attention_share=float(masses[camera].sum()),
        )
        for camera in maps.cameras
    )
