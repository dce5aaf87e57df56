"""What happens within episodes: standing still, jumps of the state, and what a gripper does when it is told to."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from focusvla.data.normalization import SMALLEST_RANGE
from focusvla_client import Spec
from focusvla_client.spec import ACTION_JOINT_DEGREES

IDLE_MOVEMENT = 1e-4
"""An action whose movement has a smaller norm moves nothing: the filter of the published LIBERO data sets."""
JUMP_RATIO = 6.0
"""A step of the state this many times the steps around it is a jump. Scripted demonstrations in LIBERO and ALOHA have
up to 4; where two of them are joined, most have 6 and more."""
MAX_LISTED = 10
"""Of jumps and of a gripper's values, that many are told."""
GRIPPER_DELAY_SECONDS = 0.25
"""From a command to when the fingers show it."""
_MAX_DISTINCT = 10_000
"""Different values of a gripper that are told apart, for the memory's sake."""


@dataclass(frozen=True)
class IdleSteps:
    """Steps whose action changes nothing."""

    share: float
    """Of all steps."""
    leading: float
    """At the beginning of an episode, in the mean."""
    trailing: float
    """At the end of an episode, in the mean."""


@dataclass(frozen=True)
class Jump:
    """A step between two states that is far larger than others: perhaps two episodes in one."""

    episode: int
    step: int
    """The one before it."""
    dimension: str
    size: float
    """In the state's own unit."""
    ratio: float
    """To the steps around it, or the episode's median if that is larger; each dimension is measured by its range."""


@dataclass(frozen=True)
class GripperFinding:
    """What an action dimension that commands a gripper by -1 and +1 does."""

    name: str
    values: tuple[float, ...]
    """The different ones, at most `MAX_LISTED`, the most frequent first."""
    other_share: float
    """Of the values, how many are neither -1 nor +1, nor 0, which is a switch."""
    least: float
    greatest: float
    opening_when_opened: float | None
    """Sum of the fingers' distances a quarter of a second after one of its smaller values, which open; None if the state
    does not tell."""
    opening_when_closed: float | None
    """The same after one of its larger values."""

    @property
    def is_one_sided(self) -> bool:
        """Whether it commands two things by values of one sign, such as 0 and 1: the robot would do one alone."""
        is_varied = self.greatest - self.least > 0.5  # less is one command, written inexactly
        return is_varied and (self.least >= 0 or self.greatest <= 0)


def idle_steps(action: Float32[np.ndarray, "steps action"], spec: Spec) -> Bool[np.ndarray, " steps"]:
    """Which actions move nothing and leave the gripper as the action before does.

    With displacements x and a gripper, the rows [0 -1] [0 -1] [0 1] [0 1] [.5 1] are 1 1 0 1 0: closing is no idleness.
    Absolute positions are idle where they repeat the action before, so never at the first step.
    """
    gripper = np.isin(np.arange(len(spec.action)), spec.gripper_places)
    change = np.diff(action, axis=0, prepend=action[:1])
    movement = change if spec.commands_joints else action
    if spec.action_space == ACTION_JOINT_DEGREES:
        movement = np.radians(movement)
    idle = np.linalg.norm(movement[:, ~gripper], axis=1) < IDLE_MOVEMENT
    idle &= (np.abs(change[:, gripper]) < IDLE_MOVEMENT).all(1)
    if spec.commands_joints:
        idle[0] = False
    return idle


class IdleCount:
    """Counts the idle steps of episodes."""

    def __init__(self):
        self._steps = self._idle = self._leading = self._trailing = self._episodes = 0

    def add(self, idle: Bool[np.ndarray, " steps"]) -> None:
        """Count an episode in."""
        self._episodes += 1
        self._steps += len(idle)
        self._idle += int(idle.sum())
        self._leading += int(np.logical_and.accumulate(idle).sum())
        self._trailing += int(np.logical_and.accumulate(idle[::-1]).sum())

    def finding(self) -> IdleSteps:
        """What it comes to."""
        return IdleSteps(
            self._idle / self._steps, self._leading / self._episodes, self._trailing / self._episodes
        )


def find_jumps(
    state: Float32[np.ndarray, "steps state"],
    *,
    episode: int,
    names: tuple[str, ...],
    ranges: Float64[np.ndarray, " state"],
) -> list[Jump]:
    """Steps of more than `JUMP_RATIO` times those around them, the greatest first.

    A step is measured in the dimension in which it is greatest, by that dimension's range from q01 to q99. Around it are
    the two steps before and the two after, of which the greatest is left out: a spike is two jumps, one beside the other.
    """
    changes = np.abs(np.diff(state.astype(np.float64), axis=0))
    sizes = changes / np.where(ranges < SMALLEST_RANGE, np.inf, ranges)
    columns, sizes = sizes.argmax(1), sizes.max(1)
    if not (sizes > 0).any():
        return []
    padded = np.pad(sizes, 2)
    around = np.sort([padded[place : place + len(sizes)] for place in (0, 1, 3, 4)], axis=0)[2]
    ratios = sizes / np.maximum(around, np.median(sizes[sizes > 0]))
    greatest = np.argsort(-ratios)[: np.count_nonzero(ratios > JUMP_RATIO)]
    return [
        Jump(episode, step, names[columns[step]], float(changes[step, columns[step]]), float(ratios[step]))
        for step in greatest.tolist()
    ]


class GripperCount:
    """Counts what one gripper is told, and how far its fingers are apart after it."""

    def __init__(self, index: int, spec: Spec, limits: tuple[float, float]):
        """`index` is that of the action dimension, whose least and greatest values are `limits`."""
        self._index = index
        self._name = spec.action[index]
        self._limits = limits
        self._middle = sum(limits) / 2  # 0, unless the values are others than the spec says
        self._delay = round(GRIPPER_DELAY_SECONDS * spec.control_rate_hz)
        self._fingers = list(spec.finger_places) if len(spec.gripper_places) == 1 else []
        self._values: Counter[float] = Counter()
        self._steps = self._others = 0
        self._openings = {False: [0.0, 0], True: [0.0, 0]}
        """Sum and number, by whether the command was a larger one."""

    def add(
        self, state: Float32[np.ndarray, "steps state"], action: Float32[np.ndarray, "steps action"]
    ) -> None:
        """Count an episode in."""
        commands = action[:, self._index]
        for value, count in zip(*np.unique(commands, return_counts=True), strict=True):
            if value in self._values or len(self._values) < _MAX_DISTINCT:
                self._values[float(value)] += int(count)
        self._steps += len(commands)
        sizes = np.abs(commands)
        self._others += int(((np.abs(sizes - 1) > SMALLEST_RANGE) & (sizes > SMALLEST_RANGE)).sum())
        earlier = commands[: max(len(commands) - self._delay, 0)]
        opening = np.abs(state[self._delay :, self._fingers]).sum(1)
        for is_larger, total in self._openings.items():
            chosen = opening[earlier > self._middle if is_larger else earlier < self._middle]
            total[0] += float(chosen.sum())
            total[1] += len(chosen)

    def finding(self) -> GripperFinding:
        """What it comes to."""
        (opened, times_opened), (closed, times_closed) = self._openings[False], self._openings[True]
        is_known = self._fingers and times_opened and times_closed
        return GripperFinding(
            name=self._name,
            values=tuple(value for value, _ in self._values.most_common(MAX_LISTED)),
            other_share=self._others / self._steps,
            least=self._limits[0],
            greatest=self._limits[1],
            opening_when_opened=opened / times_opened if is_known else None,
            opening_when_closed=closed / times_closed if is_known else None,
        )
