"""The scripted expert of each simulator."""

from focusvla.demonstrations.aloha_experts import AlohaExpert
from focusvla.demonstrations.experts import SCRIPTED_SUITES, ScriptedExpert
from focusvla.errors import ConfigurationError
from focusvla.simulation.aloha import ALOHA_SUITE, AlohaEnvironment
from focusvla.simulation.environment import SimulatedEnvironment
from focusvla.simulation.libero import LiberoEnvironment
from focusvla_client import Policy


def require_scripted(suite: str) -> None:
    """
    Raises:
        ConfigurationError: nobody has written an expert for that suite.
    """
    if suite != ALOHA_SUITE and not suite.startswith(SCRIPTED_SUITES):
        known = ", ".join((*SCRIPTED_SUITES, ALOHA_SUITE))
        raise ConfigurationError(f"suite={suite!r} has no scripted expert; suites that have one: {known}.")


def scripted_expert(environment: SimulatedEnvironment) -> Policy:
    """A policy that knows where everything is in `environment` and solves its task.

    Raises:
        ConfigurationError: nobody has written one for its suite.
    """
    require_scripted(environment.task.suite)
    if isinstance(environment, AlohaEnvironment):
        return AlohaExpert(environment)
    assert isinstance(environment, LiberoEnvironment)
    return ScriptedExpert(environment)
