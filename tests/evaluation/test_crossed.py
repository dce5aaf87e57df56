"""Intervals over trainings and starts hold what they say, where one over pooled episodes does not."""

import numpy as np
import pytest

from focusvla.evaluation.crossed import (
    Estimate,
    detectable_difference,
    difference_over_trainings,
    success_over_trainings,
)
from focusvla.evaluation.results import SuccessRate

TASKS = np.repeat(np.arange(10), 10)


def drawn(
    rng: np.random.Generator, rate: float, spread: float, trainings: int = 3, starts=None
) -> np.ndarray:
    """Outcomes of trainings that differ by `spread`, from starts that differ by 20 points and tasks by 15."""
    difficulty = starts if starts is not None else drawn_starts(rng)
    skill = rate + spread * rng.standard_normal((trainings, 1))
    return (rng.random((trainings, len(TASKS))) < skill + difficulty).astype(float)


def bounds(estimate: Estimate) -> tuple[float, float]:
    assert estimate.interval is not None
    return estimate.interval


def drawn_starts(rng: np.random.Generator) -> np.ndarray:
    of_tasks = 0.15 * np.linspace(-1, 1, 10)[TASKS]
    return of_tasks + 0.2 * rng.choice((-1, 1), len(TASKS))


def test_an_interval_covers_the_rate_in_95_of_100_studies_and_pooled_episodes_do_not():
    rng = np.random.default_rng(0)
    covered, pooled = [], []
    for _ in range(400):
        outcomes = drawn(rng, 0.5, 0.08)
        low, high = bounds(success_over_trainings(outcomes, TASKS))
        covered.append(low <= 0.5 <= high)
        low, high = SuccessRate(int(outcomes.sum()), outcomes.size).interval
        pooled.append(low <= 0.5 <= high)
    assert 0.93 <= np.mean(covered) <= 0.99
    assert np.mean(pooled) < 0.8


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_two_designs_that_are_equally_good_differ_in_5_of_100_studies(spread):
    rng = np.random.default_rng(1)
    excluded = []
    for _ in range(400):
        starts = drawn_starts(rng)
        both = [drawn(rng, 0.5, spread, starts=starts) for _ in range(2)]
        low, high = bounds(difference_over_trainings(both[0], both[1], TASKS))
        excluded.append(low > 0 or high < 0)
    assert 0.01 <= np.mean(excluded) <= 0.075


def test_equal_starts_are_compared_with_each_other():
    """What starts have in common is not chance of the difference: without it the interval would be wider."""
    rng = np.random.default_rng(2)
    starts = drawn_starts(rng)
    both = [drawn(rng, 0.5, 0.0, trainings=8, starts=starts) for _ in range(2)]
    shuffled = both[1][:, rng.permutation(len(TASKS))]
    intervals = [bounds(difference_over_trainings(both[0], other, TASKS)) for other in (both[1], shuffled)]
    widths = [high - low for low, high in intervals]
    assert widths[0] < widths[1]


def test_what_a_study_can_see_is_told_before_it_runs_and_is_true():
    rng = np.random.default_rng(3)
    seen = detectable_difference(3, 100, 0.5, spread_of_trainings=0.03, spread_of_starts=0.0)
    assert 0.1 < seen < 0.25
    found = []
    for _ in range(300):
        starts = drawn_starts(rng)
        better, worse = (drawn(rng, rate, 0.03, starts=starts) for rate in (0.5 + seen / 2, 0.5 - seen / 2))
        found.append(bounds(difference_over_trainings(better, worse, TASKS))[0] > 0)
    assert 0.7 < np.mean(found) < 0.97
    assert detectable_difference(10, 100, 0.5, spread_of_trainings=0.03, spread_of_starts=0.0) < seen


def test_one_training_says_nothing_of_others_and_outcomes_that_never_vary_are_not_certain():
    ones = np.ones((3, 100))
    assert success_over_trainings(ones[:1], TASKS).interval is None
    assert bounds(success_over_trainings(ones, TASKS))[0] == pytest.approx(0.963, abs=0.001)
    low, high = bounds(difference_over_trainings(ones, ones, TASKS))
    assert low < 0 < high
    assert str(success_over_trainings(ones[:1], TASKS)) == "100.0"
