"""Per-feature statistics in the form that LeRobot data sets carry.

Departs from lerobot: quantiles are those of all values together, where lerobot averages the quantiles of
episodes, and they are computed in 64 bits.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

FeatureStatistics = dict[str, list]
"""min, max, mean, std, count and the quantiles, as nested lists ready for JSON and parquet."""


def vector_statistics(values: np.ndarray) -> FeatureStatistics:
    """Statistics of a table (steps, width), each a list of that width; `count` is the number of steps.

    >>> vector_statistics(np.array([[1.0], [3.0]]))["mean"]
    [2.0]
    """
    table = np.asarray(values, np.float64).reshape(len(values), -1)
    statistics = {
        "min": table.min(0),
        "max": table.max(0),
        "mean": table.mean(0),
        "std": table.std(0),
        **{name: np.quantile(table, quantile, axis=0) for name, quantile in QUANTILES.items()},
    }
    return {name: value.tolist() for name, value in statistics.items()} | {"count": [len(table)]}


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


def flat_columns(statistics: Mapping[str, FeatureStatistics]) -> dict[str, list]:
    """`{"action": {"min": ...}}` as `{"stats/action/min": ...}`, the columns of LeRobot's episode table."""
    return {
        f"stats/{feature}/{name}": value
        for feature, entry in statistics.items()
        for name, value in entry.items()
    }
