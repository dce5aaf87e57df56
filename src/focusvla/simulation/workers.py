"""Processes that simulate: one thread each, and gone when the process that wanted them is."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from focusvla.errors import WorkerError

_SECONDS_BETWEEN_LOOKS = 1.0

Job = tuple[Any, ...]
"""A function and its arguments."""


def simulate(next_job: Callable[[], Job | None], workers: int) -> Iterator[Any]:
    """Results of jobs done by `workers` processes, or by one per core if 0, as they end.

    `next_job` is asked whenever a process is free, so what comes next may depend on the results so far; the end is
    when it has nothing and nothing runs. Processes are spawned, since a forked copy of an open rendering context does
    not draw. A worker ends itself within a second when this process is killed; it would otherwise wait for work
    forever.

    Raises:
        WorkerError: in place of the pool's own error when a worker died.
    """
    count = workers or os.cpu_count() or 1
    running: set[Future[Any]] = set()
    try:
        with ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=begin_worker,
            initargs=(os.getpid(),),
        ) as pool:
            while True:
                while len(running) < count and (job := next_job()):
                    running.add(pool.submit(*job))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(
                    done, key=lambda future: future.exception() is not None
                ):  # lose no result
                    yield future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a simulating process was killed, perhaps for lack of memory (each takes up to 3 GB). What was finished is "
            "kept: run the same command again, with fewer --workers if it recurs."
        ) from error


def begin_worker(parent: int) -> None:
    """Make this process simulate with one thread and end itself soon after process `parent` ends."""
    os.environ.update(OMP_NUM_THREADS="1", LP_NUM_THREADS="1")
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
