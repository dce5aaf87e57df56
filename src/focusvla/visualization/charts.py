"""Geometry of the report's line chart, in percent of the plot, so that a page can scale it without scaling its text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    """A labeled value on an axis."""

    at: float
    """Percent of the axis from its left or top end."""
    label: str


@dataclass(frozen=True)
class Curve:
    """One line of a chart."""

    name: str
    points: tuple[Point, ...]
    """In percent, from left and from top."""
    color: int
    """Which of the page's series colors."""
    is_marked: bool
    """Drawn dashed with a dot at each point: few measured values, as against a dense line."""

    @property
    def path(self) -> str:
        """The points as an SVG polyline wants them."""
        return " ".join(f"{x:.2f},{y:.2f}" for x, y in self.points)


@dataclass(frozen=True)
class LineChart:
    """Curves over shared axes that begin at 0."""

    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Series:
    """Values to draw."""

    name: str
    points: Sequence[Point]
    color: int
    is_marked: bool


def line_chart(series: Sequence[Series]) -> LineChart:
    """Lay out `series`, each with at least one point."""
    x_step, x_end = nice_scale(max(x for line in series for x, _ in line.points))
    y_step, y_end = nice_scale(max(y for line in series for _, y in line.points))
    return LineChart(
        curves=tuple(
            Curve(
                line.name,
                tuple((100 * x / x_end, 100 - 100 * y / y_end) for x, y in line.points),
                line.color,
                line.is_marked,
            )
            for line in series
        ),
        x_ticks=tuple(Tick(100 * value / x_end, f"{value:g}") for value in _multiples(x_step, x_end)),
        y_ticks=tuple(Tick(100 - 100 * value / y_end, f"{value:g}") for value in _multiples(y_step, y_end)),
    )


def nice_scale(largest: float) -> tuple[float, float]:
    """A step of 1, 2 or 5 times a power of ten, and the first multiple of it that is not below `largest`.

    430 has steps of 100 up to 500; 0.48 has steps of 0.1 up to 0.5.
    """
    if largest <= 0:
        return 1.0, 1.0
    rough = largest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return step, step * math.ceil(largest / step - 1e-9)


def smooth(points: Sequence[Point], share: float = 0.04) -> list[Point]:
    """Mean of each value and its neighbors, `share` of the curve wide; the ends have fewer neighbors.

    With a reach of one neighbor to each side, [1, 4, 1] becomes [2.5, 2, 2.5].
    """
    reach = max(1, round(len(points) * share / 2))
    smoothed = []
    for index, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, index - reach) : index + reach + 1]]
        smoothed.append((x, sum(near) / len(near)))
    return smoothed


def _multiples(step: float, end: float) -> list[float]:
    return [round(index * step, 12) for index in range(round(end / step) + 1)]
