"""The scripted expert of each suite."""

from pkgutil import resolve_name

from focusvla.errors import ConfigurationError
from focusvla.simulation.environment import SimulatedEnvironment
from focusvla.suites import suite_of, suites
from focusvla_client import Policy


def require_scripted(suite: str) -> None:
    """
    Raises:
        ConfigurationError: nobody has written an expert for that suite.
    """
    if not suite_of(suite).expert:
        known = ", ".join(name for name, row in suites().items() if row.expert)
        raise ConfigurationError(f"suite={suite!r} has no scripted expert; suites that have one: {known}.")


def scripted_expert(environment: SimulatedEnvironment) -> Policy:
    """A policy that knows where everything is in `environment` and solves its task.

    Raises:
        ConfigurationError: nobody has written one for its suite.
    """
    require_scripted(environment.task.suite)
    return resolve_name(suite_of(environment.task.suite).expert)(environment)
