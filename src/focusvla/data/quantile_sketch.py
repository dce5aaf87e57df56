"""Quantiles of more numbers than fit in memory, in one pass.

A hierarchy of buffers (Manku, Rajagopalan and Lindsay, 1998): a full one is sorted, every second number moves one
level up, where each stands for twice as many. Libraries' sketches are randomized, hold one dimension each, and are
never exact; this one is deterministic, takes whole tables, and is exact until its first buffer is full.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Real

CAPACITY = 2**19
"""Rows a level holds, and up to which quantiles are exact: twice LIBERO's four suites. With 15 float32 dimensions a
level takes 30 MiB, and a data set of 10^8 steps has 8 levels."""


class QuantileSketch:
    """Quantiles of each dimension of tables (rows, width) that are added one by one.

    With a capacity of 4, adding 7 1 5 3 fills level 0, of which 1 and 5 move up, and the next full buffer's second
    and fourth number: errors of one sign follow those of the other.

        level 0  (each is one number)    -
        level 1  (each stands for two)   1 5

    With capacity c and L levels the rank of an answer is wrong by at most (L / 2 + 1) / c of all rows: with n of them
    a compaction of level l moves ranks by up to 2^l, there are n / (2^l c) of them, and half of them move ranks the
    other way.
    """

    def __init__(self, capacity: int = CAPACITY):
        assert capacity % 2 == 0, "half of a full level moves up"
        self._capacity = capacity
        self._levels: list[list[np.ndarray]] = [[]]
        self._compactions = [0]

    def add(self, table: Real[np.ndarray, "rows width"]) -> None:
        """Count in every row."""
        for first in range(0, len(table), self._capacity):
            self._levels[0].append(np.array(table[first : first + self._capacity]))
            self._compact_full_levels()

    def quantiles(self, shares: Sequence[float]) -> Float64[np.ndarray, "shares width"]:
        """The value below which each share of the numbers lies, as `np.quantile` interpolates it."""
        tables = [(table, 2**level) for level, tables in enumerate(self._levels) for table in tables]
        weights = np.concatenate([np.full(len(table), weight) for table, weight in tables])
        positions = np.asarray(shares) * (weights.sum() - 1)
        answers = []
        for dimension in range(tables[0][0].shape[1]):  # one at a time, for the memory's sake
            values = np.concatenate([table[:, dimension] for table, _ in tables]).astype(np.float64)
            order = values.argsort(kind="stable")
            reached = weights[order].cumsum()  # how many numbers end with each of the sorted ones
            below = values[order[np.searchsorted(reached, np.floor(positions), side="right")]]
            above = values[order[np.searchsorted(reached, np.ceil(positions), side="right")]]
            answers.append(below + (above - below) * (positions - np.floor(positions)))
        return np.stack(answers, axis=1)

    def _compact_full_levels(self) -> None:
        level = 0
        while sum(map(len, self._levels[level])) >= self._capacity:
            rows = np.concatenate(self._levels[level])
            full, rest = rows[: self._capacity], rows[self._capacity :]
            full.sort(axis=0)
            if level + 1 == len(self._levels):
                self._levels.append([])
                self._compactions.append(0)
            self._levels[level + 1].append(full[self._compactions[level] % 2 :: 2].copy())
            self._compactions[level] += 1
            self._levels[level] = [rest] if len(rest) else []
            if sum(map(len, self._levels[level])) < self._capacity:
                level += 1
