"""What every simulator offers to demonstrations and evaluation, and how its environments are found and built."""

import gc
from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float

from focusvla.errors import ConfigurationError
from focusvla.suites import Task, playable_suite
from focusvla_client import Environment


class SimulatedEnvironment(Environment, Protocol):
    """An environment that can also be drawn later: `snapshot` now, `replay_images` at any time.

    Its class is called with a task, the side of its square images in pixels, and the detail in meters to which meshes may
    be simplified in demonstrations, 0 for none.
    """

    @staticmethod
    def tasks(suite: str) -> Sequence[Task]:
        """The tasks of a suite or a variant, in their order.

        Raises:
            ConfigurationError: the suite is unknown (nearest names are given) or has no runnable task.
            MissingDependencyError: the simulator is not installed.
            RenderingError: nothing can draw here.
        """
        ...

    @property
    def task(self) -> Task:
        """What is to be done in it."""
        ...

    def snapshot(self) -> Float[np.ndarray, " joints"]:
        """All joint positions that the present observation shows."""
        ...

    def replay_images(self, snapshot: Float[np.ndarray, " joints"]) -> dict[str, np.ndarray]:
        """The images of every camera that `observe` would have given at `snapshot`."""
        ...

    def replay_regions(
        self, snapshot: Float[np.ndarray, " joints"]
    ) -> dict[str, Bool[np.ndarray, "regions height width"]] | None:
        """Where the task's object, its target and the gripper are in those images, in the order of
        `focusvla.suites.REGIONS`; None where the simulator cannot tell."""
        ...

    def close(self) -> None:
        """Free the renderer."""
        ...


class Disturbable(Protocol):
    """An environment in which something can be made to go wrong, for protocols with `disturbed_steps`."""

    def disturb(self, rng: np.random.Generator) -> str:
        """Do it, and return what was done in a word; nothing where nothing could be done."""
        ...


def _environment_class(suite: str) -> Any:
    return resolve_name(playable_suite(suite).environment)


def suite_tasks(suite: str) -> list[Task]:
    """The tasks of `suite`, such as `libero_object`, `libero_object_with_mug` or `aloha`.

    Raises:
        ConfigurationError: the suite is unknown (nearest names are given) or has no runnable task.
        MissingDependencyError: its simulator is not installed.
        RenderingError: nothing can draw here.
    """
    return list(_environment_class(suite).tasks(suite))


def suite_task(suite: str, index: int) -> Task:
    """One task by its number in the suite.

    Raises:
        ConfigurationError: there is no such task.
    """
    tasks = suite_tasks(suite)
    if not 0 <= index < len(tasks):
        raise ConfigurationError(f"task={index}: expected 0..{len(tasks) - 1} for suite {suite!r}.")
    return tasks[index]


_only: dict[tuple[str, int, int, float], SimulatedEnvironment] = {}


def only_environment(
    suite: str, task: int, image_size: int, mesh_cell_meters: float = 0.0
) -> SimulatedEnvironment:
    """This process's one environment, kept from call to call; asked for another task, it frees the one before.

    For worker processes: an environment takes seconds to build and up to a gigabyte of memory.
    """
    return environments_of(suite, task, [(image_size, mesh_cell_meters)])[0]


def environments_of(suite: str, task: int, looks: Sequence[tuple[int, float]]) -> list[SimulatedEnvironment]:
    """`only_environment`, for who must draw a task in several ways: one for each image size and detail of meshes, the
    same where they are the same."""
    keys = [(suite, task, *look) for look in looks]
    unneeded = [key for key in _only if key not in keys]
    for key in unneeded:
        _only.pop(key).close()
    if unneeded:
        gc.collect()  # robosuite's objects refer to each other in circles
    for key in keys:
        if key not in _only:
            _only[key] = _environment_class(suite)(suite_task(suite, task), *key[2:])
    return [_only[key] for key in keys]
