"""Once in an episode something goes wrong: what the hand holds falls, or what is to be grasped is moved.

Where and when is a function of the episode's start, so that policies meet the same from the same start as long as they
have done the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from focusvla.simulation.environment import Disturbable
from focusvla.suites import Protocol
from focusvla_client.spec import GRIPPER_OPEN_NEGATIVE

_STREAM = 11
"""Of random numbers, beside others that are drawn for an episode."""


class Disturbed:
    """An environment that is disturbed before one of its steps, and notes what comes of it."""

    def __init__(self, environment: Any, rules: Protocol, episode: Sequence[int]):
        """Disturb `environment` by `rules`, in the episode of these numbers."""
        assert rules.disturbed_steps is not None
        self._environment = environment
        self._disturbable: Disturbable = environment
        self._rng = np.random.default_rng([rules.environment_seed, *episode, _STREAM])
        low, high = rules.disturbed_steps
        self._due = int(self._rng.integers(low, high + 1))
        self._steps = 0
        self._is_closed = False
        self.kind = ""
        """What was done; empty if nothing was."""
        self.closings = 0
        """How often the gripper was told to close since, after it was told to open."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    @property
    def step(self) -> int | None:
        """Steps before it happened; None if it did not."""
        return self._due if self.kind else None

    def apply(self, action: Float[np.ndarray, " action"]) -> None:
        """As the environment's."""
        if self._steps == self._due:
            self.kind = self._disturbable.disturb(self._rng)
        self._steps += 1
        was_closed, self._is_closed = self._is_closed, self._closes(action)
        self.closings += bool(self.kind) and self._is_closed and not was_closed
        self._environment.apply(action)

    def _closes(self, action: Float[np.ndarray, " action"]) -> bool:
        spec = self._environment.spec
        return spec.gripper == GRIPPER_OPEN_NEGATIVE and bool(action[-1] > 0)
