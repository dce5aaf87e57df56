"""How a scripted hand moves: straight to a pose, or not at all while the fingers do; each motion generates actions.

A motion reads the live scene at every step, so it corrects itself when noise pushes it off its path.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from focusvla.simulation.libero_scene import LiberoScene

OPEN, CLOSE = -1.0, 1.0
_FULL_TRANSLATION, _FULL_ROTATION = 0.05, 0.5
"""Meters and radians that an action of 1 asks for."""
_POINTING_DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
_PATIENCE = 8
"""Steps after which a hand that stands still is taken for blocked."""
_STILL_METERS, _STILL_RADIANS = 0.002, 0.02

Actions = Iterator[Float[np.ndarray, "7"]]
Orientation = float | Float[np.ndarray, "3 3"]
"""The yaw of a hand that points down, in radians, or the grip site's rotation."""
_Pose = tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]


def pointing_down(yaw: float) -> Float[np.ndarray, "3 3"]:
    """The grip site's rotation for a grasp from above at `yaw` radians."""
    return Rotation.from_euler("z", yaw).as_matrix() @ _POINTING_DOWN


def pointing(direction: Float[np.ndarray, "3"], yaw: float = 0.0) -> Float[np.ndarray, "3 3"]:
    """The grip site's rotation for a hand that pointed down at `yaw` and was tilted until it points along `direction`.

    At yaw 0 a hand tilted towards +-y opens upwards, for bars that lie; at 90 degrees sideways, for bars that stand.
    """
    return turning(np.array([0.0, 0.0, -1.0]), direction) @ pointing_down(yaw)


def turning(start: Float[np.ndarray, "3"], end: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that turns the direction `start` into `end`."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(start, end)
    length = float(np.linalg.norm(axis))
    if length < 1e-9:
        return np.eye(3)
    return Rotation.from_rotvec(axis / length * np.arctan2(length, float(start @ end))).as_matrix()


def move_to(
    scene: LiberoScene,
    position: Float[np.ndarray, "3"],
    orientation: Orientation,
    gripper: float,
    *,
    tolerance: float = 0.008,
    angle_tolerance: float = 0.06,
    max_steps: int = 80,
    speed: float = 1.0,
) -> Actions:
    """Go straight to `position` (meters) and `orientation`, at most `speed` of full command, until within the
    tolerances or blocked."""
    rotation = _matrix(orientation)
    passed: list[_Pose] = []
    for _ in range(max_steps):
        here, turned = scene.gripper_position, scene.gripper_rotation
        offset = position - here
        turn = Rotation.from_matrix(rotation @ turned.T).as_rotvec()
        if np.linalg.norm(offset) < tolerance and np.linalg.norm(turn) < angle_tolerance:
            return
        passed.append((here, turned))
        if len(passed) > _PATIENCE and _stands_still(passed[-1 - _PATIENCE], passed[-1]):
            return
        yield np.concatenate(
            [
                _limit(offset * 2.0 / _FULL_TRANSLATION, speed),
                _limit(turn * 2.0 / _FULL_ROTATION, 0.6),
                [gripper],
            ]
        )


def hold(scene: LiberoScene, orientation: Orientation, gripper: float, steps: int) -> Actions:
    """Stay here for `steps` while the fingers move."""
    position, rotation = scene.gripper_position, _matrix(orientation)
    for _ in range(steps):
        offset = (position - scene.gripper_position) / _FULL_TRANSLATION
        turn = Rotation.from_matrix(rotation @ scene.gripper_rotation.T).as_rotvec() / _FULL_ROTATION
        yield np.concatenate([np.clip(offset, -0.5, 0.5), np.clip(turn, -0.3, 0.3), [gripper]])


def _stands_still(before: _Pose, now: _Pose) -> bool:
    moved = float(np.linalg.norm(now[0] - before[0]))
    turned = float(np.linalg.norm(Rotation.from_matrix(now[1] @ before[1].T).as_rotvec()))
    return moved < _STILL_METERS and turned < _STILL_RADIANS


def _matrix(orientation: Orientation) -> Float[np.ndarray, "3 3"]:
    return orientation if isinstance(orientation, np.ndarray) else pointing_down(orientation)


def _limit(vector: Float[np.ndarray, "3"], length: float) -> Float[np.ndarray, "3"]:
    norm = float(np.linalg.norm(vector))
    return vector * (length / norm) if norm > length else vector
