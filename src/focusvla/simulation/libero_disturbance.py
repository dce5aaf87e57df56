"""Something goes wrong in a LIBERO scene while a policy acts: what it is about to grasp lies elsewhere."""

import copy

import numpy as np

from focusvla.simulation.libero_scene import LiberoScene
from focusvla.simulation.rendering import load_mujoco

_MOVED_METERS = (0.03, 0.08)
_TRIES = 50
_SETTLED_SUBSTEPS = 150
"""Of 2 ms, after which a moved object must still stand where it was put."""
_PENETRATION_METERS = 0.003
_REACH_METERS = 0.78
"""From the robot's base; the hand comes down on objects up to there."""


def move_aside(scene: LiberoScene, rng: np.random.Generator) -> bool:
    """Move the object that is to be moved next by 3 to 8 cm along the table, to where it stands free and within reach;
    False where the rest of the goal is about no object, or there is no such place."""
    missing = (predicate for predicate in scene.goal if not scene.holds(predicate))
    name = next((names[0] for _, *names in missing if names[0] in scene.object_names), None)
    if name is None:
        return False
    began, sunk = scene.object_position(name)[:2], scene.penetration(name)
    for _ in range(_TRIES):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*_MOVED_METERS)
        place = began + distance * np.array([np.cos(angle), np.sin(angle)])
        if np.linalg.norm(place - scene.robot_base[:2]) > _REACH_METERS:
            continue
        scene.move_object(name, place)
        if scene.penetration(name) < sunk + _PENETRATION_METERS and _stays(scene, name):
            return True
    scene.move_object(name, began)
    return False


def _stays(scene: LiberoScene, name: str) -> bool:
    """Whether an object would stand there still after a while, as it does now, if nobody touched it."""
    mujoco = load_mujoco()
    body = scene.object_body(name)
    ahead = copy.copy(scene.data)
    for _ in range(_SETTLED_SUBSTEPS):
        mujoco.mj_step(scene.model, ahead)
    moved = np.abs(ahead.xpos[body] - scene.data.xpos[body]).max()
    turned = np.abs(ahead.xmat[body] - scene.data.xmat[body]).max()
    return bool(moved < 0.01 and turned < 0.1)
