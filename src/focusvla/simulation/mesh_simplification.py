"""Coarser meshes for faster pictures.

With software rendering the triangle count is the cost (LIBERO scenes hold 300,000). Merging the vertices that
share a cell of a few millimeters leaves a picture that differs by about 1/255 a pixel. Demonstrations may be
drawn so, and say it in their metadata; evaluation never is.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from focusvla.simulation.rendering import load_mujoco


def simplify_visual_meshes(
    model: Any, cell_meters: float, min_faces: int = 800, group: int = 1
) -> tuple[int, int]:
    """Merge vertices of the meshes that `model` (`mujoco.MjModel`) draws in `group`, in place; give it a copy.

    Returns the numbers of faces before and after.
    """
    mujoco = load_mujoco()
    before = after = 0
    meshes = {
        int(model.geom_dataid[geom])
        for geom in range(model.ngeom)
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH and model.geom_group[geom] == group
    }
    for mesh in sorted(meshes):
        first_face, num_faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        before += num_faces
        if num_faces >= min_faces:
            first_vertex, num_vertices = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
            vertices = model.mesh_vert[first_vertex : first_vertex + num_vertices]
            section = slice(first_face, first_face + num_faces)
            representative = merge_vertices(vertices, cell_meters)
            merged = representative[model.mesh_face[section]]
            kept = distinct_faces(merged)
            section_kept = slice(first_face, first_face + len(kept))
            normals = model.mesh_facenormal[section][kept]
            texture = model.mesh_facetexcoord[section][kept]
            model.mesh_face[section_kept] = merged[kept]
            model.mesh_facenormal[section_kept] = normals
            model.mesh_facetexcoord[section_kept] = texture
            model.mesh_facenum[mesh] = len(kept)
        after += model.mesh_facenum[mesh]
    return int(before), int(after)


def merge_vertices(vertices: Float[np.ndarray, "vertices 3"], cell: float) -> Int[np.ndarray, " vertices"]:
    """For each vertex the one that stands for its cell: the vertex nearest to the mean of the cell's.

    Four vertices on a line at 0.0, 0.1, 0.2 and 1.4, with a cell of 1: the first three share a cell, whose
    mean 0.1 is vertex 1, so the result is [1, 1, 1, 3].
    """
    _, cells = np.unique(np.floor(vertices / cell).astype(np.int64), axis=0, return_inverse=True)
    cells = cells.ravel()
    counts = np.bincount(cells)
    means = np.stack([np.bincount(cells, vertices[:, axis]) / counts for axis in range(3)], axis=1)
    distance = np.square(vertices - means[cells]).sum(axis=1)
    order = np.lexsort((distance, cells))
    first_of_cell = order[np.r_[True, np.diff(cells[order]) > 0]]
    return first_of_cell[cells]


def distinct_faces(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, " kept"]:
    """The faces with three different corners, the first of each set of corners only."""
    a, b, c = faces.T
    proper = np.flatnonzero((a != b) & (b != c) & (a != c))
    _, first = np.unique(np.sort(faces[proper], axis=1), axis=0, return_index=True)
    return proper[np.sort(first)]
