"""What LeRobot's command line sets of the environment, and the environments that come of it."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.envs.utils import _LazyAsyncVectorEnv, freeze_after_episode_end
from lerobot.processor import LiberoProcessorStep, PolicyProcessorPipeline
from lerobot.utils.constants import ACTION, OBS_STATE

from focusvla.data.formats.lerobot_layout import camera_key
from focusvla.errors import ConfigurationError
from focusvla.simulation.environment import suite_tasks
from focusvla.suites import Protocol, protocol_of
from focusvla.suites.libero import LIBERO_CAMERAS, libero_spec
from lerobot_env_focusvla.environment import LiberoEpisodes, require_libero


@EnvConfig.register_subclass("focusvla")
@dataclass
class FocusVLAEnvConfig(EnvConfig):
    """Episodes of LIBERO's suites and their variants by one of focusvla's protocols."""

    task: str = "libero_object"
    """One suite or several, with commas between: `libero_spatial`, `libero_goal_with_mug`, ..."""
    protocol: str = ""
    """How episodes begin, what happens in them, and how long they may take: `libero_wide`, `libero_disturbed`, ...; empty
    for the published one, `libero_openvla`."""
    task_ids: list[int] | None = None
    """Of each suite; None for all."""
    fps: int = 20
    """LIBERO's own rate; another is refused."""
    observation_height: int = 256
    observation_width: int = 256
    """Of the pictures, in pixels; they are squares."""
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    """Set from the other values."""
    features_map: dict[str, str] = field(
        default_factory=lambda: {
            ACTION: ACTION,
            "agent_pos": OBS_STATE,
            **{f"pixels/{name}": camera_key(name) for name in LIBERO_CAMERAS},
        }
    )

    def __post_init__(self):
        spec = libero_spec(self.observation_height)
        picture = PolicyFeature(FeatureType.VISUAL, (self.observation_height, self.observation_width, 3))
        self.features = {
            ACTION: PolicyFeature(FeatureType.ACTION, (len(spec.action),)),
            "agent_pos": PolicyFeature(FeatureType.STATE, (len(spec.state),)),
            **{f"pixels/{name}": picture for name in LIBERO_CAMERAS},
        }

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """None: environments are made by `create_envs`."""
        return {}

    def rules(self) -> Protocol:
        """The protocol.

        Raises:
            ConfigurationError: it is unknown or does not cover the suites, or these are none of LIBERO's.
        """
        suites = self.suites()
        for suite in suites:
            require_libero(suite)
        return protocol_of(suites, self.protocol)

    def suites(self) -> list[str]:
        """Those that `task` names."""
        return [name.strip() for name in self.task.split(",") if name.strip()]

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, Any]]:
        """A vector of `n_envs` environments for each task of each suite, as LeRobot asks for them. Number i of a vector
        plays the trials i, i + n_envs, ... of its task.

        Raises:
            ConfigurationError: an unknown suite, protocol or task, or values that this environment does not have.
            MissingDependencyError: the simulator is not installed.
        """
        self._require_known_values(n_envs, use_async_envs)
        rules = self.rules()
        found: dict[str, dict[int, Any]] = {}
        for suite in self.suites():
            number = len(suite_tasks(suite))
            wanted = range(number) if self.task_ids is None else self.task_ids
            unknown = [task for task in wanted if not 0 <= task < number]
            if unknown or not wanted:
                raise ConfigurationError(
                    f"env.task_ids: expected some of 0..{number - 1} in {suite}, got {wanted}."
                )
            found[suite] = {task: self.vector(rules, suite, task, n_envs) for task in wanted}
        return found

    def vector(self, rules: Protocol, suite: str, task: int, n_envs: int) -> Any:
        """`n_envs` environments of one task, each in a process of its own if there are several."""
        makers = [
            partial(LiberoEpisodes, rules, suite, task, self.observation_height, first, n_envs)
            for first in range(n_envs)
        ]
        if n_envs > 1:
            return _LazyAsyncVectorEnv(makers)
        return gymnasium.vector.SyncVectorEnv(
            [freeze_after_episode_end(maker) for maker in makers],
            autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP,
        )

    def get_env_processors(self) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
        """LeRobot's own for LIBERO, which turn pictures and join the state."""
        return PolicyProcessorPipeline(steps=[LiberoProcessorStep()]), PolicyProcessorPipeline(steps=[])

    def _require_known_values(self, n_envs: int, use_async_envs: bool) -> None:
        if self.observation_height != self.observation_width:
            raise ConfigurationError(
                f"env.observation_width: expected the height, {self.observation_height}, since pictures are squares, got "
                f"{self.observation_width}."
            )
        if self.fps != 20:
            raise ConfigurationError(
                f"env.fps: expected 20, LIBERO's control rate, got {self.fps}. Leave it out."
            )
        if self.max_parallel_tasks != 1:
            raise ConfigurationError(
                f"env.max_parallel_tasks: expected 1, since a process holds one scene, got {self.max_parallel_tasks}. "
                "Use --eval.batch_size for several processes."
            )
        if n_envs > 1 and not use_async_envs:
            raise ConfigurationError(
                f"eval.batch_size: expected 1 without --eval.use_async_envs=true, since a process holds one scene, got "
                f"{n_envs}."
            )
