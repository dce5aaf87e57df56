"""Where a rim is pinched depends on what can be seen, and nothing else."""

import numpy as np
import pytest

pytest.importorskip("robosuite")

from focusvla.demonstrations.rim_grasping import plan_rim_grasp
from focusvla.simulation.libero_scene import LiberoScene


class Bowl(LiberoScene):
    """A round rim that is turned about the vertical, and whatever stands beside it."""

    @property
    def robot_base(self) -> np.ndarray:
        return np.array([-0.66, 0.0, 0.9])

    def __init__(self, turn: float, beside: np.ndarray | None = None):
        cos, sin = np.cos(turn), np.sin(turn)
        self._rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
        self._beside = np.zeros((0, 3)) if beside is None else beside
        angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 3000)
        ring = np.stack([0.055 * np.cos(angles), 0.055 * np.sin(angles), np.full(3000, 0.05)], axis=1)
        self._ring = ring @ self._rotation.T + self.object_position("bowl")

    def object_position(self, name: str) -> np.ndarray:
        return np.array([-0.05, 0.1, 0.9])

    def object_rotation(self, name: str) -> np.ndarray:
        return self._rotation

    def surface_points(self, name: str, count: int = 0) -> np.ndarray:
        return self._ring

    def obstacle_points(self, name: str) -> np.ndarray:
        return self._beside


def side(scene: Bowl) -> float:
    """How far to the robot's left of the middle, in meters."""
    grasp = plan_rim_grasp(scene, "bowl", np.array([0.05, 0.2]))
    return float((grasp.position - scene.object_position("bowl"))[1])


def test_a_bowl_is_pinched_on_the_same_side_however_it_is_turned():
    assert {side(Bowl(np.deg2rad(turn))) > 0.04 for turn in range(0, 360, 7)} == {True}


def test_what_stands_on_that_side_makes_the_other_one_better():
    wall = np.random.default_rng(0).uniform((-0.1, 0.19, 0.9), (0.0, 0.2, 1.1), (4000, 3))
    assert side(Bowl(0.0, wall)) < 0.03
