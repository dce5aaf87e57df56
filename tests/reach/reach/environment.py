"""The world as an environment. Places are in meters on a table of 1 x 1 m; a full command moves the hand by 5 cm."""

from collections.abc import Sequence

import numpy as np

from focusvla.errors import ConfigurationError, require_known
from focusvla.suites import Start, Task
from focusvla_client import Observation
from reach.suite import reach_spec

COLORS = {"red": (220, 40, 40), "blue": (40, 60, 220)}
RADIUS = 0.08
"""Of a disc, within which the hand has reached it."""
FULL_COMMAND = 0.05
_NUM_STARTS = 8
_TABLE, _HAND = (190, 180, 160), (30, 30, 30)
_HAND_RADIUS = 0.04


class ReachEnvironment:
    """Two discs and a hand; the task names the disc that is to be reached."""

    @staticmethod
    def tasks(suite: str) -> list[Task]:
        """One for each disc."""
        require_known("suite", suite, ["reach"])
        return [
            Task(suite, index, color, f"reach the {color} disc", _NUM_STARTS)
            for index, color in enumerate(COLORS)
        ]

    def __init__(self, task: Task, image_size: int = 32, mesh_cell_meters: float = 0.0):
        """Without meshes, there is nothing to simplify."""
        self.task, self.spec = task, reach_spec(image_size)
        self._target = list(COLORS).index(task.name)
        self._places = np.full((3, 2), 0.5)

    @property
    def offset(self) -> np.ndarray:
        """Meters from the hand to the disc that the task names."""
        return self._places[self._target] - self._places[2]

    def reset(self, start: Start) -> None:
        """Discs to the left and to the right, the hand before them."""
        if start.init_state is not None and not 0 <= start.init_state < _NUM_STARTS:
            raise ConfigurationError(f"init_state={start.init_state}: expected 0..{_NUM_STARTS - 1}.")
        rng = np.random.default_rng([start.seed, 1] if start.init_state is None else [start.init_state])
        discs = np.array([[0.3, 0.3], [0.7, 0.3]])[rng.permutation(2)] + rng.uniform(-0.1, 0.1, (2, 2))
        discs[self._target] += np.random.default_rng(start.seed).uniform(-1, 1, 2) * start.displacement_meters
        hand = [0.5, 0.8] + rng.uniform(-1, 1, 2) * start.arm_displacement_meters
        self._places = np.clip(np.vstack([discs, hand]), 0.0, 1.0)

    def observe(self, cameras: Sequence[str]) -> Observation:
        """The hand's place, and the table from above."""
        images = self.replay_images(self.snapshot())
        for camera in cameras:
            require_known("camera", camera, images)
        seen = {camera: images[camera] for camera in cameras}
        return Observation(seen, self._places[2].astype(np.float32), self.task.instruction)

    def apply(self, action: np.ndarray) -> None:
        """Displace the hand by at most a full command along each axis."""
        if action.shape != (2,) or not np.isfinite(action).all():
            raise ConfigurationError(f"action: expected 2 finite numbers, got {action}.")
        self._places[2] = np.clip(self._places[2] + FULL_COMMAND * np.clip(action, -1, 1), 0.0, 1.0)

    def success(self) -> bool:
        """Whether the hand is over the disc."""
        return bool(np.linalg.norm(self.offset) < RADIUS)

    def snapshot(self) -> np.ndarray:
        """All places."""
        return self._places.ravel().copy()

    def replay_images(self, snapshot: np.ndarray) -> dict[str, np.ndarray]:
        """Discs, and the hand upon them."""
        size = self.spec.cameras[0].height
        image = np.full((size, size, 3), _TABLE, np.uint8)
        colors = (*COLORS.values(), _HAND)
        for covered, color in zip(self._covered(snapshot), colors, strict=True):
            image[covered] = color
        return {"above": image}

    def replay_regions(self, snapshot: np.ndarray) -> dict[str, np.ndarray]:
        """The disc is the target; nothing is moved to it but the hand."""
        *discs, hand = self._covered(snapshot)
        return {"above": np.stack([np.zeros_like(hand), discs[self._target] & ~hand, hand])}

    def close(self) -> None:
        """Nothing is held."""

    def _covered(self, snapshot: np.ndarray) -> list[np.ndarray]:
        size = self.spec.cameras[0].height
        at = (np.arange(size) + 0.5) / size
        radii = (RADIUS, RADIUS, _HAND_RADIUS)
        return [
            (at - x) ** 2 + (at[:, None] - y) ** 2 < radius**2
            for (x, y), radius in zip(snapshot.reshape(3, 2), radii, strict=True)
        ]
