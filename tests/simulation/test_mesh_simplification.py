"""Merging vertices keeps the shape and drops what collapses."""

import numpy as np

from focusvla.simulation.mesh_simplification import distinct_faces, merge_vertices


def test_vertices_of_a_cell_are_represented_by_the_one_nearest_to_their_mean():
    vertices = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [1.4, 0, 0]])
    np.testing.assert_array_equal(merge_vertices(vertices, 1.0), [1, 1, 1, 3])


def test_cells_smaller_than_the_mesh_change_nothing():
    vertices = np.random.default_rng(0).uniform(size=(50, 3))
    np.testing.assert_array_equal(merge_vertices(vertices, 1e-6), np.arange(50))


def test_collapsed_and_repeated_faces_are_dropped():
    faces = np.array([[0, 1, 2], [0, 0, 1], [2, 0, 1], [1, 2, 3]])
    np.testing.assert_array_equal(distinct_faces(faces), [0, 3])
