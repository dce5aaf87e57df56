"""All suites of all simulators, by name."""

import gc

from focusvla.simulation.aloha import ALOHA_SUITE, AlohaEnvironment, aloha_spec, aloha_task, aloha_tasks
from focusvla.simulation.environment import SimulatedEnvironment, Task
from focusvla.simulation.libero import LiberoEnvironment, libero_spec, libero_task, libero_tasks
from focusvla_client import Spec


def suite_tasks(suite: str) -> list[Task]:
    """The tasks of `suite`: `aloha`, or a suite of LIBERO such as `libero_object`.

    Raises:
        ConfigurationError: the suite is unknown (nearest names are given) or has no runnable task.
        MissingDependencyError: its simulator is not installed.
        RenderingError: nothing can draw here.
    """
    return aloha_tasks() if suite == ALOHA_SUITE else list(libero_tasks(suite))


def suite_task(suite: str, index: int) -> Task:
    """One task by its number in the suite.

    Raises:
        ConfigurationError: there is no such task.
    """
    return aloha_task(index) if suite == ALOHA_SUITE else libero_task(suite, index)


def suite_spec(suite: str, image_size: int) -> Spec:
    """The conventions of a suite's observations and actions, with square images of `image_size` pixels."""
    return aloha_spec(image_size) if suite == ALOHA_SUITE else libero_spec(image_size)


def suite_robot(suite: str) -> str:
    """What a data set calls the robot."""
    return "aloha" if suite == ALOHA_SUITE else "panda"


_only: dict[tuple[str, int, int, float], SimulatedEnvironment] = {}


def only_environment(
    suite: str, task: int, image_size: int, mesh_cell_meters: float = 0.0
) -> SimulatedEnvironment:
    """This process's one environment, kept from call to call; asked for another task, it frees the one before.

    For worker processes: an environment takes seconds to build and up to a gigabyte of memory.
    """
    key = suite, task, image_size, mesh_cell_meters
    if key not in _only:
        for environment in _only.values():
            environment.close()
        _only.clear()
        gc.collect()  # robosuite's objects refer to each other in circles
        if suite == ALOHA_SUITE:
            _only[key] = AlohaEnvironment(aloha_task(task), image_size, mesh_cell_meters)
        else:
            _only[key] = LiberoEnvironment(libero_task(suite, task), image_size, mesh_cell_meters)
    return _only[key]
