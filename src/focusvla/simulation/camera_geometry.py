"""Where a scene's camera sees what."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32


def camera(scene: Any, aspect: float) -> tuple[Float32[np.ndarray, "3"], Float[np.ndarray, "4 4"]]:
    """Where a scene's camera is, and what takes a place to its picture: x / w and y / w in -1..1, w the distance."""
    left, right = scene.camera[0], scene.camera[1]
    head = ((left.pos + right.pos) / 2).astype(np.float32)
    forward, up = (getattr(left, name) + getattr(right, name) for name in ("forward", "up"))
    behind = -forward / np.linalg.norm(forward)
    across = np.cross(up, behind)
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(behind, across), behind]).astype(np.float64)
    near, center = left.frustum_near, (left.frustum_center + right.frustum_center) / 2
    height = left.frustum_top - left.frustum_bottom
    half_width = left.frustum_width or height * aspect / 2
    projection = np.array(
        [
            [near / half_width, 0, center / half_width, 0],
            [0, 2 * near / height, (left.frustum_top + left.frustum_bottom) / height, 0],
            [0, 0, 0, 0],
            [0, 0, -1, 0],
        ]
    )
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = axes, -axes @ head
    return head, projection @ view


def reflection(
    position: Float32[np.ndarray, "3"], axis: Float32[np.ndarray, "3"]
) -> Float32[np.ndarray, "4 4"]:
    """Mirror places in the plane through `position` across `axis`."""
    outer = axis[:, None] * axis
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] -= 2 * outer
    x, y, z = position
    matrix[:3, 3] = 2 * (outer[:, 0] * x + outer[:, 1] * y + outer[:, 2] * z)
    return matrix


def boxes_in_view(
    boxes: Float[np.ndarray, "geoms 8 4"],
    matrices: Float[np.ndarray, "geoms 4 4"],
    window: Float[np.ndarray, "4"],
) -> Bool[np.ndarray, " geoms"]:
    """Which bounding boxes reach into the window (left, bottom, right, top in -1..1; 2 % margin); those that are not a
    number do. A box does not if all its corners lie beyond one side, or behind the camera."""
    places = boxes @ matrices.transpose(0, 2, 1)
    x, y, w = places[..., 0], places[..., 1], places[..., 3]
    left, bottom, right, top = window + np.array([-0.02, -0.02, 0.02, 0.02])
    beyond = [x < left * w, y < bottom * w, x > right * w, y > top * w, w < 0]
    return ~np.any([side.all(axis=1) for side in beyond], axis=0)
