"""What tests of inspection share: sources that lie, and the problems that are found in them."""

from collections.abc import Callable

import numpy as np

from focusvla.data.inspection.data_set import Inspection, inspect_source
from focusvla.data.inspection.problems import Problem, find_problems
from focusvla.data.memory import MemorySource
from focusvla.data.normalization import Statistics
from focusvla.errors import DataError

STEPS = 40
Change = Callable[[int, dict[str, np.ndarray]], None]


class StoredStatistics(MemorySource):
    """A data set with the statistics that it is told to have, or none."""

    stored: Statistics | None = None

    def statistics(self) -> Statistics:
        if self.stored is None:
            raise DataError("meta/stats.json: expected statistics, got no such file. Compute them.")
        return self.stored


def inspected(source: MemorySource, validation_share: float = 0.0) -> Inspection:
    return inspect_source(source, chunk_length=8, validation_share=validation_share)


def problems_of(source: MemorySource) -> list[Problem]:
    return find_problems(inspected(source))


def only_problem(source: MemorySource) -> Problem:
    (problem,) = problems_of(source)
    assert problem.advice.endswith(".")
    return problem
