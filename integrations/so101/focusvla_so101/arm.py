"""A LeRobot arm as focusvla's real-time loop drives it, in LeRobot's numbers: degrees, and a gripper from 0 to 100."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from focusvla_client import Camera, JointLimit, Observation, Spec
from focusvla_client.spec import ACTION_JOINT_DEGREES, GRIPPER_ABSOLUTE, IMAGE_UPRIGHT, ROTATION_NONE

GRIPPER = "gripper"
DEGREES_PER_TICK = 360 / 4095
"""Of the arm's motors, as `lerobot.motors` counts."""
MARGIN_DEGREES = 2.0
"""A policy's commands end this far inside the range that the calibration found."""
MAX_DEGREES_PER_SECOND = 120.0
"""Chosen here, well below what the motors can do."""
MAX_STROKE_PER_SECOND = 200.0
"""Of the gripper, in hundredths; chosen here."""


class SetupError(Exception):
    """A value that the operator gave, or a robot's setting, cannot be used."""


class LeRobotArm(Protocol):
    """What is used of `lerobot.robots.Robot`."""

    @property
    def observation_features(self) -> Mapping[str, Any]:
        """`float` for each `JOINT.pos`, (height, width, 3) for each camera."""
        ...

    @property
    def action_features(self) -> Mapping[str, Any]:
        """`float` for each `JOINT.pos`."""
        ...

    @property
    def calibration(self) -> Mapping[str, Any]:
        """By joint, `range_min` and `range_max` in ticks."""
        ...

    def get_observation(self) -> Mapping[str, Any]:
        """Where the joints are, and RGB pictures."""
        ...

    def send_action(self, action: dict[str, float]) -> Mapping[str, float]:
        """Go to these positions, and say which were sent."""
        ...


def spec_of(arm: LeRobotArm, control_rate_hz: float) -> Spec:
    """Its conventions, with which its data sets are trained on: the cameras in the order of its configuration.

    Raises:
        SetupError: it is driven by something else than joint positions.
    """
    joints = tuple(arm.action_features)
    if not joints or not all(name.endswith(".pos") for name in joints):
        raise SetupError(
            f"robot: expected actions that are joints' positions, got {', '.join(joints) or 'none'}."
        )
    cameras = {name: shape for name, shape in arm.observation_features.items() if isinstance(shape, tuple)}
    return Spec(
        cameras=tuple(Camera(name, height, width) for name, (height, width, _) in cameras.items()),
        image_orientation=IMAGE_UPRIGHT,
        state=joints,
        action=joints,
        action_space=ACTION_JOINT_DEGREES,
        rotation=ROTATION_NONE,
        gripper=GRIPPER_ABSOLUTE,
        control_rate_hz=control_rate_hz,
    )


def joint_limits(arm: LeRobotArm, speed_share: float) -> dict[str, JointLimit]:
    """A limit for every number of an action: the joints' calibrated ranges, and `speed_share` of the greatest speed.

    Raises:
        SetupError: a joint was never calibrated, or `speed_share` is not above 0, or above 1.
    """
    if not 0 < speed_share <= 1:
        raise SetupError(f"speed_share={speed_share}: expected a share of the greatest speed, above 0 to 1.")
    limits = {}
    for name in arm.action_features:
        joint = name.removesuffix(".pos")
        if joint == GRIPPER:
            limits[name] = JointLimit(0.0, 100.0, speed_share * MAX_STROKE_PER_SECOND)
            continue
        if joint not in arm.calibration:
            raise SetupError(
                f"{joint}: expected a calibrated joint. Run lerobot-calibrate with this robot's id."
            )
        ticks = arm.calibration[joint]
        reach = (ticks.range_max - ticks.range_min) / 2 * DEGREES_PER_TICK - MARGIN_DEGREES
        if reach <= 0:
            raise SetupError(
                f"{joint}: expected a range of more than {2 * MARGIN_DEGREES:g} degrees, its calibration says "
                f"{ticks.range_min} to {ticks.range_max} ticks. Run lerobot-calibrate again."
            )
        limits[name] = JointLimit(-reach, reach, speed_share * MAX_DEGREES_PER_SECOND)
    return limits


class SO101:
    """The arm as a `focusvla_client.Robot`."""

    def __init__(self, arm: LeRobotArm, control_rate_hz: float, instruction: str):
        self._arm, self._instruction = arm, instruction
        self.spec = spec_of(arm, control_rate_hz)

    def reset(self, start: object) -> None:
        """Nothing: a person puts the scene in place."""

    def observe(self, cameras: Sequence[str]) -> Observation:
        """Where the joints are, and the newest pictures of `cameras`."""
        seen = self._arm.get_observation()
        images = {name: np.asarray(seen[name], np.uint8) for name in cameras}
        return Observation(images, self._vector(seen), self._instruction)

    def positions(self) -> np.ndarray:
        """Where the joints are, (joints,) float32."""
        return self._vector(self._arm.get_observation())

    def apply(self, action: np.ndarray) -> None:
        """Send the joints to (joints,) positions, without waiting for them to arrive."""
        self._arm.send_action(
            {name: float(value) for name, value in zip(self.spec.action, action, strict=True)}
        )

    def hold(self) -> None:
        """Nothing: a joint that is told nothing goes to where it was told last, at most a step away, and stays there."""

    def stop(self) -> None:
        """Stay where it is. Its motors let go when LeRobot disconnects, and the arm sinks."""
        self.apply(self.positions())

    def success(self) -> bool:
        """False: nobody tells the robot."""
        return False

    def _vector(self, seen: Mapping[str, Any]) -> np.ndarray:
        return np.array([seen[name] for name in self.spec.state], np.float32)
