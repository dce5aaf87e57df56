"""The numbers of states and actions: their ranges, how they are distributed, and whether stored statistics fit them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from focusvla.data.feature_statistics import VectorStatistics
from focusvla.data.normalization import SMALLEST_RANGE, Quantiles, answerable, is_erased, ranges_of

NUM_BINS = 24
STALE_OUTSIDE_SHARE = 0.05
"""With more values outside, the stored range is that of other data, or the mean of the episodes' ranges."""
STALE_DIFFERENCE = 0.25
"""Stored limits that are off by more of the range are those of other data."""
EQUAL_DIFFERENCE = 1e-2
"""Limits that are off by less are the same: what lies beyond them is clipped by next to nothing."""


@dataclass(frozen=True)
class Dimension:
    """One number of the state or of the action, over all steps."""

    name: str
    minimum: float
    q01: float
    median: float
    q99: float
    maximum: float
    mean: float
    std: float
    histogram: tuple[int, ...]
    """Steps in each of equally wide bins from the minimum to the maximum."""
    is_normalized: bool
    """Whether training maps it by the stored range; a gripper commanded by -1 and +1 passes as it is."""
    stored_range: tuple[float, float] | None
    """The data set's own q01 and q99; None if it has none."""
    outside_share: float | None
    """Of the values, how many lie outside the stored range: 2 % if it belongs to this data, fewer where values repeat."""
    switches: tuple[float, ...] = ()
    """Values at which the robot does something else on either side, however near: where the sign alone counts, 0."""
    on_switches_share: float = 0.0
    """Of the values, how many lie on a switch, where a policy that answers nearly the same is not obeyed alike."""

    @property
    def difference(self) -> float:
        """How far the stored limits are off, as a share of the wider of both ranges; 0 if none are stored, or if they are
        those that training takes where motion would be lost."""
        if self.stored_range is None:
            return 0.0
        ranges = [(self.q01, self.q99), *([(self.minimum, self.maximum)] if self.is_erased else [])]
        return min(_difference(self.stored_range, own) for own in ranges)

    @property
    def is_stale(self) -> bool:
        """Whether the stored range is not of these numbers, so that training computes it anew."""
        outside = (self.outside_share or 0.0) > STALE_OUTSIDE_SHARE and self.difference > EQUAL_DIFFERENCE
        return self.is_normalized and (outside or self.difference > STALE_DIFFERENCE)

    @property
    def is_erased(self) -> bool:
        """Whether its motion would be lost between q01 and q99, so that training takes all values' range."""
        return self.is_normalized and is_erased(self.q01, self.q99, self.minimum, self.maximum)


class VectorCount:
    """Counts a vector's numbers in two passes, one episode in memory at a time: `measure` all, then `distribute` all."""

    def __init__(self, names: tuple[str, ...], stored: Quantiles | None, untouched: tuple[int, ...] = ()):
        """`untouched` are the dimensions that are commanded by their sign."""
        self._names = names
        self._stored = stored
        self._untouched = untouched
        self._statistics = VectorStatistics()
        self._on_switches = np.zeros(len(names), np.int64)
        self._outside = np.zeros(len(names), np.int64)
        self._histograms = np.zeros((len(names), NUM_BINS), np.int64)

    def measure(self, values: Float32[np.ndarray, "steps width"]) -> None:
        """Count an episode's numbers into ranges and statistics."""
        self._statistics.add(values)
        self._on_switches += (np.abs(values) < SMALLEST_RANGE).sum(0)
        if self._stored:
            low, high = np.array(self._stored.q01), np.array(self._stored.q99)
            self._outside += ((values < low - SMALLEST_RANGE) | (values > high + SMALLEST_RANGE)).sum(0)

    def end_measuring(self) -> None:
        """All episodes have been measured."""
        self._found = self._statistics.result()

    def computed_ranges(self) -> Quantiles:
        """By which these numbers are normalized where nothing is stored that fits them."""
        return ranges_of(self._found)

    def mended_ranges(self, stored: Quantiles) -> Quantiles:
        """The stored ranges without those in which motion would be lost."""
        return answerable(stored, self._found["min"], self._found["max"])

    @property
    def ranges(self) -> np.ndarray:
        """From q01 to q99 of each dimension."""
        return np.array(self._found["q99"]) - self._found["q01"]

    def limits(self, dimension: int) -> tuple[float, float]:
        """The least and the greatest value of one dimension."""
        return self._found["min"][dimension], self._found["max"][dimension]

    def distribute(self, values: Float32[np.ndarray, "steps width"]) -> None:
        """Count an episode's numbers into histograms, all dimensions at once, since one by one takes longest of all."""
        low, high = (np.array(self._found[name]) for name in ("min", "max"))
        reach = high - low
        shares = np.divide(values - low, reach, out=np.full(values.shape, 0.5), where=reach > 0)
        bins = np.clip((NUM_BINS * shares).astype(np.int64), 0, NUM_BINS - 1)
        places = bins + NUM_BINS * np.arange(len(low))
        self._histograms += np.bincount(places.ravel(), minlength=self._histograms.size).reshape(-1, NUM_BINS)

    def dimensions(self) -> tuple[Dimension, ...]:
        """What it comes to."""
        (count,) = self._found["count"]
        columns = [self._found[name] for name in ("min", "q01", "q50", "q99", "max", "mean", "std")]
        return tuple(
            Dimension(
                name,
                *(column[index] for column in columns),
                histogram=tuple(self._histograms[index].tolist()),
                is_normalized=index not in self._untouched,
                stored_range=(self._stored.q01[index], self._stored.q99[index]) if self._stored else None,
                outside_share=float(self._outside[index] / count) if self._stored else None,
                switches=(0.0,) if index in self._untouched else (),
                on_switches_share=float(self._on_switches[index] / count)
                if index in self._untouched
                else 0.0,
            )
            for index, name in enumerate(self._names)
        )


def _difference(stored: tuple[float, float], own: tuple[float, float]) -> float:
    off = max(abs(mine - theirs) for mine, theirs in zip(stored, own, strict=True))
    return 0.0 if off < SMALLEST_RANGE else off / max(stored[1] - stored[0], own[1] - own[0], SMALLEST_RANGE)
