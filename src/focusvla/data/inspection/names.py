"""Whether a data set calls its numbers otherwise than the spec does: joints in place of a pose, the left arm in place of
the right one, x in place of y.

Names are told apart by what they are of, not by spelling: `eef_pos_x` is the spec's `x`, `joint_1` is not. Names that say
nothing, such as `motor_3`, contradict nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from focusvla.data.episodes import EpisodeSource
from focusvla.data.mixture import parts_of

_GRIPPER = re.compile(r"gripper|finger|jaw|claw")
_JOINT = re.compile(r"joint|shoulder|elbow|waist|forearm|wrist|knuckle|q\d")
_ROTATION = re.compile(r"axis_?angle|roll|pitch|yaw|rot|quat|euler|[rq][xyzw]\b")
_AXIS = re.compile(r"(?:^|[^a-z])(?:pos_?|delta_?|d|v)?([xyz])(?:[^a-z]|$)")
_SIDE = re.compile(r"(?:^|[^a-z])(left|right)(?:[^a-z]|$)")


@dataclass(frozen=True)
class Contradiction:
    """A dimension that the data set and the spec call after different things."""

    vector: str
    """`state` or `action`."""
    index: int
    recorded: str
    """As the data set calls it."""
    expected: str
    """As the spec calls it."""


@runtime_checkable
class NamesItsNumbers(Protocol):
    """A data set that has names for its numbers besides the spec's."""

    @property
    def recorded_names(self) -> Mapping[str, Any]:
        """Of `state` and `action`, whatever the data set says: a list, lists by a group's name, or nothing."""
        ...


def contradictions(source: EpisodeSource) -> tuple[Contradiction, ...]:
    """Every dimension whose recorded name is of something else than the spec's; none where there is not one name each."""
    named = [each.source for each in parts_of(source) if isinstance(each.source, NamesItsNumbers)]
    found = {
        Contradiction(vector, index, theirs, ours): None
        for each in named
        for vector, expected in (("state", source.spec.state), ("action", source.spec.action))
        for index, (theirs, ours) in enumerate(_pairs(each.recorded_names.get(vector), expected))
        if _differ(theirs, ours)
    }
    return tuple(found)


def _pairs(names: Any, expected: Sequence[str]) -> list[tuple[str, str]]:
    recorded = flat_names(names)
    return list(zip(recorded, expected, strict=True)) if len(recorded) == len(expected) else []


def flat_names(names: Any) -> list[str]:
    """One list of names, however they are written: `["x", "y"]`, `{"motors": ["x", "y"]}` or `{"x": 0, "y": 1}`."""
    if isinstance(names, Mapping):
        if all(isinstance(place, int) for place in names.values()):
            return [str(name) for name, _ in sorted(names.items(), key=lambda item: item[1])]
        return [name for group in names.values() for name in flat_names(group)]
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _differ(recorded: str, expected: str) -> bool:
    theirs, ours = _meaning(recorded), _meaning(expected)
    return any(a and b and a != b for a, b in zip(theirs, ours, strict=True))


def _meaning(name: str) -> tuple[str, str, str]:
    """What a name is of, along which axis and on which side; empty where it does not say.

    >>> _meaning("left_wrist_rotate"), _meaning("eef_pos_x"), _meaning("motor_3")
    (('joint', '', 'left'), ('position', 'x', ''), ('', '', ''))
    """
    name = name.lower()
    axis, side = _AXIS.search(name), _SIDE.search(name)
    where = side[1] if side else ""
    if _GRIPPER.search(name):
        return "gripper", "", "" if "finger" in name else where
    if _JOINT.search(name):
        return "joint", "", where
    if _ROTATION.search(name):
        return "rotation", "", where
    return ("position", axis[1], where) if axis else ("", "", where)
