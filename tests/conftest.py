"""A small data set that fits the `tiny` preset."""

from collections.abc import Callable

import pytest

from focusvla.data.memory import MemorySource, random_source
from focusvla.simulation.libero import libero_spec


@pytest.fixture(scope="session")
def arm_source() -> Callable[..., MemorySource]:
    """Random episodes under LIBERO's conventions, with two 32-pixel cameras."""

    def make(lengths: tuple[int, ...] = (9, 7, 8)) -> MemorySource:
        return random_source(libero_spec(32), lengths)

    return make
