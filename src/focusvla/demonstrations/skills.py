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

OPEN, STAY, CLOSE = -1.0, 0.0, 1.0
_ARRIVED = 0.03
"""Meters from its destination within which a dragged object has arrived."""
_LOWEST_GRIP = 0.915
"""Height of the grip site at which the fingertips nearly touch the table."""
_FULL_TRANSLATION, _FULL_ROTATION = 0.05, 0.5
"""Meters and radians that an action of 1 asks for."""
_POINTING_DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])

Actions = Iterator[Float[np.ndarray, "7"]]
Orientation = float | Float[np.ndarray, "3 3"]
"""The yaw of a hand that points down, in radians, or the grip site's rotation."""


def pointing_down(yaw: float) -> Float[np.ndarray, "3 3"]:
    """The grip site's rotation for a grasp from above at `yaw` radians."""
    return Rotation.from_euler("z", yaw).as_matrix() @ _POINTING_DOWN


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
    tolerances."""
    rotation = _matrix(orientation)
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


def hold(scene: LiberoScene, orientation: Orientation, gripper: float, steps: int) -> Actions:
    """Stay here for `steps` while the fingers move."""
    position, rotation = scene.gripper_position, _matrix(orientation)
    for _ in range(steps):
        offset = (position - scene.gripper_position) / _FULL_TRANSLATION
        turn = Rotation.from_matrix(rotation @ scene.gripper_rotation.T).as_rotvec() / _FULL_ROTATION
        yield np.concatenate([np.clip(offset, -0.5, 0.5), np.clip(turn, -0.3, 0.3), [gripper]])


def pick(
    scene: LiberoScene, name: str, lift_height: float, attempts: int = 3, depth: float = 0.03
) -> Iterator[Float[np.ndarray, "7"]]:
    """Grasp object `name` from above and lift it, trying again when it stayed behind. Returns the grasp's
    yaw."""
    yaw = 0.0
    for _ in range(attempts):
        before = scene.object_position(name)[2]
        grasp = plan_grasp(scene, name, depth)
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
    scene: LiberoScene,
    name: str,
    destination: Float[np.ndarray, "2"],
    attempts: int = 3,
    aside: Float[np.ndarray, "2"] | None = None,
) -> Iterator[Float[np.ndarray, "7"]]:
    """Pinch the rim of a bowl or mug and lift it, at another place of the rim when it stayed behind. Returns the yaw.

    With `aside` the hand comes down and goes up that far beside the object, from under what hangs over it.
    """
    yaw, tried = 0.0, []
    detour = np.zeros(3) if aside is None else np.array([*aside, 0.0])
    for _ in range(attempts):
        before = scene.object_position(name)[2]
        grasp = plan_rim_grasp(scene, name, destination, tried, side=aside)
        yaw, position = grasp.yaw, grasp.position
        tried.append(position[:2])
        above = np.array([*position[:2], grasp.top])
        yield from move_to(
            scene,
            above + detour + np.array([0, 0, 0.10 if aside is None else 0.20]),
            yaw,
            OPEN,
            tolerance=0.02,
            angle_tolerance=0.1,
            max_steps=100,
        )
        if aside is not None:
            low = position + detour + np.array([0, 0, 0.06])
            yield from move_to(scene, low, yaw, OPEN, tolerance=0.02, angle_tolerance=0.1, max_steps=60)
        yield from move_to(
            scene, position + np.array([0, 0, 0.045]), yaw, OPEN, tolerance=0.01, angle_tolerance=0.05
        )
        yield from move_to(scene, position, yaw, OPEN, tolerance=0.005, max_steps=40, speed=0.7)
        yield from hold(scene, yaw, CLOSE, 12)
        if aside is not None:
            for share, height in ((0.3, 0.03), (1.0, 0.05)):
                out = position + share * detour + np.array([0, 0, height])
                yield from move_to(scene, out, yaw, CLOSE, tolerance=0.02, angle_tolerance=0.2, max_steps=30)
        yield from move_to(
            scene,
            above + detour + np.array([0, 0, 0.12 if aside is None else 0.25]),
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


def place_at(
    scene: LiberoScene,
    name: str,
    position: Float[np.ndarray, "3"],
    yaw: float,
    *,
    clearance: float = 0.10,
    drop: float = 0.01,
) -> Actions:
    """Carry the held object, its bottom `clearance` above where it goes, to stand with its origin over `position`, whose
    height is that of the surface; let go `drop` above it, and retreat."""

    def goal(bottom: float) -> Float[np.ndarray, "3"]:
        held = scene.object_position(name) - scene.gripper_position
        hanging = scene.gripper_position[2] - scene.surface_points(name)[:, 2].min()
        return np.array([*(position - held)[:2], bottom + hanging])

    height = position[2] + clearance
    rising = np.array([*scene.gripper_position[:2], goal(height)[2]])
    if rising[2] > scene.gripper_position[2] + 0.02:
        yield from move_to(scene, rising, yaw, CLOSE, tolerance=0.03, angle_tolerance=0.3, max_steps=40)
    yield from move_to(scene, goal(height), yaw, CLOSE, tolerance=0.02, angle_tolerance=0.2, max_steps=100)
    yield from move_to(scene, goal(position[2] + drop + 0.02), yaw, CLOSE, angle_tolerance=0.2, max_steps=30)
    yield from move_to(
        scene,
        goal(position[2] + drop),
        yaw,
        CLOSE,
        tolerance=0.006,
        angle_tolerance=0.2,
        max_steps=25,
        speed=0.4,
    )
    yield from hold(scene, yaw, OPEN, 8)
    retreat = scene.gripper_position + np.array([0.0, 0.0, 0.12])
    yield from move_to(scene, retreat, yaw, OPEN, tolerance=0.02, angle_tolerance=0.3, max_steps=30)


def open_drawer(scene: LiberoScene, region: str) -> Actions:
    """Hook the handle of a cabinet's drawer from the front, pull it open, and retreat.

    The hand comes horizontally, half closed, since handles are nearer to each other than the open hand is wide.
    """
    handle = scene.handle_position(region)
    level = Rotation.from_euler("x", -90, degrees=True).as_matrix() @ _POINTING_DOWN
    halfway = Rotation.from_euler("x", -45, degrees=True).as_matrix() @ _POINTING_DOWN
    before = handle + np.array([0.0, 0.14, 0.02])
    yield from move_to(
        scene,
        before + np.array([-0.05, 0, 0.08]),
        halfway,
        OPEN,
        tolerance=0.04,
        angle_tolerance=0.4,
        max_steps=60,
    )
    yield from move_to(scene, before, level, OPEN, tolerance=0.02, angle_tolerance=0.08, max_steps=120)
    yield from hold(scene, level, CLOSE, 4)
    yield from move_to(scene, handle + np.array([0, 0.05, 0]), level, STAY, max_steps=60)
    yield from move_to(
        scene, handle + np.array([0, -0.002, 0]), level, STAY, tolerance=0.006, max_steps=40, speed=0.5
    )
    yield from hold(scene, level, CLOSE, 8)
    for _ in range(60):
        if scene.drawer_opening(region) > 0.155:
            break
        pulled = np.array([handle[0], scene.gripper_position[1] + 0.04, handle[2]])
        yield from move_to(scene, pulled, level, CLOSE, max_steps=1, speed=0.7)
    yield from hold(scene, level, OPEN, 8)
    yield from move_to(scene, scene.gripper_position + np.array([0, 0.06, 0]), level, OPEN, max_steps=25)
    yield from move_to(
        scene,
        scene.gripper_position + np.array([-0.05, 0.02, 0.15]),
        level,
        OPEN,
        tolerance=0.03,
        max_steps=25,
    )


def turn_knob(scene: LiberoScene, stove: str, angle: float = 1.4) -> Actions:
    """Grip the fin of a stove's knob from above, turn it by `angle` radians, and let go."""
    axis, fin, top = scene.knob(stove)
    above = np.array([axis[0], fin[1], top])
    yield from move_to(scene, above + np.array([0, 0, 0.10]), 0.0, OPEN, tolerance=0.02, angle_tolerance=0.1)
    yield from move_to(scene, above + np.array([0, 0, 0.03]), 0.0, OPEN, tolerance=0.01)
    grip = above - np.array([0, 0, 0.018])
    yield from move_to(scene, grip, 0.0, OPEN, tolerance=0.006, max_steps=40, speed=0.7)
    yield from hold(scene, 0.0, CLOSE, 10)
    for step in range(40):
        yield from move_to(
            scene, grip, min(0.06 * (step + 1), angle), CLOSE, max_steps=1, tolerance=0, angle_tolerance=0
        )
    yield from hold(scene, angle, OPEN, 6)
    yield from move_to(
        scene, above + np.array([0, 0, 0.10]), angle, OPEN, tolerance=0.03, angle_tolerance=0.4, max_steps=20
    )


def drag_by_rim(
    scene: LiberoScene, name: str, destination: Float[np.ndarray, "2"], attempts: int = 3
) -> Actions:
    """Pinch a plate's rim and pull it over the table to `destination`, again when it slipped from the hand."""
    for _ in range(attempts):
        grasp = plan_rim_grasp(scene, name, destination, below_rim=0.004)
        yaw, xy = grasp.yaw, grasp.position[:2]
        height = max(grasp.position[2], _LOWEST_GRIP)
        yield from move_to(scene, np.array([*xy, height + 0.09]), yaw, OPEN, tolerance=0.02)
        yield from move_to(scene, np.array([*xy, height + 0.03]), yaw, OPEN)
        yield from move_to(
            scene, np.array([*xy, height]), yaw, OPEN, tolerance=0.004, max_steps=30, speed=0.5
        )
        yield from hold(scene, yaw, CLOSE, 10)
        held = scene.object_position(name) - scene.gripper_position
        goal = np.array([*(destination - held[:2]), scene.gripper_position[2] + 0.005])
        yield from move_to(scene, goal, yaw, CLOSE, max_steps=100, speed=0.6)
        yield from hold(scene, yaw, OPEN, 8)
        retreat = scene.gripper_position + np.array([0.0, 0.0, 0.10])
        yield from move_to(scene, retreat, yaw, OPEN, tolerance=0.02, angle_tolerance=0.3, max_steps=20)
        if np.linalg.norm(scene.object_position(name)[:2] - destination) < _ARRIVED:
            return


def _matrix(orientation: Orientation) -> Float[np.ndarray, "3 3"]:
    return orientation if isinstance(orientation, np.ndarray) else pointing_down(orientation)


def _limit(vector: Float[np.ndarray, "3"], length: float) -> Float[np.ndarray, "3"]:
    norm = float(np.linalg.norm(vector))
    return vector * (length / norm) if norm > length else vector
