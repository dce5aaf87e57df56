"""What an expert does first where it finds the hand in the middle of something: it puts down what it does not need, lets
go, and withdraws to where the way to anything is free. At a usual start that is nothing."""

import numpy as np

from focusvla.demonstrations.motions import CLOSE, OPEN, Actions, hold, move_to
from focusvla.simulation.libero_scene import LiberoScene

_AROUND, _ABOVE = 0.10, 0.05
"""Things within so many meters of the grip site, seen from above, are in the hand's way until it is so far above them."""
_STEP, _FARTHEST = 0.03, 0.25
"""Meters of one move back, and of all of them."""
_SET_DOWN_STEPS = 80


def begin_afresh(scene: LiberoScene, needed: str | None) -> Actions:
    """Bring the hand to where any script can begin. What is `needed` may stay in it."""
    held = scene.held_object
    if held is not None and held == needed:
        return
    if held is not None:
        yield from _put_down(scene, held)
    yield from _withdraw(scene)


def _put_down(scene: LiberoScene, name: str) -> Actions:
    """Lower what is held, turned as it is, until it stands on something, and let go."""
    rotation = scene.gripper_rotation
    for _ in range(_SET_DOWN_STEPS):
        if scene.is_supported(name) or scene.held_object != name:
            break
        below = scene.gripper_position - np.array([0.0, 0.0, _STEP])
        yield from move_to(
            scene, below, rotation, CLOSE, tolerance=0, angle_tolerance=0, max_steps=1, speed=0.5
        )
    yield from hold(scene, rotation, OPEN, 8)


def _withdraw(scene: LiberoScene) -> Actions:
    """Open the hand and draw it back, away from where it points, until nothing stands beside it."""
    rotation, back = scene.gripper_rotation, -scene.gripper_rotation[:, 2]
    began = scene.gripper_position
    while _is_among_things(scene) and np.linalg.norm(scene.gripper_position - began) < _FARTHEST:
        before = scene.gripper_position
        yield from move_to(scene, before + _STEP * back, rotation, OPEN, angle_tolerance=0.2, max_steps=12)
        if np.linalg.norm(scene.gripper_position - before) < _STEP / 3:
            return  # something is in the way


def _is_among_things(scene: LiberoScene) -> bool:
    points, here = scene.obstacle_points(), scene.gripper_position
    near = points[np.linalg.norm(points[:, :2] - here[:2], axis=1) < _AROUND]
    return bool(len(near) and near[:, 2].max() + _ABOVE > here[2])
