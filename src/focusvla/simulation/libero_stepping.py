"""LIBERO's physics without its waste.

The benchmark's `env.step` computes each of the 25 substeps three times (`forward`, `forward`, `step`) and
refreshes every observable after each. MuJoCo's `forward` changes no state, so splitting `step` around the
controller (`mj_step1`, torques, `mj_step2`) gives the same numbers to the last bit, provided the controller's
arithmetic is the same to the last bit: same functions, same order, same memory layouts (numba compiles one
kernel a layout).
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from focusvla.simulation.rendering import load_mujoco
from focusvla.simulation.stepping_kernels import set_controls, spring, sum_torques, take_arm


class ExactStepper:
    """Advances one LIBERO environment by one control period, bit-equal to the benchmark's own `env.step`."""

    def __init__(self, environment: Any):
        """Bind to a robosuite `environment`; anew after each of its resets, since they replace the
        controller."""
        mujoco = load_mujoco()
        from robosuite.utils import control_utils

        self._mujoco = mujoco
        self._math = control_utils
        self.model = environment.sim.model._model
        self.data = environment.sim.data._data
        robot = environment.robots[0]
        self._controller = robot.controller
        self._gripper = robot.gripper
        self._torque_limits = robot.torque_limits
        self._site = self.model.site(self._controller.eef_name).id
        self._qpos_index = self._controller.qpos_index
        self._qvel_index = self._controller.qvel_index
        self._arm_actuators = np.array(robot._ref_joint_actuator_indexes)
        fingers = np.array(robot._ref_joint_gripper_actuator_indexes)
        limits = self.model.actuator_ctrlrange[fingers]
        bias, weight = 0.5 * (limits[:, 1] + limits[:, 0]), 0.5 * (limits[:, 1] - limits[:, 0])
        self._fingers = fingers, bias, weight
        self._num_substeps = int(environment.control_timestep / environment.model_timestep)
        self._jacobian_position = np.zeros((3, self.model.nv))
        self._jacobian_rotation = np.zeros((3, self.model.nv))
        self._mass = np.zeros((self.model.nv, self.model.nv))
        # Made as the benchmark makes them, once, for their layouts: the arithmetic on them depends on these.
        self._arm_position = np.array(self._jacobian_position[:, self._qvel_index])
        self._arm_rotation = np.array(self._jacobian_rotation[:, self._qvel_index])
        self._arm_jacobian = np.array(np.vstack([self._arm_position, self._arm_rotation]))
        self._arm_mass = self._mass[self._qvel_index, :][:, self._qvel_index]
        self._joints = np.array([self._qpos_index, self._qvel_index])
        # MuJoCo 3.10 reads the compact matrix from the data; with 3.4 to 3.9 the benchmark itself cannot run.
        is_before_3_4 = tuple(map(int, mujoco.__version__.split(".")[:2])) < (3, 4)
        self._mass_arguments = (self._mass, self.data.qM) if is_before_3_4 else (self.data, self._mass)
        # The benchmark builds a new gripper at each (hard) reset; reusing the environment must not carry this over.
        self._gripper.current_action = np.zeros(len(fingers))

    def step(
        self, action: Float[np.ndarray, " action"]
    ) -> tuple[Float[np.ndarray, " joints"], Float[np.ndarray, " joints"]]:
        """Apply an action of 7 numbers in [-1, 1] for 25 substeps.

        Returns the joint positions before and after the last substep but one, where the benchmark samples its
        observations: bodies and cameras as they were before it, finger joints as they are after it.
        """
        mujoco, model, data, controller = self._mujoco, self.model, self.data, self._controller
        grip = np.array([-1.0, 1.0]) * self._gripper.speed * np.sign(action[6:])
        ctrl, opening = data.ctrl, self._gripper.current_action
        (low, high), (fingers, bias, weight) = self._torque_limits, self._fingers
        before = after = data.qpos
        for substep in range(self._num_substeps):
            if substep == self._num_substeps - 2:
                before = data.qpos.copy()
            mujoco.mj_step1(model, data)
            # Right after a reset the benchmark's controller still holds the state that the reset left, not the
            # init state set since, and acts on it for one substep. `new_update` is how it knows, and so do we.
            if controller.new_update:
                self._load_controller_state()
                controller.new_update = False
            if substep == 0:
                controller.set_goal(action[:6])
            set_controls(
                self._torques(), low, high, self._arm_actuators, grip, opening, fingers, bias, weight, ctrl
            )
            controller.new_update = True
            mujoco.mj_step2(model, data)
            if substep == self._num_substeps - 2:
                after = data.qpos.copy()
        return before, after

    def _load_controller_state(self) -> None:
        """What the controller's `update` reads from the simulation, without its `forward`."""
        data, controller = self.data, self._controller
        self._mujoco.mj_jacSite(
            self.model, data, self._jacobian_position, self._jacobian_rotation, self._site
        )
        self._mujoco.mj_fullM(self.model, *self._mass_arguments)
        controller.ee_pos = data.site_xpos[self._site].copy()
        controller.ee_ori_mat = data.site_xmat[self._site].reshape(3, 3).copy()
        controller.ee_pos_vel = np.dot(self._jacobian_position, data.qvel)
        controller.ee_ori_vel = np.dot(self._jacobian_rotation, data.qvel)
        controller.joint_pos, controller.joint_vel = take_arm(
            self._jacobian_position,
            self._jacobian_rotation,
            self._mass,
            data.qpos,
            data.qvel,
            self._joints,
            self._arm_position,
            self._arm_rotation,
            self._arm_jacobian,
            self._arm_mass,
        )
        controller.J_pos, controller.J_ori = self._arm_position, self._arm_rotation
        controller.J_full, controller.mass_matrix = self._arm_jacobian, self._arm_mass

    def _torques(self) -> Float[np.ndarray, " arm_joints"]:
        """robosuite's operational-space control law (`OperationalSpaceController.run_controller`), term by
        term."""
        controller, math = self._controller, self._math
        force, torque = spring(
            controller.goal_pos,
            controller.ee_pos,
            math.orientation_error(controller.goal_ori, controller.ee_ori_mat),
            controller.ee_pos_vel,
            controller.ee_ori_vel,
            controller.kp,
            controller.kd,
        )
        _, inertia_position, inertia_rotation, nullspace = math.opspace_matrices(
            controller.mass_matrix, controller.J_full, controller.J_pos, controller.J_ori
        )
        wrench = np.concatenate([np.dot(inertia_position, force), np.dot(inertia_rotation, torque)])
        nullspace_torques = math.nullspace_torques(
            controller.mass_matrix,
            nullspace,
            controller.initial_joint,
            controller.joint_pos,
            controller.joint_vel,
        )
        return sum_torques(
            np.dot(controller.J_full.T, wrench), self.data.qfrc_bias, self._joints, nullspace_torques
        )
