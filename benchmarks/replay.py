"""Recorded actions played again: what the speed comparisons use for a policy."""

import numpy as np

from focusvla.simulation.libero import CAMERAS
from focusvla_client import Observation, Observer

CHUNK = 8


class Recorder(Observer):
    """Keeps the actions of an episode."""

    def __init__(self):
        self.actions: list[np.ndarray] = []

    def on_action(self, environment, action) -> None:
        self.actions.append(action)


class Replay:
    """A policy that looks through both cameras and answers with recorded actions."""

    cameras = tuple(CAMERAS)

    def __init__(self, actions: list[np.ndarray] | np.ndarray):
        self._actions = np.stack(list(actions))

    def reset(self) -> None:
        """Begin with the first action."""
        self._next = 0

    def infer(self, observation: Observation) -> np.ndarray:
        """The next chunk."""
        self._next += CHUNK
        return self._actions[self._next - CHUNK : self._next]
