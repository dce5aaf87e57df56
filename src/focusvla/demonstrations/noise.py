"""Noise between what an expert commands and what the arm does.

The recorded action is the expert's, the executed one is disturbed: so demonstrations visit states off the
ideal path and show the way back (disturbances for augmenting robot trajectories, Laskey et al. 2017).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from focusvla_client import Environment, Observation, Spec

_PERSISTENCE = 0.7
_ROTATION_SHARE = 0.5
_PUSH_PROBABILITY = 0.06
"""Per step with the gripper open; a push takes 3 to 6 steps and moves the hand by up to 8 cm. Twice a demonstration:
with half of it, and none in a third of the demonstrations, policies grasped beside the target three times as often."""


class NoisyEnvironment:
    """An environment whose arm does not do quite what it is told. The gripper obeys."""

    def __init__(self, environment: Environment, sigma: float, pushes: bool, rng: np.random.Generator):
        """Disturb `environment` with noise of standard deviation `sigma` in units of full command; 0 is none.

        With `pushes`, while the gripper is open, six steps in a hundred begin a push of 3 to 6 steps in a random
        direction: what is learned from them is to see, close to the object, that the hand is beside it.
        """
        self.environment = environment
        self._pushes = pushes
        self._scale = sigma * np.array([1.0] * 3 + [_ROTATION_SHARE] * 3)
        self._rng = rng
        self._noise = np.zeros(6)
        self._push = np.zeros(6)
        self._push_steps = 0

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

    def apply(self, action: Float[np.ndarray, "7"]) -> None:
        """Carry out a disturbed `action`."""
        self.environment.apply(np.clip(action + np.append(self._disturbance(action), 0.0), -1.0, 1.0))

    def _disturbance(self, action: Float[np.ndarray, "7"]) -> Float[np.ndarray, "6"]:
        rng = self._rng
        fresh = rng.normal(size=6) * self._scale
        self._noise = _PERSISTENCE * self._noise + np.sqrt(1 - _PERSISTENCE**2) * fresh
        if self._pushes and self._push_steps == 0 and action[6] < 0 and rng.random() < _PUSH_PROBABILITY:
            direction = rng.normal(size=3)
            direction *= rng.uniform(0.4, 1.0) / np.linalg.norm(direction)
            self._push = np.concatenate([direction, rng.normal(0, 0.15, 3)])
            self._push_steps = int(rng.integers(3, 7))
        if self._push_steps > 0:
            self._push_steps -= 1
            return self._push - action[:6]
        return self._noise
