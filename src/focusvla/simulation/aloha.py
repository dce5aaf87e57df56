"""ALOHA as an environment: two arms, gym-aloha's two tasks.

Physics, starts, success and pictures are those of gym-aloha's own `env.step`, to the last bit and pixel; but
where that draws three cameras of 640 x 480 pixels at every step, pictures are drawn in `observe` only.
The simulator comes from the package `gym-aloha` (extra `aloha`).
"""

import contextlib
import copy
import logging
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from focusvla.errors import ConfigurationError, MissingDependencyError, require_known
from focusvla.simulation.mesh_simplification import simplify_visual_meshes
from focusvla.simulation.rendering import (
    MUJOCO_GROUPS,
    Renderer,
    load_mujoco,
    select_rendering_back_end,
)
from focusvla.suites import Start, Task
from focusvla.suites.aloha import ALOHA_CAMERAS as CAMERAS
from focusvla.suites.aloha import ALOHA_SUITE, aloha_spec
from focusvla_client.policy import Observation

_COARSE_SHADOW_PIXELS = 1024
"""Side of the shadow map of simplified pictures; the simulator's own, 4096, takes longer than all the rest."""


_INSTRUCTIONS = {
    "transfer_cube": "pick up the red cube with the right arm and hand it over to the left arm",
    "insertion": "pick up the red peg and the blue socket and insert the peg into the socket",
}
"""By gym-aloha's own names of its tasks."""


@contextlib.contextmanager
def _without_logging() -> Generator[None]:
    """The simulator logs a warning when it diverges, which is noticed and dealt with here."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


class AlohaEnvironment:
    """One task, built once (a second) and reset for each episode (a millisecond)."""

    @staticmethod
    def tasks(suite: str) -> list[Task]:
        """The tasks of `aloha`, which has no variants; their starts are all drawn from a seed.

        Raises:
            ConfigurationError: another suite.
        """
        require_known("suite", suite, [ALOHA_SUITE])
        return [
            Task(suite, index, name, instruction, num_init_states=0)
            for index, (name, instruction) in enumerate(_INSTRUCTIONS.items())
        ]

    def __init__(self, task: Task, image_size: int = 256, mesh_cell_meters: float = 0.0):
        """Build `task`, its images being squares of `image_size` pixels.

        With `mesh_cell_meters` pictures show simplified meshes and coarser shadows: five times as fast, and for
        demonstrations only.

        Raises:
            MissingDependencyError: the simulator is not installed.
            RenderingError: nothing can draw here.
        """
        self.task = task
        self.spec = aloha_spec(image_size)
        select_rendering_back_end()
        try:
            import gym_aloha.env as simulator
            from dm_control.rl.control import PhysicsError
            from gym_aloha.tasks import sim
        except ImportError as error:
            raise MissingDependencyError("gym-aloha", "aloha", "The ALOHA simulator") from error
        self._mujoco = load_mujoco()
        self._simulator = simulator
        self._box_pose: list[Any] = sim.BOX_POSE
        self._diverges = PhysicsError
        # gym-aloha has no public way to dm_control's environment.
        control = simulator.AlohaEnv(task.name)._env  # pyright: ignore[reportPrivateUsage]
        self._physics, self._control_task = control.physics, control.task
        self._num_substeps = control._n_sub_steps  # pyright: ignore[reportPrivateUsage]
        self.model: Any = self._physics.model.ptr
        """`mujoco.MjModel` of the running simulation."""
        self.data: Any = self._physics.data.ptr
        """`mujoco.MjData` of the running simulation."""
        self._drawn_model = self.model
        if mesh_cell_meters > 0:
            self._drawn_model = copy.copy(self.model)
            simplify_visual_meshes(self._drawn_model, mesh_cell_meters, group=0)
            self._drawn_model.vis.quality.shadowsize = _COARSE_SHADOW_PIXELS
        self._view = self._mujoco.MjData(self._drawn_model)
        self._renderer: Renderer | None = None
        self._diverged = False

    def reset(self, start: Start) -> None:
        """Begin an episode where gym-aloha's `env.reset(seed=start.seed)` does: at once, with the objects 3 cm above the
        table, whatever `settle_steps` is.

        Raises:
            ConfigurationError: the start asks for more than a seed.
        """
        for field, value, neutral in (
            ("init_state", start.init_state, None),
            ("displacement_meters", start.displacement_meters, 0.0),
            ("arm_displacement_meters", start.arm_displacement_meters, 0.0),
        ):
            if value != neutral:
                raise ConfigurationError(
                    f"{field}={value}: expected {neutral} with suite {ALOHA_SUITE!r}, whose starts are drawn from "
                    "their seed."
                )
        seed = start.seed % 2**32
        if self.task.name == "insertion":
            self._box_pose[0] = np.concatenate(self._simulator.sample_insertion_pose(seed))
        else:
            self._box_pose[0] = self._simulator.sample_box_pose(seed)
        with self._physics.reset_context():
            self._control_task.initialize_episode(self._physics)
        self._diverged = False
        self._note_state()

    def observe(self, cameras: Sequence[str]) -> Observation:
        """What gym-aloha would have returned with the last step, images of `cameras` only.

        Raises:
            ConfigurationError: an unknown camera.
            RenderingError: the cameras cannot be drawn.
        """
        for camera in cameras:
            require_known("camera", camera, CAMERAS)
        return Observation(self._images(self._qpos, cameras), self._state, self.task.instruction)

    def snapshot(self) -> Float[np.ndarray, " joints"]:
        """All joint positions that the present observation shows; `replay_images` draws them later."""
        return self._qpos.copy()

    def replay_images(self, snapshot: Float[np.ndarray, " joints"]) -> dict[str, np.ndarray]:
        """The images that `observe` would have given at `snapshot`."""
        return self._images(snapshot, CAMERAS)

    def replay_regions(self, snapshot: Float[np.ndarray, " joints"]) -> None:
        """Not told here."""

    def apply(self, action: np.ndarray) -> None:
        """Carry out one action of 14 numbers, laid out as the spec says, for 20 ms.

        Commands that jump can make the simulation diverge, which gym-aloha answers with an error. Here the episode is
        lost then: nothing moves any more, and there is no success.

        Raises:
            ConfigurationError: the action has another width or is not finite.
        """
        action = np.asarray(action)
        if action.shape != (14,) or not np.isfinite(action).all():
            raise ConfigurationError(f"action: expected 14 finite numbers, got {action}.")
        if self._diverged:
            return
        try:
            with _without_logging():
                self._control_task.before_step(action, self._physics)
                self._physics.step(self._num_substeps)
                self._control_task.after_step(self._physics)
        except self._diverges:
            self._diverged = True
            return
        self._note_state()

    def success(self) -> bool:
        """Whether gym-aloha gives its highest reward at this moment: the cube touches the left gripper and not the
        table, or the peg touches the pin inside the socket."""
        return not self._diverged and (
            self._control_task.get_reward(self._physics) == self._control_task.max_reward
        )

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()

    def _note_state(self) -> None:
        self._qpos = self.data.qpos.copy()
        self._state = self._control_task.get_qpos(self._physics).astype(np.float32)

    def _images(self, qpos: Float[np.ndarray, " joints"], cameras: Sequence[str]) -> dict[str, np.ndarray]:
        if not cameras:
            return {}
        if self._renderer is None or self._renderer.closed:
            size = self.spec.cameras[0]
            self._renderer = Renderer(self._drawn_model, size.height, size.width, groups=MUJOCO_GROUPS)
        self._view.qpos[:] = qpos
        self._mujoco.mj_kinematics(self._drawn_model, self._view)
        self._mujoco.mj_comPos(self._drawn_model, self._view)
        self._mujoco.mj_camlight(self._drawn_model, self._view)
        return {
            camera: np.ascontiguousarray(self._renderer.draw(self._view, camera)[::-1]) for camera in cameras
        }
