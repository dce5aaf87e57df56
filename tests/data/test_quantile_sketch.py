"""The sketch against numpy on distributions that are hard for sketches."""

import numpy as np
import pytest

from focusvla.data.quantile_sketch import QuantileSketch

SHARES = [0.01, 0.1, 0.5, 0.9, 0.99]
COUNT = 60_000
RNG = np.random.default_rng(0)
HARD = {
    "constant": np.full(COUNT, 3.0),
    "a gripper that closes in 1.5 % of the steps": np.where(RNG.random(COUNT) < 0.985, -1.0, 1.0),
    "heavy tails": RNG.standard_cauchy(COUNT),
    "sorted": np.arange(COUNT, dtype=float),
    "falling": -np.arange(COUNT, dtype=float),
    "a sawtooth in step with the buffers": np.arange(COUNT, dtype=float) % 512,
}


def _sketch(table: np.ndarray, capacity: int, rows_at_once: int = 301) -> QuantileSketch:
    sketch = QuantileSketch(capacity)
    for first in range(0, len(table), rows_at_once):
        sketch.add(table[first : first + rows_at_once])
    return sketch


def _rank_errors(column: np.ndarray, answers: np.ndarray) -> list[float]:
    """How far each share lies outside the ranks that its answer has; equal numbers share a range of ranks."""
    ordered = np.sort(column)
    lowest = np.searchsorted(ordered, answers, side="left") / len(column)
    highest = np.searchsorted(ordered, answers, side="right") / len(column)
    return np.maximum(np.maximum(lowest - SHARES, SHARES - highest), 0).tolist()


@pytest.mark.parametrize("capacity", [64, 512, 4096])
def test_ranks_are_within_the_stated_error_on_hard_distributions(capacity: int):
    sketch = _sketch(np.stack(list(HARD.values()), axis=1), capacity)
    num_levels = np.ceil(np.log2(COUNT / capacity)) + 1
    bound = (num_levels / 2 + 1) / capacity
    answers = sketch.quantiles(SHARES)
    for column, found in zip(HARD.values(), answers.T, strict=True):
        assert max(_rank_errors(column, found)) <= bound + 1 / COUNT


def test_constants_and_grippers_have_their_own_values_as_quantiles():
    answers = _sketch(np.stack(list(HARD.values()), axis=1), 512).quantiles(SHARES)
    assert answers[:, 0].tolist() == [3, 3, 3, 3, 3]
    assert answers[:, 1].tolist() == [-1, -1, -1, -1, 1]


def test_quantiles_are_those_of_numpy_while_everything_fits():
    table = RNG.normal(size=(501, 3)).astype(np.float32)
    sketch = _sketch(table, 512, rows_at_once=7)
    expected = np.quantile(table.astype(np.float64), SHARES, axis=0)
    np.testing.assert_allclose(sketch.quantiles(SHARES), expected, rtol=1e-12)


def test_memory_grows_with_the_logarithm_of_the_data():
    held = {}
    for count in (10_000, 100_000):
        sketch = _sketch(np.zeros((count, 1), np.float32), 256)
        held[count] = sum(len(table) for level in sketch._levels for table in level)
    assert held[10_000] < 256 * 7
    assert held[100_000] < 256 * 10


def test_what_is_added_may_be_changed_afterwards():
    table = np.zeros((10, 1))
    sketch = QuantileSketch()
    sketch.add(table)
    table += 5
    assert sketch.quantiles([0.5]).tolist() == [[0.0]]
