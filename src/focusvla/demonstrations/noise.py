"""Noise between what an expert commands and what the arm does.

The recorded action is the expert's, the executed one is disturbed: so demonstrations visit states off the
ideal path and show the way back (disturbances for augmenting robot trajectories, Laskey et al. 2017).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from focusvla_client import Environment, Observation, Spec
from focusvla_client.spec import (
    ACTION_JOINT_POSITION,
    GRIPPER_ABSOLUTE,
    GRIPPER_EFFORT,
    GRIPPER_NONE,
    GRIPPER_OPEN_NEGATIVE,
    ROTATION_AXIS_ANGLE,
)

_PERSISTENCE = 0.7
_ROTATION_SHARE = 0.5
_PUSH_PROBABILITY = 0.06
"""Per step with the gripper open; a push takes 3 to 6 steps and moves the hand by up to 8 cm. Twice a demonstration:
with half of it, and none in a third of the demonstrations, policies grasped beside the target three times as often."""

_OPEN: dict[str, Callable[[float], bool]] = {
    GRIPPER_OPEN_NEGATIVE: lambda command: command < 0,
    GRIPPER_EFFORT: lambda command: command < 0,
    GRIPPER_ABSOLUTE: lambda command: command > 0.5,
    GRIPPER_NONE: lambda command: True,
}

_JOINT_PERSISTENCE = 0.9
_FULL_JOINT = 0.03
"""Radians that noise of 1 moves a joint by."""
_JOINT_PUSH_PROBABILITY = 0.015
_JOINT_PUSH_STEPS = (12, 24)
_JOINT_PUSH_RADIANS = np.array([0.25, 0.15, 0.15, 0.1, 0.15, 0.1])


class NoisyEnvironment:
    """An environment whose arm does not do quite what it is told. The gripper obeys."""

    def __init__(self, environment: Environment, sigma: float, pushes: bool, rng: np.random.Generator):
        """Disturb `environment` with noise of standard deviation `sigma` in units of full command; 0 is none. A joint's
        full command is 0.03 rad.

        With `pushes`, while the gripper is open, six steps in a hundred begin a push of 3 to 6 steps in a random
        direction: what is learned from them is to see, close to the object, that the hand is beside it. Of arms that
        are commanded by their joints, at 50 Hz, each is pushed for itself, a quarter as often and four times as long.
        """
        self.environment = environment
        joints = environment.spec.action_space == ACTION_JOINT_POSITION
        self._disturb: Callable[[np.ndarray], np.ndarray] = (
            _DisturbedJoints(environment.spec, sigma, pushes, rng)
            if joints
            else _DisturbedHand(environment.spec, sigma, pushes, rng)
        )

    @property
    def spec(self) -> Spec:
        """The conventions of the disturbed environment."""
        return self.environment.spec

    def reset(self, start: Any) -> None:
        """Begin an episode."""
        self.environment.reset(start)

    def observe(self, cameras: Sequence[str]) -> Observation:
        """What the disturbed environment shows."""
        return self.environment.observe(cameras)

    def success(self) -> bool:
        """Whether the goal predicates hold."""
        return self.environment.success()

    def apply(self, action: Float[np.ndarray, " action"]) -> None:
        """Carry out a disturbed `action`."""
        self.environment.apply(self._disturb(action))


class _DisturbedHand:
    """Displacements of one hand in [-1, 1]: along axes, about axes if it turns, and its gripper if it has one."""

    def __init__(self, spec: Spec, sigma: float, pushes: bool, rng: np.random.Generator):
        self._gripper = len(spec.action) - 1 if spec.gripper != GRIPPER_NONE else None
        self._is_open = _OPEN[spec.gripper]
        num_motions = len(spec.action[: self._gripper])
        self._num_turns = 3 if spec.rotation == ROTATION_AXIS_ANGLE else 0
        self._num_shifts = num_motions - self._num_turns
        self._pushes = pushes
        self._scale = sigma * np.array([1.0] * self._num_shifts + [_ROTATION_SHARE] * self._num_turns)
        self._rng = rng
        self._noise = np.zeros(num_motions)
        self._push = np.zeros(num_motions)
        self._push_steps = 0

    def __call__(self, action: Float[np.ndarray, " action"]) -> Float[np.ndarray, " action"]:
        motion, gripper = action[: self._gripper], action[len(self._noise) :]
        is_open = self._gripper is None or self._is_open(float(gripper[0]))
        return np.clip(np.concatenate([motion + self._disturbance(motion, is_open), gripper]), -1.0, 1.0)

    def _disturbance(
        self, motion: Float[np.ndarray, " motions"], is_open: bool
    ) -> Float[np.ndarray, " motions"]:
        rng = self._rng
        fresh = rng.normal(size=len(self._scale)) * self._scale
        self._noise = _PERSISTENCE * self._noise + np.sqrt(1 - _PERSISTENCE**2) * fresh
        if self._pushes and self._push_steps == 0 and is_open and rng.random() < _PUSH_PROBABILITY:
            direction = rng.normal(size=self._num_shifts)
            direction *= rng.uniform(0.4, 1.0) / np.linalg.norm(direction)
            self._push = np.concatenate([direction, rng.normal(0, 0.15, self._num_turns)])
            self._push_steps = int(rng.integers(3, 7))
        if self._push_steps > 0:
            self._push_steps -= 1
            return self._push - motion
        return self._noise


class _DisturbedJoints:
    """Joint angles of any number of arms, each with its gripper behind them; 0 is closed, 1 open."""

    def __init__(self, spec: Spec, sigma: float, pushes: bool, rng: np.random.Generator):
        grippers = spec.gripper_places
        self._arms = [
            _DisturbedArm(slice(begin, end), sigma, pushes, rng)
            for begin, end in zip([0, *(place + 1 for place in grippers)], grippers, strict=False)
        ]

    def __call__(self, action: Float[np.ndarray, " action"]) -> Float[np.ndarray, " action"]:
        disturbed = action.copy()
        for arm in self._arms:
            disturbed[arm.joints] += arm.disturbance(
                is_open=_OPEN[GRIPPER_ABSOLUTE](float(action[arm.joints.stop]))
            )
        return disturbed


class _DisturbedArm:
    def __init__(self, joints: slice, sigma: float, pushes: bool, rng: np.random.Generator):
        self.joints = joints
        self._scale, self._pushes, self._rng = sigma * _FULL_JOINT, pushes, rng
        self._noise = np.zeros(joints.stop - joints.start)
        self._push: list[np.ndarray] = []

    def disturbance(self, is_open: bool) -> Float[np.ndarray, " joints"]:
        rng, count = self._rng, len(self._noise)
        fresh = rng.normal(size=count) * self._scale
        self._noise = _JOINT_PERSISTENCE * self._noise + np.sqrt(1 - _JOINT_PERSISTENCE**2) * fresh
        if self._pushes and not self._push and is_open and rng.random() < _JOINT_PUSH_PROBABILITY:
            peak = rng.uniform(-1, 1, count) * _JOINT_PUSH_RADIANS
            steps = int(rng.integers(*_JOINT_PUSH_STEPS))
            self._push = [peak * np.sin(np.pi * step / steps) for step in range(1, steps)]
        return self._noise + (self._push.pop() if self._push else 0.0)
