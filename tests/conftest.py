"""A small data set that fits the `tiny` preset, and one thread for models that small."""

import os
from collections.abc import Callable

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported; two threads wait for each other far longer

import pytest

from focusvla.data.memory import MemorySource, random_source
from focusvla.simulation.libero import libero_spec


@pytest.fixture(scope="session")
def arm_source() -> Callable[..., MemorySource]:
    """Random episodes under LIBERO's conventions, with two 32-pixel cameras."""

    def make(lengths: tuple[int, ...] = (9, 7, 8)) -> MemorySource:
        return random_source(libero_spec(32), lengths)

    return make
