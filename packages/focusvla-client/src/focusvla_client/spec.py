"""Conventions as data: they travel with data sets and checkpoints and are compared before anything moves.

Flipped images, inverted grippers and wrong rotations do not crash; they only make a policy fail. So each is a
named value here, and a difference between a policy and its environment is an error that lists every differing
field.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

ACTION_END_EFFECTOR_DELTA = "end_effector_delta"
"""Scaled displacement of the end effector from where it is now."""
ACTION_JOINT_POSITION = "joint_position"
"""Absolute joint angles in radians."""
ACTION_JOINT_DEGREES = "joint_position_degrees"
"""Absolute joint angles in degrees, as LeRobot's arms have them."""
ACTION_POSITION_DELTA = "position_delta"
"""Scaled displacement in the plane or in space, without rotation."""

ROTATION_AXIS_ANGLE = "axis_angle"
ROTATION_NONE = "none"

GRIPPER_OPEN_NEGATIVE = "open_negative_one"
"""-1 opens, +1 closes."""
GRIPPER_EFFORT = "effort"
"""A force, from -1, which opens, to +1, which closes."""
GRIPPER_ABSOLUTE = "absolute"
GRIPPER_NONE = "none"

IMAGE_UPRIGHT = "upright"
"""Row 0 is the top of the picture as a person standing behind the camera sees it."""
IMAGE_BOTTOM_UP_ROTATED_180 = "bottom_up_rotated_180"
"""OpenGL's bottom-up picture turned by 180 degrees, which is upright and mirrored left to right: what LIBERO
policies are trained on."""


class SpecMismatchError(ValueError):
    """A policy and an environment, or a data set, do not share their conventions."""


@dataclass(frozen=True)
class Camera:
    """One camera stream."""

    name: str
    height: int
    """Pixels."""
    width: int
    """Pixels."""


@dataclass(frozen=True)
class Spec:
    """Everything a number in an observation or an action means."""

    cameras: Tuple[Camera, ...]
    """In the order in which the model sees them."""
    image_orientation: str
    """`IMAGE_UPRIGHT` or `IMAGE_BOTTOM_UP_ROTATED_180`."""
    state: Tuple[str, ...]
    """A name per proprioception dimension."""
    action: Tuple[str, ...]
    """A name per action dimension."""
    action_space: str
    """`ACTION_END_EFFECTOR_DELTA`, `ACTION_JOINT_POSITION`, `ACTION_JOINT_DEGREES` or `ACTION_POSITION_DELTA`."""
    rotation: str
    """`ROTATION_AXIS_ANGLE` or `ROTATION_NONE`."""
    gripper: str
    """`GRIPPER_OPEN_NEGATIVE`, `GRIPPER_EFFORT`, `GRIPPER_ABSOLUTE` or `GRIPPER_NONE`."""
    control_rate_hz: float
    """Actions per second."""
    grippers: Optional[Tuple[str, ...]] = None
    """The names in `action` that command a gripper. None is those that contain `gripper`, which needs to be said only
    where others do, or one of them does not."""

    def __post_init__(self) -> None:
        if self.grippers is None:
            return
        if not set(self.grippers) <= set(self.action):
            raise ValueError(
                f"spec.grippers: expected names in spec.action ({', '.join(self.action)}), "
                f"got {', '.join(map(repr, self.grippers))}."
            )
        in_order = tuple(name for name in self.action if name in self.grippers)
        # One spelling of one meaning, so that specs can be compared.
        object.__setattr__(self, "grippers", None if in_order == _called_gripper(self.action) else in_order)

    @property
    def commands_joints(self) -> bool:
        """Whether an action says where joints shall be, and not how far something is to move."""
        return self.action_space in (ACTION_JOINT_POSITION, ACTION_JOINT_DEGREES)

    @property
    def gripper_places(self) -> Tuple[int, ...]:
        """Which numbers of an action command a gripper."""
        names = _called_gripper(self.action) if self.grippers is None else self.grippers
        return tuple(place for place, name in enumerate(self.action) if name in names)

    @property
    def finger_places(self) -> Tuple[int, ...]:
        """Which numbers of a state, by their names, say how far a gripper is open."""
        return tuple(place for place, name in enumerate(self.state) if "finger" in name or "gripper" in name)

    def holding(self, last: np.ndarray) -> np.ndarray:
        """The action, (action,), that keeps a robot where it is after `last`, grippers included.

        Raises:
            ValueError: nobody knows what that is in `action_space`.
        """
        if self.commands_joints:
            return last.copy()
        if self.action_space not in (ACTION_END_EFFECTOR_DELTA, ACTION_POSITION_DELTA):
            raise ValueError(
                f"spec.action_space={self.action_space!r}: expected one that tells how to hold still."
            )
        held, grippers = np.zeros_like(last), list(self.gripper_places)
        held[grippers] = last[grippers]
        return held

    def to_dict(self) -> Dict[str, Any]:
        """A JSON-ready dictionary; `from_dict` is its inverse."""
        values = asdict(self)
        if self.grippers is None:  # as it was before there was the field
            del values["grippers"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Spec":
        """Read what `to_dict` wrote.

        Raises:
            ValueError: a field is missing or unknown.
        """
        expected = {field.name for field in fields(cls)}
        if set(values) | {"grippers"} != expected:
            raise ValueError(
                f"spec: expected the fields {sorted(expected)}; "
                f"missing {sorted(expected - set(values) - {'grippers'})}, unknown {sorted(set(values) - expected)}."
            )
        known: Dict[str, Any] = {
            **values,
            "cameras": tuple(Camera(**camera) for camera in values["cameras"]),
            "state": tuple(values["state"]),
            "action": tuple(values["action"]),
            "grippers": None if values.get("grippers") is None else tuple(values["grippers"]),
        }
        return cls(**known)

    def differences(self, other: "Spec") -> List[str]:
        """One line per differing field, empty when both agree."""
        return [
            f"{field.name}: {getattr(self, field.name)!r} against {getattr(other, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]

    def require_equal(self, other: "Spec", mine: str, theirs: str) -> None:
        """Raise unless both agree.

        Raises:
            SpecMismatchError: naming every differing field, `mine` and `theirs` telling whose value is whose.
        """
        differences = self.differences(other)
        if differences:
            raise SpecMismatchError(
                f"{mine} and {theirs} differ in {len(differences)} convention(s), {mine} first: "
                + "; ".join(differences)
                + ". Use a policy trained for this environment, or an environment made for this policy."
            )


def _called_gripper(names: Tuple[str, ...]) -> Tuple[str, ...]:
    return tuple(name for name in names if "gripper" in name)
