"""Recorded actions played again: what the speed comparisons use for a policy."""

from collections.abc import Sequence

import numpy as np

from focusvla.evaluation.episodes import PolicyTraits, Question
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.simulation.libero import CAMERAS
from focusvla.suites.libero import libero_spec
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


class RecordedPolicy:
    """The same for `focusvla.evaluation.evaluate`, in the policy's process: recorded actions by trial."""

    def __init__(self, actions: Sequence[np.ndarray], image_size: int):
        self._actions, self._image_size = actions, image_size

    def traits(self) -> PolicyTraits:
        """What players must know of it."""
        name = PolicyIdentity(weights="recorded")
        return PolicyTraits(libero_spec(self._image_size), tuple(CAMERAS), CHUNK, name)

    def infer(self, requests: Sequence[Question]) -> list[np.ndarray]:
        """The next chunk of each episode."""
        return [
            self._actions[request.episode.trial][request.inference * CHUNK :][:CHUNK] for request in requests
        ]
