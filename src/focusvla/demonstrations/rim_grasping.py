"""Where to pinch the rim of a bowl or a mug from above, and where a mug has its handle."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from focusvla.demonstrations.grasping import Grasp
from focusvla.simulation.libero_scene import LiberoScene

INWARD = (0.003, 0.014, 0.025, 0.034)
"""Meters from the rim's outer edge towards the middle, from snug to where a wall is in the way."""
_HANDLE_THICKNESS = 0.010
"""Meters, of mugs' handles as seen from the side."""
_LEFT = 0.02
"""What the robot's left side of a rim is worth: of two equally good sides always the same is taken. Were it now this
one and now that one, a policy that learned both would go for the middle between them, where there is no rim."""
_REACH = 0.74
"""Meters from the robot's base at which joint 4 meets its limit."""


def plan_rim_grasp(
    scene: LiberoScene,
    name: str,
    destination: Float[np.ndarray, "2"],
    tried: Sequence[Float[np.ndarray, "2"]] = (),
    below_rim: float = 0.018,
    side: Float[np.ndarray, "2"] | None = None,
    inward: Sequence[float] = INWARD,
) -> Grasp:
    """The best place on the rim of `name`: near yaw 0, clear of neighbors, within reach here and at `destination`.

    The rim is the ring of points highest along the object's own axis that is nearest to the vertical, so that a bowl
    which leans in a drawer is gripped at its true rim. Places in `tried` are avoided. The grip site goes `below_rim`
    meters under it, one of `inward` meters in from its outer edge. With `side` the rim is gripped on that side of the
    object.
    """
    origin, rotation = scene.object_position(name), scene.object_rotation(name)
    points = (scene.surface_points(name, 20000) - origin) @ rotation
    axis = int(np.argmax(np.abs(rotation[2])))
    sign = np.sign(rotation[2, axis])
    flat = [index for index in range(3) if index != axis]
    heights = points[:, axis] * sign
    ring = points[heights > heights.max() - 0.006][:, flat]
    middle = (ring.min(axis=0) + ring.max(axis=0)) / 2
    leans = np.arccos(np.clip(abs(rotation[2, axis]), -1, 1)) > 0.1
    obstacles = scene.obstacle_points(name)
    top = float(scene.surface_points(name)[:, 2].max())

    def in_world(place: Float[np.ndarray, "2"]) -> Float[np.ndarray, "3"]:
        local = np.zeros(3)
        local[flat], local[axis] = place, heights.max() * sign
        return rotation @ local + origin

    best: tuple[float, Grasp] | None = None
    for angle in np.deg2rad(np.arange(0, 360, 10)):
        outward = np.array([np.cos(angle), np.sin(angle)])
        relative = ring - middle
        sector = (np.abs(relative @ [-outward[1], outward[0]]) < 0.012) & (relative @ outward > 0)
        if not sector.any():
            continue
        rim = in_world(middle + (relative[sector] @ outward).max() * outward)
        across = (rim - in_world(middle))[:2]
        across /= np.linalg.norm(across)
        yaw = float(np.arctan2(across[1], across[0]) % np.pi - np.pi / 2)
        for depth in inward:
            position = np.array([*(rim[:2] - depth * across), rim[2] - below_rim])
            cost = 0.012 * abs(yaw) + 0.6 * (depth - INWARD[0]) - (5.0 * rim[2] if leans else 0.0)
            carried = position[:2] - origin[:2] + destination
            reach = max(np.linalg.norm(place - scene.robot_base[:2]) for place in (position[:2], carried))
            cost += 2.0 * max(0.0, float(reach) - _REACH)
            cost -= _LEFT * float(across[1])
            if side is not None:
                cost -= 0.1 * float(across @ side) / float(np.linalg.norm(side))
            cost += sum(0.3 * np.exp(-np.linalg.norm(position[:2] - place) / 0.02) for place in tried)
            hits = _hits(obstacles, position, across)
            cost += 0.2 * sum(hits)
            if best is None or cost < best[0]:
                best = float(cost), Grasp(position, yaw, top, not any(hits))
    assert best is not None
    return best[1]


def find_handle(scene: LiberoScene, name: str) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Where to grip the handle of a mug that stands, and the horizontal direction in which the handle stands out."""
    points = scene.surface_points(name, 20000)
    top, bottom = points[:, 2].max(), points[:, 2].min()
    ring = points[points[:, 2] > top - 0.006][:, :2]
    middle = (ring.min(axis=0) + ring.max(axis=0)) / 2
    distances = np.linalg.norm(points[:, :2] - middle, axis=1)
    handle = points[distances > distances.max() - 0.012]
    outward = handle[:, :2].mean(axis=0) - middle
    outward = np.array([*(outward / np.linalg.norm(outward)), 0.0])
    height = (handle[:, 2].min() + handle[:, 2].max()) / 2
    reach = distances.max() - _HANDLE_THICKNESS / 2
    return np.array([*middle, np.clip(height, bottom, top)]) + reach * outward, outward


def _hits(
    obstacles: Float[np.ndarray, "points 3"], position: Float[np.ndarray, "3"], across: Float[np.ndarray, "2"]
) -> tuple[bool, bool, bool]:
    """Whether fingers, hand and arm meet an obstacle on their way down to `position`."""
    relative = obstacles - position
    sideways = np.abs(relative[:, :2] @ [-across[1], across[0]])
    along, height = np.abs(relative[:, :2] @ across), relative[:, 2]
    fingers = (along < 0.072) & (sideways < 0.016) & (height > -0.014)
    hand = (along < 0.112) & (sideways < 0.040) & (height > 0.028) & (height < 0.118)
    arm = (np.hypot(along, sideways) < 0.065) & (height >= 0.118)
    return bool(fingers.any()), bool(hand.any()), bool(arm.any())
