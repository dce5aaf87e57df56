"""What is noted of a simulated episode while it is played; pictures are drawn later, from its snapshots."""

from collections.abc import Mapping
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
        self.asked: list[int] = []
        """Actions before each question that was answered."""

    def on_inference(self, observation: Any, chunk: np.ndarray) -> None:
        self.asked.append(len(self.actions))

    def on_action(self, environment: Any, action: np.ndarray) -> None:
        self._note_state()
        self.actions.append(action)

    def on_end(self, environment: Any, success: bool) -> None:
        self._note_state()

    def _note_state(self) -> None:
        self.snapshots.append(self._environment.snapshot())
        self.states.append(self._environment.observe(()).state)

    def trajectory(self) -> dict[str, np.ndarray]:
        """`snapshots`, `states` and `actions` float32, stacked, and `asked` int64; empty before the first action."""
        if not self.actions:
            return {}
        return {
            "snapshots": np.stack(self.snapshots),
            "states": np.stack(self.states),
            "actions": np.stack(self.actions).astype(np.float32),
            "asked": np.array(self.asked, np.int64),
        }


def asked_steps(trajectory: Mapping[str, np.ndarray], actions_per_inference: int) -> list[int]:
    """Actions before each question of a trajectory; of one that an earlier version wrote, which asked after each
    `actions_per_inference`."""
    if "asked" in trajectory:
        return trajectory["asked"].tolist()
    if "actions" not in trajectory:  # of a still earlier one
        return []
    return [*range(0, len(trajectory["actions"]), actions_per_inference)]
