"""MetaWorld as an environment: one Sawyer arm, fifty tasks.

Physics, starts, success and pictures are those of MetaWorld's own `env.step` as LeRobot plays it, to the last bit and
pixel, but pictures are drawn in `observe` only. The simulator comes from the package `metaworld` (extra `metaworld`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from focusvla.errors import ConfigurationError, MissingDependencyError, require_known
from focusvla.simulation.rendering import (
    MUJOCO_GROUPS,
    Renderer,
    load_mujoco,
    select_rendering_back_end,
)
from focusvla.suites import Start, Task
from focusvla.suites.metaworld import CAMERA, INSTRUCTIONS, metaworld_spec
from focusvla_client.policy import Observation

_CAMERA_OF_SIMULATOR = "corner2"
_CAMERA_PLACE = (0.75, 0.075, 0.7)
"""Nearer than the simulator's own, as LeRobot and the published policies' data have it."""


class MetaWorldEnvironment:
    """One task, built once and reset for each episode."""

    @staticmethod
    def tasks(suite: str) -> list[Task]:
        """The tasks of a level; their starts are all drawn from a seed.

        Raises:
            ConfigurationError: another suite.
        """
        require_known("suite", suite, INSTRUCTIONS)
        return [
            Task(suite, index, name, words, num_init_states=0)
            for index, (name, words) in enumerate(INSTRUCTIONS[suite].items())
        ]

    def __init__(self, task: Task, image_size: int = 480, mesh_cell_meters: float = 0.0):
        """Build `task`, its images being squares of `image_size` pixels. Meshes are few and are not simplified.

        Raises:
            MissingDependencyError: the simulator is not installed.
            RenderingError: nothing can draw here.
        """
        self.task, self.spec = task, metaworld_spec(image_size)
        select_rendering_back_end()
        try:
            from metaworld.env_dict import ALL_V3_ENVIRONMENTS
        except ImportError as error:
            raise MissingDependencyError("metaworld", "metaworld", "The MetaWorld simulator") from error
        self._mujoco = load_mujoco()
        self.simulator: Any = ALL_V3_ENVIRONMENTS[task.name]()
        """MetaWorld's own environment."""
        # What its `set_task` does from a pickled task, but for a start that is drawn at each reset.
        self.simulator._set_task_called = True
        self.simulator._partially_observable = False
        vars(self.simulator).pop("sawyer_observation_space", None)  # in which the goal was clipped to 0
        self.simulator._freeze_rand_vec = False
        self.simulator.seeded_rand_vec = True
        model = self.simulator.model
        model.cam_pos[model.camera(_CAMERA_OF_SIMULATOR).id] = _CAMERA_PLACE
        self._view = self._mujoco.MjData(model)
        self._renderer: Renderer | None = None
        self.observed = np.zeros(39)
        """What the simulator observes, its objects and goal included, which only experts read."""
        self._success = False

    def reset(self, start: Start) -> None:
        """Begin an episode where LeRobot's `env.reset(seed=start.seed)` does.

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
                    f"{field}={value}: expected {neutral} with suite {self.task.suite!r}, whose starts are drawn from "
                    "their seed."
                )
        self.simulator.seed(start.seed)
        self.observed, _ = self.simulator.reset(seed=start.seed)
        self._success = False

    def observe(self, cameras: Sequence[str]) -> Observation:
        """The hand's place and opening, and pictures of `cameras` only.

        Raises:
            ConfigurationError: an unknown camera.
            RenderingError: the camera cannot be drawn.
        """
        for camera in cameras:
            require_known("camera", camera, [CAMERA])
        images = self.replay_images(self.snapshot()) if cameras else {}
        return Observation(images, self.observed[:4].astype(np.float32), self.task.instruction)

    def snapshot(self) -> Float[np.ndarray, " joints"]:
        """All joint positions, and where the hand is led to, which the present observation shows."""
        data = self.simulator.data
        return np.concatenate([data.qpos, data.mocap_pos.ravel(), data.mocap_quat.ravel()])

    def replay_images(self, snapshot: Float[np.ndarray, " joints"]) -> dict[str, np.ndarray]:
        """The images that `observe` would have given at `snapshot`, of an episode that began as this one."""
        model, view = self.simulator.model, self._view
        if self._renderer is None or self._renderer.closed:
            size = self.spec.cameras[0]
            self._renderer = Renderer(model, size.height, size.width, groups=MUJOCO_GROUPS)
        view.qpos[:] = snapshot[: model.nq]
        view.mocap_pos[:] = snapshot[model.nq :][: view.mocap_pos.size].reshape(view.mocap_pos.shape)
        view.mocap_quat[:] = snapshot[model.nq + view.mocap_pos.size :].reshape(view.mocap_quat.shape)
        self._mujoco.mj_kinematics(model, view)
        self._mujoco.mj_comPos(model, view)
        self._mujoco.mj_camlight(model, view)
        for name, place in self.simulator._target_site_config:
            view.site(name).xpos = place[:3]
        return {CAMERA: np.ascontiguousarray(self._renderer.draw(view, _CAMERA_OF_SIMULATOR)[:, ::-1])}

    def replay_regions(self, snapshot: Float[np.ndarray, " joints"]) -> None:
        """Not told here."""

    def apply(self, action: np.ndarray) -> None:
        """Carry out one action of 4 numbers for 12.5 ms.

        Raises:
            ConfigurationError: it has another width or is not finite, or it is one more than the simulator's horizon.
        """
        action = np.asarray(action)
        if action.shape != (4,) or not np.isfinite(action).all():
            raise ConfigurationError(f"action: expected 4 finite numbers, got {action}.")
        if self.simulator.curr_path_length >= self.simulator.max_path_length:
            raise ConfigurationError(
                f"max_steps: expected at most {self.simulator.max_path_length}, MetaWorld's own horizon."
            )
        self.observed, _, _, _, told = self.simulator.step(action)
        self._success = bool(told["success"])

    def success(self) -> bool:
        """Whether the simulator says so of the last step."""
        return self._success

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
