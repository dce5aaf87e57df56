"""Skills with things that can be carried, each a generator of actions: what scripted experts are made of.

The numbers (speeds, heights, waits) were measured; see docs/log.md.
"""

from collections.abc import Generator

import numpy as np
from jaxtyping import Float

from focusvla.demonstrations.grasping import plan_grasp
from focusvla.demonstrations.motions import CLOSE, OPEN, Actions, Orientation, hold, move_to, pointing
from focusvla.demonstrations.rim_grasping import find_handle, plan_rim_grasp
from focusvla.simulation.libero_scene import LiberoScene

_ARRIVED = 0.03
"""Meters from its destination within which a dragged object has arrived."""
_IN_HAND = 0.03
"""Meters from the grip site within which something that is held has a surface."""
_LEAN, _FOOT_GAP = 0.34, 0.002
"""Radians by which a book leans in its compartment, and meters from its foot to the wall behind it."""
_DOWN = np.array([0.0, 0.0, -1.0])
_LOWEST_GRIP = 0.915
"""Height of the grip site at which the fingertips nearly touch the table."""


def is_in_hand(scene: LiberoScene, name: str) -> bool:
    """Whether an object is where the fingers are."""
    distances = np.linalg.norm(scene.surface_points(name) - scene.gripper_position, axis=1)
    return float(distances.min()) < _IN_HAND


def pick(
    scene: LiberoScene, name: str, lift: float = 0.2, attempts: int = 3, depth: float = 0.03
) -> Generator[Float[np.ndarray, "7"], None, float]:
    """Grasp object `name` from above and lift it by `lift` meters, trying again when it stayed behind; what is in the
    hand already stays there. Returns the grasp's yaw."""
    if scene.held_object == name:
        return _yaw_of(scene.gripper_rotation, 0.0)
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
            scene,
            grasp.position + np.array([0, 0, lift]),
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


def place_in_basket(scene: LiberoScene, name: str, basket: str, region: str, yaw: float) -> Actions:
    """Carry the held object over the basket, lower it to the rim, let go, and retreat."""
    if not is_in_hand(scene, name):
        return
    rim = scene.surface_points(basket)[:, 2].max()
    middle = scene.site_position(region)

    def site_goal(above_rim: float) -> Float[np.ndarray, "3"]:
        held = scene.object_position(name) - scene.gripper_position
        hanging = scene.gripper_position[2] - scene.surface_points(name)[:, 2].min()
        return np.array([*(middle - held)[:2], rim + above_rim + hanging])

    rising = np.array([*scene.gripper_position[:2], site_goal(0.04)[2]])
    if rising[2] > scene.gripper_position[2] + 0.02:
        yield from move_to(scene, rising, yaw, CLOSE, tolerance=0.03, angle_tolerance=0.3, max_steps=40)
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
    side: Float[np.ndarray, "2"] | None = None,
) -> Generator[Float[np.ndarray, "7"], None, float]:
    """Pinch the rim of a bowl or mug and lift it, at another place of the rim when it stayed behind. Returns the yaw.

    With `aside` the hand comes down and goes up that far beside the object, from under what hangs over it. With `side`
    it pinches the rim on that side. What is in the hand already stays there.
    """
    if scene.held_object == name:
        return _yaw_of(scene.gripper_rotation, 0.0)
    yaw, tried = 0.0, []
    detour = np.zeros(3) if aside is None else np.array([*aside, 0.0])
    for _ in range(attempts):
        before = scene.object_position(name)[2]
        grasp = plan_rim_grasp(scene, name, destination, tried, side=aside if side is None else side)
        yaw, position = grasp.yaw, grasp.position
        tried.append(position[:2])
        above = np.array([*position[:2], grasp.top])
        yield from move_to(
            scene,
            above + detour + np.array([0, 0, 0.10 if aside is None else 0.20]),
            yaw,
            OPEN,
            tolerance=0.02 if aside is None else 0.04,
            angle_tolerance=0.1 if aside is None else 0.4,
            max_steps=100,
        )
        if aside is not None:
            low = position + detour + np.array([0, 0, 0.06])
            yield from move_to(scene, low, yaw, OPEN, tolerance=0.02, angle_tolerance=0.1, max_steps=60)
        over = position + np.array([0, 0, 0.045 if aside is None else 0.036])
        yield from move_to(scene, over, yaw, OPEN, tolerance=0.01, angle_tolerance=0.05, max_steps=60)
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


def pick_by_handle(
    scene: LiberoScene, name: str, attempts: int = 3
) -> Generator[Float[np.ndarray, "7"], None, Float[np.ndarray, "3 3"]]:
    """Grip a mug's handle with a hand that comes slanting from the handle's side, and lift it a little, so that the mug
    can go under something. Returns the hand's rotation."""
    if scene.held_object == name:
        return scene.gripper_rotation
    rotation = np.eye(3)
    for _ in range(attempts):
        before = scene.object_position(name)[2]
        grip, outward = find_handle(scene, name)
        approach = _DOWN - outward
        rotation = pointing(approach, np.pi / 2 + float(np.arctan2(outward[0], -outward[1])))
        back = -approach / np.linalg.norm(approach)
        for distance, tolerance in ((0.12, 0.02), (0.04, 0.01)):
            yield from move_to(
                scene, grip + distance * back, rotation, OPEN, tolerance=tolerance, angle_tolerance=0.1
            )
        yield from move_to(scene, grip, rotation, OPEN, tolerance=0.006, max_steps=40, speed=0.7)
        yield from hold(scene, rotation, CLOSE, 12)
        lifted = scene.gripper_position + np.array([0, 0, 0.08])
        yield from move_to(
            scene, lifted, rotation, CLOSE, tolerance=0.02, angle_tolerance=0.2, max_steps=30, speed=0.7
        )
        if scene.object_position(name)[2] > before + 0.03:
            break
        yield from hold(scene, rotation, OPEN, 6)
    return rotation


def slide_in(
    scene: LiberoScene,
    name: str,
    region: str,
    inward: Float[np.ndarray, "3"],
    floor: float,
    rotation: Float[np.ndarray, "3 3"],
    depth: float,
) -> Actions:
    """Carry the held object before an opening, slide it in along `inward` until its origin is `depth` meters past the
    middle of the region, its bottom just above `floor`; set it down, let go, and retreat the way the hand came."""
    if not is_in_hand(scene, name):
        return
    middle = scene.site_position(region)

    def goal(along: float, above: float) -> Float[np.ndarray, "3"]:
        held = scene.object_position(name) - scene.gripper_position
        hanging = scene.gripper_position[2] - scene.surface_points(name)[:, 2].min()
        return np.array([*(middle + along * inward - held)[:2], floor + above + hanging])

    yield from move_to(scene, goal(-0.20, 0.015), rotation, CLOSE, tolerance=0.015, angle_tolerance=0.15)
    yield from move_to(scene, goal(-0.12, 0.012), rotation, CLOSE, max_steps=30, angle_tolerance=0.1)
    yield from move_to(
        scene, goal(depth, 0.012), rotation, CLOSE, max_steps=50, angle_tolerance=0.15, speed=0.6
    )
    yield from move_to(
        scene,
        goal(depth, 0.002),
        rotation,
        CLOSE,
        tolerance=0.006,
        angle_tolerance=0.2,
        max_steps=15,
        speed=0.4,
    )
    yield from hold(scene, rotation, OPEN, 8)
    for distance, height in ((0.06, 0.02), (0.06, 0.10)):
        retreat = scene.gripper_position - distance * inward + np.array([0.0, 0.0, height])
        yield from move_to(scene, retreat, rotation, OPEN, tolerance=0.02, angle_tolerance=0.3, max_steps=20)


def insert_upright(scene: LiberoScene, name: str, region: str, yaw: float) -> Actions:
    """Turn a held book until it lies along a compartment that is hardly longer than it, lower it in, leaning as it
    will come to rest, let go, and retreat.

    Its foot goes to the wall on the near side and its top leans to the far side. A book that stands upright is too low
    for the benchmark by less than a millimeter.
    """
    if not is_in_hand(scene, name):
        return
    middle, extent = scene.site_position(region), scene.site_extent(region)
    floor, narrow = middle[2] - extent[2], int(np.argmin(extent[:2]))

    def leaning(yaw: float, angle: float) -> Float[np.ndarray, "3 3"]:
        points = scene.surface_points(name)[:, :2]
        longest = np.linalg.eigh(np.cov(points.T))[1][:, 1]
        along = float(np.arctan2(longest[1], longest[0]))
        aligned = yaw + _half_turn((np.pi / 2 if narrow == 0 else 0.0) - along)
        return pointing(_DOWN - np.tan(angle) * np.eye(3)[narrow], aligned)

    def goal(bottom: float) -> Float[np.ndarray, "3"]:
        points = scene.surface_points(name)
        low = points[points[:, 2] < points[:, 2].min() + 0.04]
        off = middle - (points.min(axis=0) + points.max(axis=0)) / 2
        off[narrow] = middle[narrow] - extent[narrow] + _FOOT_GAP - low[:, narrow].min()
        off[2] = bottom - points[:, 2].min()
        return scene.gripper_position + off

    rising = np.array([*scene.gripper_position[:2], goal(floor + 0.17)[2]])
    yield from move_to(scene, rising, yaw, CLOSE, tolerance=0.03, angle_tolerance=0.3, max_steps=40)
    rotation = leaning(yaw, 0.0)
    yield from move_to(
        scene, goal(floor + 0.17), rotation, CLOSE, tolerance=0.04, angle_tolerance=0.1, max_steps=60
    )
    for above, speed in ((0.17, 1.0), (0.17, 1.0), (0.15, 0.5), (0.08, 0.6), (0.04, 0.6), (-0.015, 0.4)):
        rotation = leaning(_yaw_of(scene.gripper_rotation, yaw), _LEAN)
        yield from move_to(
            scene,
            goal(floor + above),
            rotation,
            CLOSE,
            tolerance=0.005,
            angle_tolerance=0.04,
            max_steps=25,
            speed=speed,
        )
    yield from hold(scene, rotation, OPEN, 8)
    retreat = scene.gripper_position + np.array([0.0, 0.0, 0.12])
    yield from move_to(scene, retreat, rotation, OPEN, tolerance=0.02, angle_tolerance=0.3, max_steps=30)


def _half_turn(angle: float) -> float:
    """The angle between -90 and 90 degrees that turns a line as `angle` does."""
    return float((angle + np.pi / 2) % np.pi - np.pi / 2)


def _yaw_of(rotation: Float[np.ndarray, "3 3"], near: float) -> float:
    """The yaw of a hand that points down, as the equivalent angle nearest to `near`."""
    opening = rotation[:, 0]
    yaw = float(np.arctan2(-opening[0], opening[1]))
    return near + _half_turn(yaw - near)


def place_at(
    scene: LiberoScene,
    name: str,
    position: Float[np.ndarray, "3"],
    orientation: Orientation,
    *,
    clearance: float = 0.10,
    drop: float = 0.01,
    final: Float[np.ndarray, "3 3"] | None = None,
) -> Actions:
    """Carry the held object, its bottom `clearance` above where it goes, to stand with its origin over `position`, whose
    height is that of the surface; let go `drop` above it, and retreat.

    With `final` the hand takes that rotation before it comes down.
    """
    if not is_in_hand(scene, name):
        return

    def goal(bottom: float) -> Float[np.ndarray, "3"]:
        held = scene.object_position(name) - scene.gripper_position
        hanging = scene.gripper_position[2] - scene.surface_points(name)[:, 2].min()
        return np.array([*(position - held)[:2], bottom + hanging])

    height = position[2] + clearance
    rising = np.array([*scene.gripper_position[:2], goal(height)[2]])
    if rising[2] > scene.gripper_position[2] + 0.02:
        yield from move_to(
            scene, rising, orientation, CLOSE, tolerance=0.03, angle_tolerance=0.3, max_steps=40
        )
    if final is not None:
        orientation = final
        yield from move_to(
            scene, goal(height), orientation, CLOSE, tolerance=0.05, angle_tolerance=0.1, max_steps=60
        )
    yield from move_to(
        scene, goal(height), orientation, CLOSE, tolerance=0.02, angle_tolerance=0.2, max_steps=100
    )
    yield from move_to(
        scene, goal(position[2] + drop + 0.02), orientation, CLOSE, angle_tolerance=0.2, max_steps=30
    )
    yield from move_to(
        scene,
        goal(position[2] + drop),
        orientation,
        CLOSE,
        tolerance=0.006,
        angle_tolerance=0.2,
        max_steps=25,
        speed=0.4,
    )
    yield from hold(scene, orientation, OPEN, 8)
    retreat = scene.gripper_position + np.array([0.0, 0.0, 0.12])
    yield from move_to(scene, retreat, orientation, OPEN, tolerance=0.02, angle_tolerance=0.3, max_steps=30)


def drag_by_rim(
    scene: LiberoScene, name: str, destination: Float[np.ndarray, "2"], attempts: int = 4
) -> Actions:
    """Pinch a plate's rim and pull it over the table until it is at `destination`; when it slipped from the hand, push
    it from behind."""
    for attempt in range(attempts):
        behind = scene.object_position(name)[:2] - destination if attempt > 0 else None
        grasp = plan_rim_grasp(scene, name, destination, below_rim=0.004, inward=(0.003,), side=behind)
        yaw, xy = grasp.yaw, grasp.position[:2]
        height = max(grasp.position[2], _LOWEST_GRIP)
        yield from move_to(scene, np.array([*xy, height + 0.09]), yaw, OPEN, tolerance=0.02)
        yield from move_to(scene, np.array([*xy, height + 0.03]), yaw, OPEN)
        yield from move_to(
            scene, np.array([*xy, height]), yaw, OPEN, tolerance=0.004, max_steps=30, speed=0.5
        )
        yield from hold(scene, yaw, CLOSE, 10)
        level = scene.gripper_position[2] + 0.003
        distances: list[float] = []
        for _ in range(80):
            off = destination - scene.object_position(name)[:2]
            distances.append(float(np.linalg.norm(off)))
            slipped = len(distances) > 12 and distances[-12] - distances[-1] < 0.004
            if distances[-1] < 0.01 or slipped:
                break
            goal = np.array([*(scene.gripper_position[:2] + off), level])
            yield from move_to(
                scene, goal, yaw, CLOSE, tolerance=0, angle_tolerance=0, max_steps=1, speed=0.5
            )
        yield from hold(scene, yaw, OPEN, 8)
        retreat = scene.gripper_position + np.array([0.0, 0.0, 0.10])
        yield from move_to(scene, retreat, yaw, OPEN, tolerance=0.02, angle_tolerance=0.3, max_steps=20)
        if np.linalg.norm(scene.object_position(name)[:2] - destination) < _ARRIVED:
            return
