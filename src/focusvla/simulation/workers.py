"""Processes that simulate: one thread each, and gone when the process that wanted them is."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from focusvla.errors import WorkerError

_SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def simulation_workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` processes, or of one per core if 0.

    They are spawned, since a forked copy of an open rendering context does not draw. A worker ends itself within a
    second when the process that made the pool is killed; it would otherwise wait for work forever.

    Raises:
        WorkerError: in place of the pool's own error when a worker died.
    """
    try:
        with ProcessPoolExecutor(
            count or os.cpu_count() or 1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
            initargs=(os.getpid(),),
        ) as pool:
            yield pool
    except BrokenProcessPool as error:
        raise WorkerError(
            "a simulating process was killed, perhaps for lack of memory (each takes up to 3 GB). What was finished is "
            "kept: run the same command again, with fewer --workers if it recurs."
        ) from error


def _begin_worker(parent: int) -> None:
    os.environ.update(OMP_NUM_THREADS="1", LP_NUM_THREADS="1")
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
