"""How far success varies where trainings and starts both do: several seeds' policies, all played from the same starts.

A table of outcomes has a row per training and a column per start. Episodes are not independent: those of one training
share its weights, those of one start its difficulty, so that Wilson's interval over all of them is too narrow. Variances
are those of a two-way layout without replication, as for raters who all judge the same cases (Searle, Casella and
McCulloch, "Variance Components", 1992); intervals are Student's with Satterthwaite's degrees of freedom, which matter
with three seeds. Tasks are fixed: starts vary within them. Where outcomes do not vary at all, Wilson's interval over the
starts stands in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from focusvla.evaluation.results import SuccessRate

Outcomes = Float[np.ndarray, "trainings starts"]


@dataclass(frozen=True)
class Estimate:
    """A rate, or a difference of two, as shares of 1; or a ratio."""

    value: float
    interval: tuple[float, float] | None
    """95 %; None with one training, which says nothing of others."""
    detectable: float | None
    """The least true difference from 0 that such an interval excludes in 80 of 100 studies; None likewise, and where
    outcomes did not vary."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "value": self.value,
            "interval_95": None if self.interval is None else list(self.interval),
            "detectable_80": self.detectable,
        }

    def __str__(self) -> str:
        """In percent: `61.5 (52.0 to 71.0)`."""
        if self.interval is None:
            return f"{100 * self.value:.1f}"
        low, high = self.interval
        return f"{100 * self.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def success_over_trainings(outcomes: Outcomes, tasks: Int[np.ndarray, " starts"]) -> Estimate:
    """The rate over trainings and starts like these; `tasks` are the starts' own."""
    found = _estimate([outcomes], outcomes.mean(axis=0), tasks, _wilson(outcomes))
    if found.interval is None:
        return found
    low, high = found.interval
    return Estimate(found.value, (max(0.0, low), min(1.0, high)), found.detectable)


def difference_over_trainings(
    outcomes: Outcomes, others: Float[np.ndarray, "_ starts"], tasks: Int[np.ndarray, " starts"]
) -> Estimate:
    """The first rate minus the second, of trainings played from the same starts, which are compared start by start.

    Trainings of equal seeds are not paired: what they share is the order of samples.
    """
    by_start = outcomes.mean(axis=0) - others.mean(axis=0)
    (low, high), (other_low, other_high) = _wilson(outcomes), _wilson(others)
    rate, other = outcomes.mean(), others.mean()
    # Newcombe's hybrid score, 1998.
    below, above = math.hypot(rate - low, other_high - other), math.hypot(high - rate, other - other_low)
    unvaried = (float(rate - other - below), float(rate - other + above))
    return _estimate([outcomes, others], by_start, tasks, unvaried)


def ratio_over_trainings(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """How many times as large `others` are as `values`, such as steps to a target: the ratio of geometric means with
    Welch's interval of the difference of logarithms. Each is a training's, and they are not paired."""
    logs = [np.log(np.asarray(each, np.float64)) for each in (others, values)]
    value = float(logs[0].mean() - logs[1].mean())
    if min(map(len, logs)) < 2:
        return Estimate(math.exp(value), None, None)
    from scipy.stats import t

    variances = [float(each.var(ddof=1)) / len(each) for each in logs]
    variance = sum(variances)
    if variance == 0:  # steps are measured in strides, and may fall on the same one
        return Estimate(math.exp(value), None, None)
    terms = (each**2 / (len(found) - 1) for each, found in zip(variances, logs, strict=True))
    half = float(t.ppf(0.975, variance**2 / sum(terms))) * math.sqrt(variance)
    return Estimate(math.exp(value), (math.exp(value - half), math.exp(value + half)), None)


def detectable_difference(
    trainings: int, starts: int, rate: float, *, spread_of_trainings: float, spread_of_starts: float
) -> float:
    """The least difference of two designs that a study sees in 80 of 100 cases, told before it is run.

    `spread_of_trainings` is the standard deviation of rates of policies that differ in their seed, `spread_of_starts`
    that of the difference that a start makes; both as shares of 1. The rest is chance, of variance rate (1 - rate).
    """
    of_trainings = 2 * (spread_of_trainings**2 + rate * (1 - rate) / starts) / trainings
    of_starts = spread_of_starts**2 / starts
    variance = of_trainings + of_starts
    freedom = variance**2 / (of_trainings**2 / (2 * (trainings - 1)) + of_starts**2 / max(starts - 1, 1))
    return _seen_in_80(freedom) * math.sqrt(variance)


def _estimate(
    tables: Sequence[Float[np.ndarray, "_ starts"]],
    by_start: Float[np.ndarray, " starts"],
    tasks: Int[np.ndarray, " starts"],
    unvaried: tuple[float, float],
) -> Estimate:
    value = float(by_start.mean())
    if min(len(table) for table in tables) < 2:
        return Estimate(value, None, None)
    from scipy.stats import t  # a second to import

    starts = len(by_start)
    of_trainings = [float(table.mean(axis=1).var(ddof=1)) / len(table) for table in tables]
    within = by_start - _means_by_task(by_start, tasks)
    freedom_of_starts = max(starts - len(np.unique(tasks)), 1)
    of_starts = float((within**2).sum()) / freedom_of_starts / starts
    # The rest, chance within a training and a start, is in both of them.
    rest = sum(_rest(table, tasks) for table in tables)
    variance = max(sum(of_trainings) + of_starts - rest, *of_trainings, of_starts)
    if variance == 0:
        return Estimate(value, unvaried, None)
    terms = sum(each**2 / (len(table) - 1) for each, table in zip(of_trainings, tables, strict=True))
    freedom = variance**2 / (terms + of_starts**2 / freedom_of_starts)
    half = float(t.ppf(0.975, freedom)) * math.sqrt(variance)
    return Estimate(value, (value - half, value + half), _seen_in_80(freedom) * math.sqrt(variance))


def _rest(table: Outcomes, tasks: Int[np.ndarray, " starts"]) -> float:
    """Of the variance of its mean, what neither trainings nor starts explain, nor how trainings do at a task."""
    trainings, starts = table.shape
    num_tasks = len(np.unique(tasks))
    by_training = np.stack([_means_by_task(row, tasks) for row in table])
    by_start = table.mean(axis=0)
    residual = table - by_training - by_start + _means_by_task(by_start, tasks)
    freedom = max((trainings - 1) * (starts - num_tasks), 1)
    return float((residual**2).sum()) / freedom / (trainings * starts)


def _means_by_task(
    values: Float[np.ndarray, " starts"], tasks: Int[np.ndarray, " starts"]
) -> Float[np.ndarray, " starts"]:
    _, owners = np.unique(tasks, return_inverse=True)
    return (np.bincount(owners, weights=values) / np.bincount(owners))[owners]


def _wilson(outcomes: Outcomes) -> tuple[float, float]:
    """Of as many independent episodes as there are starts."""
    starts = outcomes.shape[1]
    return SuccessRate(round(float(outcomes.mean()) * starts), starts).interval


def _seen_in_80(freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom) + t.ppf(0.8, freedom))
