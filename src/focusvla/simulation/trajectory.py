"""What is noted of a simulated episode while it is played; pictures are drawn later, from its snapshots."""

from typing import Any

import numpy as np

from focusvla.simulation.environment import SimulatedEnvironment
from focusvla_client import Observer


class TrajectoryRecorder(Observer):
    """Notes where `environment` is when each action is chosen, whatever wraps it in the episode, and at the end."""

    def __init__(self, environment: SimulatedEnvironment):
        self._environment = environment
        self.snapshots: list[np.ndarray] = []
        """(joints,) each; one more than actions once the episode has ended."""
        self.states: list[np.ndarray] = []
        """(state,) each, beside the snapshots."""
        self.actions: list[np.ndarray] = []
        """(action,) each, as they were chosen."""
        self.num_inferences = 0

    def on_inference(self, observation: Any, chunk: np.ndarray) -> None:
        self.num_inferences += 1

    def on_action(self, environment: Any, action: np.ndarray) -> None:
        self._note_state()
        self.actions.append(action)

    def on_end(self, environment: Any, success: bool) -> None:
        self._note_state()

    def _note_state(self) -> None:
        self.snapshots.append(self._environment.snapshot())
        self.states.append(self._environment.observe(()).state)

    def trajectory(self) -> dict[str, np.ndarray]:
        """`snapshots`, `states` and `actions` float32, stacked; empty before the first action."""
        if not self.actions:
            return {}
        return {
            "snapshots": np.stack(self.snapshots),
            "states": np.stack(self.states),
            "actions": np.stack(self.actions).astype(np.float32),
        }
