"""All suites of all simulators, by name."""

import gc

from focusvla.simulation.environment import SimulatedEnvironment, Task
from focusvla.simulation.libero import LiberoEnvironment, libero_spec, libero_task, libero_tasks
from focusvla_client import Spec


def suite_tasks(suite: str) -> list[Task]:
    """The tasks of `suite`, such as `libero_object`.

    Raises:
        ConfigurationError: the suite is unknown (nearest names are given) or has no runnable task.
        MissingDependencyError: its simulator is not installed.
        RenderingError: nothing can draw here.
    """
    return list(libero_tasks(suite))


def suite_task(suite: str, index: int) -> Task:
    """One task by its number in the suite.

    Raises:
        ConfigurationError: there is no such task.
    """
    return libero_task(suite, index)


def suite_spec(suite: str, image_size: int) -> Spec:
    """The conventions of a suite's observations and actions, with square images of `image_size` pixels."""
    return libero_spec(image_size)


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
        _only[key] = LiberoEnvironment(libero_task(suite, task), image_size, mesh_cell_meters)
    return _only[key]
