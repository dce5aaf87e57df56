"""An episode's pictures beside what its numbers say happens then: its first and its last, and those around the moment at
which the gripper is told to close and the fingers do, where a shift of one frame can be seen by eye."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from focusvla.data.episodes import Episode, EpisodeSource
from focusvla_client import Spec
from focusvla_client.spec import GRIPPER_EFFORT, GRIPPER_OPEN_NEGATIVE

_AROUND = (-1, 0, 1)


@dataclass(frozen=True)
class StripMoment:
    """One step of an episode."""

    step: int
    seconds: float
    """Since the first."""
    events: tuple[str, ...]
    """What the numbers say happens at this step."""
    numbers: tuple[str, ...]
    """Position, gripper and fingers at this step, in words."""
    picture_step: int
    """The step whose picture is shown at this one; an earlier one where pictures are taken less often."""


@dataclass(frozen=True)
class EpisodeStrip:
    """Some moments of one episode, in order."""

    episode: int
    instruction: str
    num_steps: int
    moments: tuple[StripMoment, ...]


StripPictures = dict[str, list[UInt8[np.ndarray, "height width 3"]]]
"""Of each camera one picture for each moment of a strip."""


def choose_strip(source: EpisodeSource, index: int) -> EpisodeStrip:
    """The moments of one episode that are worth a look."""
    episode, spec = source.episode(index), source.spec
    events = {0: ["first"], len(episode) - 1: ["last"]}
    for name, step in _gripper_events(episode, spec):
        for offset in _AROUND:
            if 0 <= step + offset < len(episode):
                events.setdefault(step + offset, [])
        events[step].append(name)
    return EpisodeStrip(
        episode=index,
        instruction=episode.instruction,
        num_steps=len(episode),
        moments=tuple(
            StripMoment(
                step=step,
                seconds=step / spec.control_rate_hz,
                events=tuple(names),
                numbers=tuple(_numbers(episode, step, spec)),
                picture_step=step - step % source.steps_per_picture,
            )
            for step, names in sorted(events.items())
        ),
    )


def strip_pictures(source: EpisodeSource, strip: EpisodeStrip) -> StripPictures:
    """What the data set shows at these moments.

    Raises:
        DataError: the pictures cannot be read.
    """
    wanted, found = {moment.step for moment in strip.moments}, {}
    for camera in source.spec.cameras:
        frames = enumerate(source.frames(strip.episode, camera.name))
        found[camera.name] = [frame.copy() for step, frame in frames if step in wanted]
    return found


def _gripper_events(episode: Episode, spec: Spec) -> list[tuple[str, int]]:
    """The first step at which each gripper is told to close, and the one at which the fingers close fastest after it."""
    found, sign = [], 1.0 if spec.gripper in (GRIPPER_OPEN_NEGATIVE, GRIPPER_EFFORT) else -1.0
    for column in spec.gripper_places:
        name = spec.action[column]
        command = sign * episode.action[:, column]
        middle = (command.min() + command.max()) / 2
        closing = np.flatnonzero((command[1:] > middle) & (command[:-1] <= middle)) + 1
        if not len(closing):
            continue
        start = int(closing[0])
        found.append((f"{name} is told to close", start))
        opening = _opening(episode, spec, name)
        within = slice(start, start + max(round(spec.control_rate_hz), 2))
        if opening is not None and len(changes := np.diff(opening[within])) and changes.min() < 0:
            found.append((f"{name} closes fastest", start + int(changes.argmin())))
    return found


def _opening(episode: Episode, spec: Spec, gripper: str) -> np.ndarray | None:
    """How far the fingers of a gripper are apart, or its state; None where the state does not say."""
    if gripper in spec.state:
        return episode.state[:, spec.state.index(gripper)]
    fingers = spec.finger_places
    return np.abs(episode.state[:, fingers]).sum(1) if fingers else None


def _numbers(episode: Episode, step: int, spec: Spec) -> list[str]:
    places = [
        f"{name} {episode.state[step, spec.state.index(name)]:.3f}" for name in "xyz" if name in spec.state
    ]
    grippers = [spec.action[place] for place in spec.gripper_places]
    commands = [f"{name} {episode.action[step, spec.action.index(name)]:+.2f}" for name in grippers]
    openings = [
        f"{'fingers' if len(grippers) == 1 else name + ' fingers'} {opening[step]:.3f}"
        for name in grippers
        if (opening := _opening(episode, spec, name)) is not None
    ]
    return [*([", ".join(places)] if places else []), *commands, *openings]


def choose_strips(source: EpisodeSource, episodes: Sequence[int]) -> tuple[EpisodeStrip, ...]:
    """`choose_strip` of each of `episodes`."""
    return tuple(choose_strip(source, index) for index in episodes)
