"""focusvla's LIBERO behind Gymnasium's interface, its observations those of LeRobot's LIBERO environment."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from lerobot.envs.utils import NEW_ROLLOUT_OPTION

from focusvla.errors import ConfigurationError
from focusvla.evaluation.disturbances import Disturbed
from focusvla.evaluation.presentation import environment_of
from focusvla.simulation.environment import suite_task
from focusvla.suites import Protocol, suite_of
from focusvla.suites.libero import LIBERO_CAMERAS, libero_spec


def require_libero(suite: str) -> None:
    """Raise unless `suite` is one of LIBERO's or a variant.

    Raises:
        ConfigurationError: it is not; an unknown one's nearest names are given.
    """
    conventions = suite_of(suite).conventions.name
    if conventions != "libero":
        raise ConfigurationError(
            f"env.task={suite!r}: expected a suite of LIBERO's, got one of {conventions}. Evaluate it with "
            "`focusvla evaluate`."
        )


class LiberoEpisodes(gymnasium.Env):
    """Trials of one task by a protocol, one after the other.

    Observations are LeRobot's of LIBERO: `pixels` as the simulator draws them, upside down, and `robot_state`, without
    velocities, which LeRobot's policies do not read. A step takes 7 numbers in [-1, 1]; `info` says `is_success`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - Gymnasium's own type
    render_mode = "rgb_array"

    def __init__(self, rules: Protocol, suite: str, task: int, size: int, first: int = 0, stride: int = 1):
        """Play the trials `first`, `first + stride`, ... of task `task`, in pictures of `size` x `size` pixels.

        The scene is built with the first reset, since vectors of environments are made before their processes.
        """
        self._rules, self._suite, self.task_id, self._size = rules, suite, task, size
        self._next, self._stride = first, stride
        self._max_episode_steps = rules.max_steps_of(suite)  # LeRobot's name

        def numbers(*shape: int) -> spaces.Box:
            return spaces.Box(-np.inf, np.inf, shape, np.float64)

        picture = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.observation_space = spaces.Dict(
            {
                "pixels": spaces.Dict(dict.fromkeys(LIBERO_CAMERAS, picture)),
                "robot_state": spaces.Dict(
                    {
                        "eef": spaces.Dict({"pos": numbers(3), "quat": numbers(4), "mat": numbers(3, 3)}),
                        "gripper": spaces.Dict({"qpos": numbers(2)}),
                        "joints": spaces.Dict({"pos": numbers(7)}),
                    }
                ),
            }
        )
        self.action_space = spaces.Box(-1.0, 1.0, (7,), np.float32)

    @property
    def task(self) -> str:
        """The task's name."""
        return suite_task(self._suite, self.task_id).name

    @property
    def task_description(self) -> str:
        """The instruction."""
        return suite_task(self._suite, self.task_id).instruction

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the next trial. Where it begins is the protocol's, so `seed` decides nothing.

        Raises:
            ConfigurationError: a trial that the protocol does not have.
            RenderingError: nothing can be drawn.
        """
        super().reset(seed=seed)
        if not (options or {}).get(NEW_ROLLOUT_OPTION):
            raise ConfigurationError(
                f"reset: expected LeRobot's option {NEW_ROLLOUT_OPTION!r}, without which a trial would be skipped, got "
                f"{options}."
            )
        trial, rules = self._next, self._rules
        if trial >= rules.trials_per_task:
            raise ConfigurationError(
                f"eval.n_episodes: expected at most {rules.trials_per_task}, the trials that {rules.name} has for a "
                "task, got more."
            )
        self._next += self._stride
        self._playing: Any = environment_of(rules, self._suite, self.task_id, libero_spec(self._size))
        if rules.disturbed_steps is not None:
            self._playing = Disturbed(self._playing, rules, (self.task_id, trial))
        self._playing.reset(rules.start(self._suite, trial))
        self._steps = 0
        return self._observation(), {"is_success": False, "trial": trial}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Carry out one action.

        Raises:
            ConfigurationError: it has another width or is not finite.
        """
        self._playing.apply(action)
        self._steps += 1
        success = self._playing.success()
        is_over = not success and self._steps >= self._max_episode_steps
        return self._observation(), float(success), success, is_over, {"is_success": success}

    def render(self) -> np.ndarray:
        """The scene as seen last, upright."""
        return self._shown

    def _observation(self) -> dict[str, Any]:
        seen, arm = self._playing.observe(LIBERO_CAMERAS), self._playing.arm()
        self._shown = seen.images[LIBERO_CAMERAS[0]]
        return {
            "pixels": {name: np.ascontiguousarray(image[::-1, ::-1]) for name, image in seen.images.items()},
            "robot_state": {
                "eef": {"pos": arm.position, "quat": arm.quaternion, "mat": arm.rotation},
                "gripper": {"qpos": arm.fingers},
                "joints": {"pos": arm.joints},
            },
        }
