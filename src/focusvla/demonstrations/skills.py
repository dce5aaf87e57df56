"""What scripted experts are made of: skills, each a generator of actions.

A skill reads the live scene, so it corrects itself when noise pushes it off its path. The numbers (speeds, heights,
waits) were measured; see docs/log.md.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from focusvla.demonstrations.grasping import plan_grasp
from focusvla.demonstrations.rim_grasping import plan_rim_grasp
from focusvla.simulation.libero_scene import LiberoScene

OPEN, CLOSE = -1.0, 1.0
_FULL_TRANSLATION, _FULL_ROTATION = 0.05, 0.5
"""Meters and radians that an action of 1 asks for."""
_POINTING_DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])

Actions = Iterator[Float[np.ndarray, "7"]]


def pointing_down(yaw: float) -> Float[np.ndarray, "3 3"]:
    """The grip site's rotation for a grasp from above at `yaw` radians."""
    return Rotation.from_euler("z", yaw).as_matrix() @ _POINTING_DOWN


def move_to(
    scene: LiberoScene,
    position: Float[np.ndarray, "3"],
    yaw: float,
    gripper: float,
    *,
    tolerance: float = 0.008,
    angle_tolerance: float = 0.06,
    max_steps: int = 80,
    speed: float = 1.0,
) -> Actions:
    """Go straight to `position` (meters) and `yaw`, at most `speed` of full command, until within the
    tolerances."""
    rotation = pointing_down(yaw)
    for _ in range(max_steps):
        offset = position - scene.gripper_position
        turn = Rotation.from_matrix(rotation @ scene.gripper_rotation.T).as_rotvec()
        if np.linalg.norm(offset) < tolerance and np.linalg.norm(turn) < angle_tolerance:
            return
        yield np.concatenate(
            [
                _limit(offset * 2.0 / _FULL_TRANSLATION, speed),
                _limit(turn * 2.0 / _FULL_ROTATION, 0.6),
                [gripper],
            ]
        )


def hold(scene: LiberoScene, yaw: float, gripper: float, steps: int) -> Actions:
    """Stay here for `steps` while the fingers move."""
    position, rotation = scene.gripper_position, pointing_down(yaw)
    for _ in range(steps):
        offset = (position - scene.gripper_position) / _FULL_TRANSLATION
        turn = Rotation.from_matrix(rotation @ scene.gripper_rotation.T).as_rotvec() / _FULL_ROTATION
        yield np.concatenate([np.clip(offset, -0.5, 0.5), np.clip(turn, -0.3, 0.3), [gripper]])


def pick(scene: LiberoScene, name: str, lift_height: float, attempts: int = 3) -> Iterator:
    """Grasp object `name` from above and lift it, trying again when it stayed behind. Returns the grasp's
    yaw."""
    yaw = 0.0
    for _ in range(attempts):
        before = scene.object_position(name)[2]
        grasp = plan_grasp(scene, name)
        yaw, xy = grasp.yaw, grasp.position[:2]
        yield from move_to(
            scene, np.array([*xy, grasp.top + 0.10]), yaw, OPEN, tolerance=0.02, angle_tolerance=0.1
        )
        yield from move_to(scene, np.array([*xy, grasp.top + 0.03]), yaw, OPEN, tolerance=0.012)
        yield from move_to(scene, grasp.position, yaw, OPEN, tolerance=0.006, max_steps=40, speed=0.7)
        yield from hold(scene, yaw, CLOSE, 10)
        yield from move_to(
            scene, np.array([*xy, lift_height]), yaw, CLOSE, tolerance=0.03, angle_tolerance=0.2, max_steps=50
        )
        if scene.object_position(name)[2] > before + 0.04:
            break
        yield from hold(scene, yaw, OPEN, 6)
    return yaw


def place_in_basket(scene: LiberoScene, name: str, basket: str, region: str, yaw: float) -> Actions:
    """Carry the held object over the basket, lower it to the rim, let go, and retreat."""
    rim = scene.surface_points(basket)[:, 2].max()
    middle = scene.site_position(region)

    def site_goal(above_rim: float) -> Float[np.ndarray, "3"]:
        held = scene.object_position(name) - scene.gripper_position
        hanging = scene.gripper_position[2] - scene.surface_points(name)[:, 2].min()
        return np.array([*(middle - held)[:2], rim + above_rim + hanging])

    yield from move_to(scene, site_goal(0.04), yaw, CLOSE, tolerance=0.02, angle_tolerance=0.2)
    yield from move_to(
        scene, site_goal(0.0), yaw, CLOSE, tolerance=0.015, angle_tolerance=0.2, max_steps=30, speed=0.6
    )
    yield from hold(scene, yaw, OPEN, 8)
    retreat = scene.gripper_position + np.array([0.0, 0.0, 0.08])
    yield from move_to(scene, retreat, yaw, OPEN, tolerance=0.02, angle_tolerance=0.3, max_steps=20)


def pick_by_rim(
    scene: LiberoScene, name: str, destination: Float[np.ndarray, "2"], attempts: int = 3
) -> Iterator[Float[np.ndarray, "7"]]:
    """Pinch the rim of a bowl or mug and lift it, at another place of the rim when it stayed behind. Returns the yaw."""
    yaw, tried = 0.0, []
    for _ in range(attempts):
        before = scene.object_position(name)[2]
        grasp = plan_rim_grasp(scene, name, destination, tried)
        yaw, xy = grasp.yaw, grasp.position[:2]
        tried.append(xy)
        yield from move_to(
            scene,
            np.array([*xy, grasp.top + 0.10]),
            yaw,
            OPEN,
            tolerance=0.02,
            angle_tolerance=0.1,
            max_steps=100,
        )
        yield from move_to(
            scene, grasp.position + np.array([0, 0, 0.045]), yaw, OPEN, tolerance=0.01, angle_tolerance=0.05
        )
        yield from move_to(scene, grasp.position, yaw, OPEN, tolerance=0.005, max_steps=40, speed=0.7)
        yield from hold(scene, yaw, CLOSE, 12)
        yield from move_to(
            scene,
            np.array([*xy, grasp.top + 0.12]),
            yaw,
            CLOSE,
            tolerance=0.03,
            angle_tolerance=0.2,
            max_steps=50,
        )
        if scene.object_position(name)[2] > before + 0.04:
            break
        yield from hold(scene, yaw, OPEN, 6)
    return yaw


def place_on(scene: LiberoScene, name: str, support: str, yaw: float) -> Actions:
    """Carry the held object over `support`, its bottom 10 cm above, which clears what stands around; set it down, and
    retreat."""
    above = scene.object_position(support)[2] + 0.006

    def goal(bottom: float) -> Float[np.ndarray, "3"]:
        held = scene.object_position(name) - scene.gripper_position
        hanging = scene.gripper_position[2] - scene.surface_points(name)[:, 2].min()
        return np.array([*(scene.object_position(support) - held)[:2], bottom + hanging])

    height = above + 0.10
    rising = np.array([*scene.gripper_position[:2], goal(height)[2]])
    if rising[2] > scene.gripper_position[2] + 0.02:
        yield from move_to(scene, rising, yaw, CLOSE, tolerance=0.03, angle_tolerance=0.3, max_steps=40)
    yield from move_to(scene, goal(height), yaw, CLOSE, tolerance=0.02, angle_tolerance=0.2, max_steps=100)
    yield from move_to(scene, goal(above + 0.03), yaw, CLOSE, angle_tolerance=0.2, max_steps=30)
    yield from move_to(
        scene, goal(above + 0.01), yaw, CLOSE, tolerance=0.006, angle_tolerance=0.2, max_steps=25, speed=0.4
    )
    yield from hold(scene, yaw, OPEN, 8)
    retreat = scene.gripper_position + np.array([0.0, 0.0, 0.12])
    yield from move_to(scene, retreat, yaw, OPEN, tolerance=0.02, angle_tolerance=0.3, max_steps=30)


def _limit(vector: Float[np.ndarray, "3"], length: float) -> Float[np.ndarray, "3"]:
    norm = float(np.linalg.norm(vector))
    return vector * (length / norm) if norm > length else vector
