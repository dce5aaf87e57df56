"""A real robot: an environment that can hold still, and that is told its limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Mapping, Protocol, Sequence, Tuple, runtime_checkable

import numpy as np

from focusvla_client.policy import Environment, Observation
from focusvla_client.spec import ACTION_JOINT_DEGREES, ACTION_JOINT_POSITION, Spec


@runtime_checkable
class Robot(Environment, Protocol):
    """An environment that moves by itself when nobody tells it not to.

    `apply`, `positions` and `hold` are called within a control period and should take a small part of it. A thread
    that is stuck in one of them, or in `observe`, sends nothing more: the robot's own controller must stop it then.
    """

    def positions(self) -> np.ndarray:
        """Where its joints are, (action,) in the layout and units of an action."""
        ...

    def hold(self) -> None:
        """Stay in place until the next action. Called at every control step that has none."""
        ...

    def stop(self) -> None:
        """Come to rest in a safe state. Called once when a rollout ends, whatever ended it."""
        ...


class DryRun:
    """A robot of which everything is read and to which nothing is sent: no reset, no action, no hold, no stop."""

    def __init__(self, robot: Robot):
        self._robot = robot

    @property
    def spec(self) -> Spec:
        """The robot's."""
        return self._robot.spec

    def reset(self, start: Any) -> None:
        """Leave the robot where it is."""

    def observe(self, cameras: Sequence[str]) -> Observation:
        """What the robot sees."""
        return self._robot.observe(cameras)

    def positions(self) -> np.ndarray:
        """Where the robot is."""
        return self._robot.positions()

    def apply(self, action: np.ndarray) -> None:
        """Send nothing."""

    def hold(self) -> None:
        """Send nothing."""

    def stop(self) -> None:
        """Send nothing."""

    def success(self) -> bool:
        """What the robot says."""
        return self._robot.success()


@dataclass(frozen=True)
class JointLimit:
    """How far and how fast a joint may go."""

    lower: float
    """In the unit of the joint's actions: radians, unless the spec says degrees; or that of a gripper's."""
    upper: float
    """In the unit of `lower`."""
    max_speed: float
    """In that unit per second."""

    def __post_init__(self) -> None:
        if not -math.inf < self.lower < self.upper < math.inf or not 0 < self.max_speed < math.inf:
            raise ValueError(f"{self}: expected lower < upper and max_speed > 0, all finite.")


class JointLimits:
    """Keeps commands within the limits of each joint of a robot that is driven by joint positions.

    Args:
        spec: the robot's conventions.
        limits: a limit for every name in `spec.action`.

    Raises:
        ValueError: a joint has no limit, a limit belongs to no joint, or actions are not joint positions.
    """

    def __init__(self, spec: Spec, limits: Mapping[str, JointLimit]):
        if not spec.commands_joints:
            raise ValueError(
                f"spec.action_space={spec.action_space!r}: expected {ACTION_JOINT_POSITION!r} or "
                f"{ACTION_JOINT_DEGREES!r}; limits of other actions are not known here. Convert actions to joint "
                "positions on the robot's side."
            )
        if set(limits) != set(spec.action):
            raise ValueError(
                f"limits: expected one for each of {list(spec.action)}; missing "
                f"{sorted(set(spec.action) - set(limits))}, unknown {sorted(set(limits) - set(spec.action))}."
            )
        self._names = spec.action
        ordered = [limits[name] for name in spec.action]
        self._lower = np.array([limit.lower for limit in ordered])
        self._upper = np.array([limit.upper for limit in ordered])
        self._largest_step = np.array([limit.max_speed for limit in ordered]) / spec.control_rate_hz

    def command(self, action: np.ndarray, position: np.ndarray) -> Tuple[np.ndarray, Tuple[str, ...]]:
        """What may be sent for `action` one control period after `position`, and the names of the joints it differs in.

        Beyond a position limit the command is the limit; beyond the speed limit it is as far as `max_speed` goes in
        one period. For limits of -1 to 1 and a largest step of 0.2:

            position   0.0   0.9   0.5   1.5
            action     0.1   3.0  -1.0   1.5
            command    0.1   1.0   0.3   1.3

        The command is float32 and read-only.

        Raises:
            ValueError: `position` is not a finite number for each joint.
        """
        if position.shape != self._lower.shape or not np.isfinite(position).all():
            raise ValueError(
                f"robot.positions(): expected a finite number for each of {list(self._names)}, got {position}."
            )
        within = np.clip(action.astype(np.float64), self._lower, self._upper)
        step = np.clip(within - position, -self._largest_step, self._largest_step)
        command = np.where(step == within - position, within, position + step).astype(np.float32)
        command.setflags(write=False)
        changed = command != action.astype(np.float32)
        return command, tuple(self._names[joint] for joint in np.flatnonzero(changed))
