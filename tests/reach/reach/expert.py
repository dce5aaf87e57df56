"""Who knows where the discs are."""

import numpy as np

from focusvla_client import Observation
from reach.environment import FULL_COMMAND, RADIUS, ReachEnvironment


class ReachExpert:
    """Moves straight to the disc."""

    cameras: tuple[str, ...] = ()

    def __init__(self, environment: ReachEnvironment):
        self._environment = environment

    def reset(self) -> None:
        """Nothing is remembered."""

    def infer(self, observation: Observation) -> np.ndarray:
        """One action, or none when the hand is well over the disc."""
        offset = self._environment.offset
        if np.linalg.norm(offset) < RADIUS / 2:
            return np.zeros((0, 2), np.float32)
        return np.clip(offset / FULL_COMMAND, -1, 1).astype(np.float32)[None]
