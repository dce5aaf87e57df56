"""How fast two trainings get where: success against steps, and the steps to a target (the paper's Fig. 7)."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from focusvla.errors import DataError
from focusvla.evaluation.markdown import markdown_table
from focusvla.storage import replace_json, replace_text
from focusvla.training.metrics import read_metrics


@dataclass(frozen=True)
class LearningCurve:
    """What one run reached after how many steps."""

    seed: int
    measure: str
    """`success_rate`, or `validation_loss` if nothing was evaluated."""
    points: tuple[tuple[int, float], ...]
    """Steps taken and the measure, in order."""

    @classmethod
    def of(cls, run: Path, seed: int) -> "LearningCurve":
        """Of a run's metrics.

        Raises:
            DataError: neither was measured.
        """
        lines = read_metrics(run / "metrics.jsonl")
        for measure in ("success_rate", "validation_loss"):
            points = tuple((line["step"], line[measure]) for line in lines if measure in line)
            if points:
                return cls(seed, measure, points)
        raise DataError(
            f"run={run}: expected success rates or validation losses in metrics.jsonl, found neither. Hold out "
            "episodes, or evaluate on the way."
        )

    @property
    def best(self) -> float:
        """The highest success rate, or the lowest loss."""
        values = [value for _, value in self.points]
        return max(values) if self.measure == "success_rate" else min(values)

    def steps_to(self, target: float) -> int | None:
        """The first measured step that is at least as good as `target`; None if none is, or if it is never to succeed."""
        sign = 1 if self.measure == "success_rate" else -1
        if sign * target == 0:
            return None
        return next((step for step, value in self.points if sign * value >= sign * target), None)


@dataclass(frozen=True)
class Comparison:
    """Two presets' curves, of the same seeds, data and measure."""

    curves: Mapping[str, Sequence[LearningCurve]]
    """By preset."""
    target: float
    """What both are asked to reach."""

    @classmethod
    def of(cls, curves: Mapping[str, Sequence[LearningCurve]], target: float | None = None) -> "Comparison":
        """With the given target, or else the worst of all runs' best: what every run reaches.

        Raises:
            DataError: some runs were evaluated and some were not.
        """
        flat = [curve for of_preset in curves.values() for curve in of_preset]
        measures = {curve.measure for curve in flat}
        if len(measures) > 1:
            raise DataError(f"runs: expected one measure, got {' and '.join(sorted(measures))}.")
        worst = min if measures == {"success_rate"} else max
        return cls(curves, worst(curve.best for curve in flat) if target is None else target)

    @property
    def measure(self) -> str:
        """Of all curves."""
        return next(iter(self.curves.values()))[0].measure

    def mean_steps(self, preset: str) -> float | None:
        """To the target, over seeds; None if a seed does not reach it."""
        steps = [curve.steps_to(self.target) for curve in self.curves[preset]]
        return None if None in steps else float(mean(step for step in steps if step is not None))

    def speedup(self) -> float | None:
        """How many times as many steps the second preset takes to the target; None if one does not reach it."""
        first, second = (self.mean_steps(preset) for preset in self.curves)
        return None if first is None or second is None else second / first

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "measure": self.measure,
            "target": self.target,
            "speedup": self.speedup(),
            "presets": {
                preset: {
                    "mean_steps_to_target": self.mean_steps(preset),
                    "runs": [
                        {"seed": c.seed, "steps_to_target": c.steps_to(self.target), "points": c.points}
                        for c in curves
                    ],
                }
                for preset, curves in self.curves.items()
            },
        }

    def to_markdown(self) -> str:
        """A row a run."""
        rows = [
            (preset, curve.seed, "not reached" if steps is None else steps, f"{curve.best:.3g}")
            for preset, curves in self.curves.items()
            for curve in curves
            for steps in (curve.steps_to(self.target),)
        ]
        table = markdown_table(("preset", "seed", "steps to target", "best"), rows)
        lines = [f"Steps to {self.measure.replace('_', ' ')} {self.target:.3g}", "", table]
        speedup = self.speedup()
        if speedup is not None:
            first, second = self.curves
            lines += ["", f"{first} needs {1 / speedup:.2f} times the steps of {second}."]
        return "\n".join(lines)

    def to_svg(self) -> str:
        """All curves over steps, one color a preset, with the target as a line."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for (preset, curves), color in zip(self.curves.items(), ("C0", "C1"), strict=True):
            for index, curve in enumerate(curves):
                steps, values = zip(*curve.points, strict=True)
                axes.plot(
                    steps, values, "o-", color=color, alpha=0.8, label=preset if index == 0 else None, ms=3
                )
        axes.axhline(self.target, color="0.5", lw=0.8, ls="--", label="target")
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel(self.measure.replace("_", " "))
        axes.set_ylim(0, 1.02 if self.measure == "success_rate" else None)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        drawn = io.StringIO()
        FigureCanvasSVG(figure).print_svg(drawn)
        return drawn.getvalue()

    def write(self, folder: Path) -> None:
        """As `comparison.json`, `comparison.md` and `comparison.svg`.

        Raises:
            StorageError: the folder cannot be written.
        """
        replace_json(folder / "comparison.json", self.to_dict())
        replace_text(folder / "comparison.md", self.to_markdown() + "\n")
        replace_text(folder / "comparison.svg", self.to_svg())
