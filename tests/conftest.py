"""A small data set that fits the `tiny` preset, and one thread for models that small."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported; two threads wait for each other far longer
import pytest

from focusvla.data.memory import MemorySource, random_source
from focusvla.suites.libero import libero_spec
from recorded_demonstrations import record_once

REACH = str(
    Path(__file__).parent / "reach"
)  # the small world that a package brings, for processes of their own
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (REACH, os.environ.get("PYTHONPATH"))))


@pytest.fixture(scope="session")
def arm_source() -> Callable[..., MemorySource]:
    """Random episodes under LIBERO's conventions, with two 32-pixel cameras."""

    def make(lengths: tuple[int, ...] = (9, 7, 8)) -> MemorySource:
        return random_source(libero_spec(32), lengths)

    return make


@pytest.fixture(scope="session")
def recorded(tmp_path_factory) -> Path:
    """Two undisturbed demonstrations of LIBERO-Object's task 2, to read: see `recorded_demonstrations.CONFIG`."""
    base = tmp_path_factory.getbasetemp()
    return record_once(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
