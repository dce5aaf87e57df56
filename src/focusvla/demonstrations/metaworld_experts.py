"""MetaWorld's own scripted policies, one for each task."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from focusvla.simulation.metaworld import MetaWorldEnvironment
from focusvla_client.policy import Observation


class MetaWorldExpert:
    """The simulator's policy of the environment's task, which reads where everything is. Its commands are kept within
    -1 to 1, so that what is recorded is what was carried out."""

    cameras: tuple[str, ...] = ()

    def __init__(self, environment: MetaWorldEnvironment):
        from metaworld.policies import ENV_POLICY_MAP

        self._environment = environment
        self._policy: Any = ENV_POLICY_MAP[environment.task.name]()

    def reset(self) -> None:
        """Nothing is remembered."""

    def infer(self, observation: Observation) -> Float32[np.ndarray, "one action"]:
        """One action; none once the task is accomplished."""
        if self._environment.success():
            return np.zeros((0, 4), np.float32)
        action = self._policy.get_action(self._environment.observed.copy())  # some write into it
        return np.clip(action, -1.0, 1.0).astype(np.float32)[None]
