"""The arithmetic of robosuite's controller on small arrays, which numpy takes longer to call than to compute.

Only copies, sums and products of single numbers are compiled here, which round alike everywhere; matrix products stay
with the library that the benchmark has them from. Types are not checked: a checker's wrapper cannot be
compiled.
"""

# pyright: basic, reportUntypedFunctionDecorator=false
from typing import no_type_check

import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def take_arm(
    jacobian_position, jacobian_rotation, mass, qpos, qvel, joints, position, rotation, both, arm_mass
):
    """Write the arm's part of the Jacobians and of the mass matrix; returns its joints' positions and velocities."""
    count = joints.shape[1]
    for i in range(count):
        column = joints[1, i]
        for row in range(3):
            position[row, i] = both[row, i] = jacobian_position[row, column]
            rotation[row, i] = both[3 + row, i] = jacobian_rotation[row, column]
        for j in range(count):
            arm_mass[i, j] = mass[column, joints[1, j]]
    return qpos[joints[0]], qvel[joints[1]]


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def spring(goal, position, rotation_error, velocity, rotation_velocity, kp, kd):
    """The force and the torque that pull the hand to its goal."""
    force, torque = np.empty(3), np.empty(3)
    for i in range(3):
        force[i] = (goal[i] - position[i]) * kp[i] + -velocity[i] * kd[i]
        torque[i] = rotation_error[i] * kp[3 + i] + -rotation_velocity[i] * kd[3 + i]
    return force, torque


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def sum_torques(torques, bias, joints, nullspace_torques):
    """Add what holds the arm against gravity and what keeps its elbow, to `torques`."""
    for i in range(len(torques)):
        torques[i] = torques[i] + bias[joints[1, i]] + nullspace_torques[i]
    return torques


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def set_controls(torques, low, high, actuators, grip, opening, fingers, bias, weight, controls):
    """Write the arm's torques and the fingers' places, each within its limits, to `controls`."""
    for i in range(len(torques)):
        controls[actuators[i]] = min(max(torques[i], low[i]), high[i])
    for i in range(len(fingers)):
        opening[i] = min(max(opening[i] + grip[i], -1.0), 1.0)
        controls[fingers[i]] = bias[i] + weight[i] * opening[i]


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def take_neighbors(picture, shifts, distance):
    """Overwrite each pixel, from the last to the first, with one that is up to `distance` away; `shifts` has columns and
    rows, of the last pixel first. Rows and columns beyond the shuffled square stay, and those before."""
    side = len(shifts)
    for i in range(side):
        for j in range(side):
            row, column = distance + side - i, distance + side - j
            for color in range(3):
                picture[row, column, color] = picture[row + shifts[i, j, 1], column + shifts[i, j, 0], color]
