"""Processes that simulate: one thread each, and gone when the process that wanted them is."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor

_SECONDS_BETWEEN_LOOKS = 1.0


def simulation_workers(count: int) -> ProcessPoolExecutor:
    """A pool of `count` processes, or of one per core if 0.

    They are spawned, since a forked copy of an open rendering context does not draw. A worker ends itself within a
    second when the process that made the pool is killed; it would otherwise wait for work forever.
    """
    return ProcessPoolExecutor(
        count or os.cpu_count() or 1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(os.getpid(),),
    )


def _begin_worker(parent: int) -> None:
    os.environ.update(OMP_NUM_THREADS="1", LP_NUM_THREADS="1")
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
