"""Per-feature statistics in the form that LeRobot data sets carry.

Departs from lerobot: quantiles are those of all values together, where lerobot averages the quantiles of
episodes, and they are computed in 64 bits.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64

from focusvla.data.quantile_sketch import QuantileSketch

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

FeatureStatistics = dict[str, list[Any]]
"""min, max, mean, std, count and the quantiles, as nested lists ready for JSON and parquet."""


class VectorStatistics:
    """Statistics of tables (steps, width) that are added one by one; memory as `QuantileSketch` says.

    Mean and deviation are merged as Chan, Golub and LeVeque (1979) do, which loses nothing to large offsets.
    """

    def __init__(self):
        self._count = 0
        self._sketch = QuantileSketch()
        self._min: np.ndarray | float = np.inf
        self._max: np.ndarray | float = -np.inf
        self._mean: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, values: np.ndarray) -> None:
        """Count in every step; a column of numbers is a table of width 1."""
        table = np.asarray(values).reshape(len(values), -1)
        self._sketch.add(table)
        self._min = np.minimum(self._min, table.min(0))
        self._max = np.maximum(self._max, table.max(0))
        wide = table.astype(np.float64)
        mean, before = wide.mean(0), self._count
        self._count += len(table)
        distance = mean - self._mean
        self._mean = self._mean + distance * (len(table) / self._count)
        self._squares += ((wide - mean) ** 2).sum(0) + distance**2 * (before * len(table) / self._count)

    def result(self) -> FeatureStatistics:
        """Each a list of the tables' width; `count` is the number of steps."""
        quantiles = self._sketch.quantiles(list(QUANTILES.values()))
        statistics = {
            "min": self._min,
            "max": self._max,
            "mean": self._mean,
            "std": np.sqrt(self._squares / self._count),
            **dict(zip(QUANTILES, quantiles, strict=True)),
        }
        return {name: np.asarray(value, np.float64).tolist() for name, value in statistics.items()} | {
            "count": [self._count]
        }


def vector_statistics(values: np.ndarray) -> FeatureStatistics:
    """Statistics of one table (steps, width).

    >>> vector_statistics(np.array([[1.0], [3.0]]))["mean"]
    [2.0]
    """
    statistics = VectorStatistics()
    statistics.add(values)
    return statistics.result()


def add_to_histogram(histogram: Int64[np.ndarray, "3 256"], frame: np.ndarray) -> None:
    """Count the values of each color channel of one uint8 image into `histogram`."""
    for channel in range(3):
        histogram[channel] += np.bincount(frame[..., channel].ravel(), minlength=256)


def image_statistics(histogram: Int64[np.ndarray, "3 256"], num_images: int) -> FeatureStatistics:
    """Statistics per color channel in [0, 1], each of shape (3, 1, 1); `count` is the number of images."""
    levels = np.arange(256) / 255.0
    weights = histogram / histogram.sum(1, keepdims=True)
    mean = weights @ levels
    reached = np.cumsum(weights, axis=1)

    def level_at(share: float) -> np.ndarray:
        # The last sum can fall short of 1 by rounding, hence the clip.
        return levels[np.clip((reached < share - 1e-12).sum(1), 0, 255)]

    statistics = {
        "min": levels[(histogram > 0).argmax(1)],
        "max": levels[255 - (histogram[:, ::-1] > 0).argmax(1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(weights @ levels**2 - mean**2, 0)),
        **{name: level_at(quantile) for name, quantile in QUANTILES.items()},
    }
    return {name: value.reshape(3, 1, 1).tolist() for name, value in statistics.items()} | {
        "count": [num_images]
    }


def flat_columns(statistics: Mapping[str, FeatureStatistics]) -> dict[str, list[Any]]:
    """`{"action": {"min": ...}}` as `{"stats/action/min": ...}`, the columns of LeRobot's episode table."""
    return {
        f"stats/{feature}/{name}": value
        for feature, entry in statistics.items()
        for name, value in entry.items()
    }
