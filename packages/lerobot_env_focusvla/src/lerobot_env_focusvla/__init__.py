"""focusvla's LIBERO as an environment of LeRobot: `lerobot-eval --env.type=focusvla --env.protocol=libero_wide`.

LeRobot imports this package when it is installed.
"""

from lerobot_env_focusvla.configuration import FocusVLAEnvConfig
from lerobot_env_focusvla.environment import LiberoEpisodes

__all__ = ["FocusVLAEnvConfig", "LiberoEpisodes"]
