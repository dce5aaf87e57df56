"""Which triangles of meshes a picture can show.

A rasterizer that is a processor pays for each triangle, and most of a scanned or CAD mesh's cover no sample of a small
picture: they face away, lie beside it, fall between the samples or behind others. A triangle is left out only where
that is certain: bounds are wider than what the rasterizer's own rounding (vertices to 1/256 of a pixel) can move.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, UInt32

from focusvla.simulation.triangle_kernels import find_corners, find_hidden, number_rows


@dataclass(frozen=True)
class Meshes:
    """The geometry of a model's meshes, each vertex once."""

    positions: Float32[np.ndarray, "3 positions"]
    """Distinct corners' places, coordinates apart."""
    faces: Int32[np.ndarray, "faces 3"]
    """Numbers of positions, counted from the mesh's first."""
    vertices: Float32[np.ndarray, "vertices 8"]
    """Texture coordinates, normal and place, as MuJoCo draws them."""
    corners: UInt32[np.ndarray, "faces 3"]
    """Numbers of vertices."""
    sections: Int64[np.ndarray, "meshes 4"]
    """Of each mesh, and last of a cube from -1 to 1: first position, number of positions, first face, number of faces.
    """


def read_meshes(model: Any) -> Meshes:
    """All meshes of `model` (`mujoco.MjModel`)."""
    positions, faces, vertices, corners = [], [], [], []
    sections = np.zeros((model.nmesh + 1, 4), np.int64)
    num_positions = num_vertices = num_faces = 0
    for mesh, corner_rows in enumerate(
        [*(_drawn_corners(model, m) for m in range(model.nmesh)), _cube_corners()]
    ):
        kept, numbers = _distinct_rows(corner_rows)
        vertices.append(corner_rows[kept])
        corners.append(numbers + num_vertices)
        places, place_numbers = _distinct_rows(np.ascontiguousarray(corner_rows[:, 5:]))
        positions.append(corner_rows[places, 5:])
        faces.append(place_numbers)
        sections[mesh] = num_positions, len(places), num_faces, len(corner_rows) // 3
        num_positions, num_vertices = num_positions + len(places), num_vertices + len(kept)
        num_faces += len(corner_rows) // 3
    return Meshes(
        np.ascontiguousarray(np.concatenate(positions).T),
        np.concatenate(faces).reshape(-1, 3).astype(np.int32),
        np.concatenate(vertices),
        np.concatenate(corners).reshape(-1, 3).astype(np.uint32),
        sections,
    )


def _cube_corners() -> Float32[np.ndarray, "corners 8"]:
    """Of triangles that are counterclockwise from outside."""
    rows = np.zeros((6, 6, 8), np.float32)
    for side in range(6):
        axis, sign = side // 2, 1 - 2 * (side % 2)
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])[[0, 1, 2, 0, 2, 3]]
        rows[side, :, 5 + axis] = sign
        rows[side, :, 5 + (axis + 1) % 3] = square[:, 0] * sign
        rows[side, :, 5 + (axis + 2) % 3] = square[:, 1]
    return rows.reshape(-1, 8)


def _drawn_corners(model: Any, mesh: int) -> Float32[np.ndarray, "corners 8"]:
    """The corners of a mesh's triangles. Without texture coordinates MuJoCo takes a triangle's own normal where a
    vertex's is turned away from it by more than acos 0.8."""
    section = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
    places = model.mesh_vert[model.mesh_vertadr[mesh] + model.mesh_face[section]]
    normals = model.mesh_normal[model.mesh_normaladr[mesh] + model.mesh_facenormal[section]]
    rows = np.zeros((len(places), 3, 8), np.float32)
    if model.mesh_texcoordadr[mesh] >= 0:
        texture = model.mesh_texcoordadr[mesh] + model.mesh_facetexcoord[section]
        rows[:, :, :2] = model.mesh_texcoord[texture]
    else:
        a, b, c = places[:, 0], places[:, 1], places[:, 2]
        (x, y, z), (u, v, w) = (b - a).T, (c - a).T
        flat = np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)
        length = np.sqrt(flat[:, 0] * flat[:, 0] + flat[:, 1] * flat[:, 1] + flat[:, 2] * flat[:, 2])
        proper = length >= np.float32(1e-10)
        flat = flat * (np.float32(1) / np.where(proper, length, np.float32(1)))[:, None]
        flat[~proper] = 0, 0, 1
        flat = np.broadcast_to(flat[:, None], normals.shape)
        along = (
            normals[..., 0] * flat[..., 0] + normals[..., 1] * flat[..., 1] + normals[..., 2] * flat[..., 2]
        )
        normals = np.where((along < 0.8)[..., None], flat, normals)
    rows[:, :, 2:5], rows[:, :, 5:] = normals, places
    return rows.reshape(-1, 8)


def _distinct_rows(
    rows: Float32[np.ndarray, "rows numbers"],
) -> tuple[Int64[np.ndarray, " distinct"], Int64[np.ndarray, " rows"]]:
    """Where each distinct row stands first, and for each row the number of its kind."""
    kept, numbers = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    slots = np.full(1 << int(2 * len(rows) + 1).bit_length(), -1, np.int64)
    return kept[: number_rows(rows.view(np.uint32), slots, kept, numbers)], numbers


class VisibleTriangles:
    """Finds them for one size of picture with four samples a pixel."""

    def __init__(self, meshes: Meshes, height: int, width: int, samples: Float32[np.ndarray, "4 2"]):
        """`samples` are their places within a pixel, each number in (0, 1), from the left and from below."""
        self._meshes = meshes
        self._size = np.array([width, height], np.float32)
        self._samples = samples
        self._inverse_depths = np.empty((4, height, width), np.float32)
        self._screen = np.empty((3, 0), np.float32)
        self._chosen = np.empty(0, np.int32)

    def find(
        self,
        drawn: Int64[np.ndarray, " geometries"],
        matrices: Float32[np.ndarray, "geometries 4 4"],
        hides: Bool[np.ndarray, " geometries"],
        cut: Bool[np.ndarray, " geometries"],
        depth_range: Float32[np.ndarray, "2"],
        window: Float32[np.ndarray, "4"] | None = None,
        mirrored: bool = False,
    ) -> tuple[
        UInt32[np.ndarray, "triangles 3"], Int64[np.ndarray, " geometries"], Int64[np.ndarray, " breaks"]
    ]:
        """The corners of what may be seen, in the order of the meshes' own, how many triangles each geometry has, and the
        numbers of those before which the rasterizer must begin anew.

        Geometry i is mesh `drawn[i]` where `matrices[i]` puts it: to x, y, z, w of which x / w and y / w are in -1..1
        within the picture, and w is the distance before the camera. Only what `hides` marks hides others;
        what `cut` marks may reach out of the picture or of `depth_range`, the meters before the camera that are drawn.
        With `window`, only what reaches into it (left, bottom, right, top, in pixels) is looked for; in a mirror, nothing
        is taken to hide anything.
        """
        sections = self._meshes.sections[drawn]
        num_positions, num_faces = int(sections[:, 1].sum()), int(sections[:, 3].sum())
        if self._screen.shape[1] < num_positions:
            self._screen = np.empty((3, num_positions), np.float32)
        if len(self._chosen) <= num_faces:
            self._chosen = np.empty(num_faces + 1, np.int32)
        counts = np.empty(len(drawn), np.int64)
        if window is None:
            window = np.array([0, 0, *self._size], np.float32)
        corners, breaks = find_corners(
            self._meshes.positions,
            self._meshes.faces,
            self._meshes.corners,
            sections,
            matrices,
            hides & (not mirrored),
            self._size / 2,
            window,
            mirrored,
            self._samples,
            self._inverse_depths,
            self._screen,
            self._chosen,
            counts,
            cut,
            depth_range,
        )
        return corners, counts, breaks

    def hidden(self, boxes: Float[np.ndarray, "boxes 8 3"]) -> Bool[np.ndarray, " boxes"]:
        """Which boxes, given by their corners' x, y and w as in `find`, lie behind what was last found there."""
        w = boxes[..., 2]
        near = np.logical_not((w > 0.02).all(axis=1))  # or not a number
        places = (boxes[..., :2] / np.where(near[:, None], 1, w)[..., None] + 1) / 2 * self._size
        low = np.clip(np.floor(np.nan_to_num(places.min(axis=1))) - 1, 0, self._size)
        high = np.clip(np.ceil(np.nan_to_num(places.max(axis=1))) + 1, 0, self._size)
        hidden = np.empty(len(boxes), np.bool_)
        nearest = (1 / np.where(near, 1, w.min(axis=1))).astype(np.float32)
        find_hidden(
            np.concatenate([low, high], axis=1).astype(np.int64), nearest, self._inverse_depths, hidden
        )
        return hidden & ~near
