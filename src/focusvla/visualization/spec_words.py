"""A spec as sentences, for people who check that it is what their robot does."""

from focusvla_client import Spec
from focusvla_client.spec import (
    ACTION_END_EFFECTOR_DELTA,
    ACTION_JOINT_DEGREES,
    ACTION_JOINT_POSITION,
    ACTION_POSITION_DELTA,
    GRIPPER_ABSOLUTE,
    GRIPPER_EFFORT,
    GRIPPER_NONE,
    GRIPPER_OPEN_NEGATIVE,
    IMAGE_BOTTOM_UP_ROTATED_180,
    IMAGE_UPRIGHT,
    ROTATION_AXIS_ANGLE,
    ROTATION_NONE,
)

_WORDS = {
    IMAGE_UPRIGHT: "upright: the first row is the top of the scene",
    IMAGE_BOTTOM_UP_ROTATED_180: "the bottom-up picture of OpenGL turned by 180 degrees: upright, mirrored left to right",
    ACTION_END_EFFECTOR_DELTA: "scaled displacements of the end effector, -1 to +1",
    ACTION_JOINT_DEGREES: "absolute joint angles in degrees",
    ACTION_JOINT_POSITION: "absolute joint angles in radians",
    ACTION_POSITION_DELTA: "scaled displacements of a position, -1 to +1",
    ROTATION_AXIS_ANGLE: "axis times angle, in radians",
    ROTATION_NONE: "none",
    GRIPPER_OPEN_NEGATIVE: "-1 opens, +1 closes",
    GRIPPER_EFFORT: "a force, -1 opens, +1 closes",
    GRIPPER_ABSOLUTE: "absolute positions",
    GRIPPER_NONE: "none",
}


def describe_spec(spec: Spec, steps_per_picture: int = 1) -> list[tuple[str, str]]:
    """What each convention is about, and what it says; a value that has no words yet stands as it is."""
    cameras = ", ".join(f"{camera.name} ({camera.width} x {camera.height})" for camera in spec.cameras)
    pace = f", a new picture every {steps_per_picture} steps" if steps_per_picture > 1 else ""
    return [
        ("cameras", cameras),
        ("pictures", _WORDS.get(spec.image_orientation, spec.image_orientation)),
        ("actions", _WORDS.get(spec.action_space, spec.action_space)),
        ("rotation", _WORDS.get(spec.rotation, spec.rotation)),
        ("gripper", _WORDS.get(spec.gripper, spec.gripper)),
        ("rate", f"{spec.control_rate_hz:g} Hz{pace}"),
    ]
