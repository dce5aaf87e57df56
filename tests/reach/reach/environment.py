"""The world as an environment. Places are in meters on a table of 1 x 1 m; a full command moves the hand by 5 cm."""

import os
from collections.abc import Sequence

import numpy as np

from focusvla.errors import ConfigurationError, require_known
from focusvla.suites import Start, Task
from focusvla_client import Observation
from reach.suite import WORDS, reach_spec

COLORS = {
    "red": (220, 40, 40),
    "blue": (40, 60, 220),
    "green": (40, 160, 60),
    "yellow": (230, 210, 60),
    "white": (240, 240, 240),
}
RADIUS = 0.08
"""Of a disc, within which the hand has reached it."""
FULL_COMMAND = 0.05
REST = 0.2
"""Of a full command, below which the hand rests."""
_NUM_STARTS = 8
_TABLE, _HAND = (190, 180, 160), (30, 30, 30)
_HAND_RADIUS = 0.04
_CLOSE = 0.3
"""Meters that the hand's camera sees."""


class ReachEnvironment:
    """Two discs and a hand; the task names the disc that is to be reached, the other is of the next color."""

    @staticmethod
    def tasks(suite: str) -> list[Task]:
        """One for each color."""
        clean = suite.removesuffix("_swap")
        require_known("suite", clean, WORDS)
        return [
            Task(suite, index, color, f"{WORDS[clean]} the {color} disc", _NUM_STARTS)
            for index, color in enumerate(COLORS)
        ]

    def __init__(self, task: Task, image_size: int = 32, mesh_cell_meters: float = 0.0):
        """Without meshes, there is nothing to simplify."""
        if os.environ.get("REACH_IS_BROKEN"):
            raise RuntimeError("no cache can be written")
        self.task, self.spec = task, reach_spec(image_size)
        colors = list(COLORS.values())
        self._colors = (colors[task.index], colors[(task.index + 1) % len(colors)], _HAND)
        self._places, self._speed = np.full((3, 2), 0.5), 0.0

    @property
    def offset(self) -> np.ndarray:
        """Meters from the hand to the disc that the task names."""
        return self._places[0] - self._places[2]

    def reset(self, start: Start) -> None:
        """Discs to the left and to the right, the hand before them."""
        if start.init_state is not None and not 0 <= start.init_state < _NUM_STARTS:
            raise ConfigurationError(f"init_state={start.init_state}: expected 0..{_NUM_STARTS - 1}.")
        rng = np.random.default_rng([start.seed, 1] if start.init_state is None else [start.init_state])
        discs = np.array([[0.3, 0.3], [0.7, 0.3]])[rng.permutation(2)] + rng.uniform(-0.1, 0.1, (2, 2))
        if self.task.suite.endswith("_swap"):
            discs = discs[::-1]
        discs[0] += np.random.default_rng(start.seed).uniform(-1, 1, 2) * start.displacement_meters
        hand = [0.5, 0.8] + rng.uniform(-1, 1, 2) * start.arm_displacement_meters
        self._places, self._speed = np.clip(np.vstack([discs, hand]), 0.0, 1.0), 0.0

    def observe(self, cameras: Sequence[str]) -> Observation:
        """The hand's place, and the table from above and from the hand."""
        images = self.replay_images(self.snapshot())
        for camera in cameras:
            require_known("camera", camera, images)
        seen = {camera: images[camera] for camera in cameras}
        return Observation(seen, self._places[2].astype(np.float32), self.task.instruction)

    def apply(self, action: np.ndarray) -> None:
        """Displace the hand by at most a full command along each axis."""
        if action.shape != (2,) or not np.isfinite(action).all():
            raise ConfigurationError(f"action: expected 2 finite numbers, got {action}.")
        self._speed = float(np.abs(action).max())
        self._places[2] = np.clip(self._places[2] + FULL_COMMAND * np.clip(action, -1, 1), 0.0, 1.0)

    def disturb(self, rng: np.random.Generator) -> str:
        """Move the disc that the task names by 20 cm, towards the middle of the table."""
        angle = rng.uniform(-0.5, 0.5)
        toward = np.sign(0.5 - self._places[0, 0])
        self._places[0] += 0.2 * np.array([toward * np.cos(angle), np.sin(angle)])
        return "moved"

    def success(self) -> bool:
        """Whether the hand rests over the disc; who only passes by has not reached it."""
        return bool(np.linalg.norm(self.offset) < RADIUS and self._speed < REST)

    def snapshot(self) -> np.ndarray:
        """All places."""
        return self._places.ravel().copy()

    def replay_images(self, snapshot: np.ndarray) -> dict[str, np.ndarray]:
        """Discs, and the hand upon them."""
        images = {}
        for camera, covered in self._covered(snapshot).items():
            image = np.full((*covered[0].shape, 3), _TABLE, np.uint8)
            for where, color in zip(covered, self._colors, strict=True):
                image[where] = color
            images[camera] = image
        return images

    def replay_regions(self, snapshot: np.ndarray) -> dict[str, np.ndarray]:
        """The disc is the target; nothing is moved to it but the hand."""
        return {
            camera: np.stack([np.zeros_like(hand), disc & ~hand, hand])
            for camera, (disc, _, hand) in self._covered(snapshot).items()
        }

    def close(self) -> None:
        """Nothing is held."""

    def _covered(self, snapshot: np.ndarray) -> dict[str, list[np.ndarray]]:
        """By camera, the pixels of either disc and of the hand."""
        places, at = snapshot.reshape(3, 2), (np.arange(self.spec.cameras[0].height) + 0.5)
        at, hand, radii = at / len(at), places[2], (RADIUS, RADIUS, _HAND_RADIUS)
        views = {"image": (at, at), "image2": tuple(hand[:, None] + (at - 0.5) * _CLOSE)}
        return {
            camera: [
                (xs - x) ** 2 + (ys[:, None] - y) ** 2 < radius**2
                for (x, y), radius in zip(places, radii, strict=True)
            ]
            for camera, (xs, ys) in views.items()
        }
