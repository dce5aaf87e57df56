"""Where to grasp: a parallel-jaw grasp from above, planned on the visible surface of an object."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from focusvla.simulation.libero_scene import LiberoScene

FINGERTIP_BELOW_SITE = 0.012
"""Meters from the grip site down to the fingertips."""
MAX_OPENING = 0.076
"""Meters between the open finger pads, less a margin."""
_HAND_ABOVE_SITE = 0.028
_HAND_HALF_SIZE = (0.112, 0.040)
_FINGER_SWEEP = (0.030, 0.072, 0.018)


@dataclass(frozen=True)
class Grasp:
    """A grasp from above."""

    position: Float[np.ndarray, "3"]
    """Of the grip site, world frame."""
    yaw: float
    """Radians about the vertical; at 0 the fingers open along the world's y axis."""
    top: float
    """Height of the object's top."""
    clear: bool
    """Whether fingers and hand miss every other object."""


def plan_grasp(scene: LiberoScene, name: str, depth: float = 0.03) -> Grasp:
    """The grasp of object `name` with the narrowest opening, near yaw 0 and clear of its neighbors.

    The object is sliced `depth` below its top (but no lower than the fingertips can reach). For each yaw the
    slice's extent between the fingers is its width; along the other axis the grasp may shift when neighbors
    are in the way.
    """
    points = scene.surface_points(name, 20000)
    top = float(np.percentile(points[:, 2], 99.8))
    height = max(float(points[:, 2].min()) + FINGERTIP_BELOW_SITE, top - depth)
    layer = points[np.abs(points[:, 2] - height) < 0.012][:, :2]
    if len(layer) < 10:
        layer = points[:, :2]
    neighbors = np.concatenate(
        [scene.surface_points(other, 2000) for other in scene.object_names if other != name]
        + [np.zeros((0, 3))]
    )
    best: tuple[float, Grasp] | None = None
    for yaw in np.deg2rad(np.arange(-90, 90, 5)):
        closing = np.array([-np.sin(yaw), np.cos(yaw)])
        along = np.array([np.cos(yaw), np.sin(yaw)])
        across, length = layer @ closing, layer @ along
        for shift in (0.0, 0.25 * np.ptp(length), -0.25 * np.ptp(length)):
            center = (length.max() + length.min()) / 2 + shift
            between = across[np.abs(length - center) < 0.014]
            between = between if len(between) >= 4 else across
            xy = closing * (between.max() + between.min()) / 2 + along * center
            clear = _is_clear(neighbors, xy, height, closing, along)
            width = max(np.ptp(between), 0.7 * np.ptp(across))
            cost = width + 0.012 * abs(yaw) + 0.5 * abs(shift) + 0.2 * (not clear)
            cost += 5.0 * (np.ptp(between) > MAX_OPENING)
            if best is None or cost < best[0]:
                best = cost, Grasp(np.array([*xy, height]), float(yaw), top, clear)
    assert best is not None
    return best[1]


def _is_clear(
    neighbors: Float[np.ndarray, "points 3"],
    xy: Float[np.ndarray, "2"],
    height: float,
    closing: Float[np.ndarray, "2"],
    along: Float[np.ndarray, "2"],
) -> bool:
    relative = neighbors[:, :2] - xy
    across, sideways, heights = np.abs(relative @ closing), np.abs(relative @ along), neighbors[:, 2]
    inner, outer, half = _FINGER_SWEEP
    in_sweep = (across > inner) & (across < outer) & (sideways < half) & (heights > height - 0.015)
    under_hand = (
        (across < _HAND_HALF_SIZE[0])
        & (sideways < _HAND_HALF_SIZE[1])
        & (heights > height + _HAND_ABOVE_SITE)
    )
    return not (in_sweep.any() or under_hand.any())
