"""The scripted expert of each simulator."""

from focusvla.demonstrations.aloha_experts import AlohaExpert
from focusvla.demonstrations.experts import ScriptedExpert
from focusvla.errors import ConfigurationError
from focusvla.simulation.aloha import AlohaEnvironment
from focusvla.simulation.environment import SimulatedEnvironment
from focusvla.simulation.libero import LiberoEnvironment
from focusvla_client import Policy


def scripted_expert(environment: SimulatedEnvironment) -> Policy:
    """A policy that knows where everything is in `environment` and solves its task.

    Raises:
        ConfigurationError: nobody has written one for its suite.
    """
    if isinstance(environment, AlohaEnvironment):
        return AlohaExpert(environment)
    if isinstance(environment, LiberoEnvironment):
        return ScriptedExpert(environment)
    raise ConfigurationError(f"suite={environment.task.suite!r} has no scripted expert.")
