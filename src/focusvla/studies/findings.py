"""What a study has found: rates over trainings and starts, differences that were claimed, and what is missing."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from focusvla.evaluation.crossed import (
    Estimate,
    Outcomes,
    difference_over_trainings,
    ratio_over_trainings,
    success_over_trainings,
)
from focusvla.evaluation.markdown import markdown_table
from focusvla.evaluation.results import EpisodeResult, SuccessRate, clean_results, success_rate
from focusvla.studies.plan import Claim, Study, Training
from focusvla.studies.work import results_of
from focusvla.visualization.learning_curves import LearningCurve

Verdict = Literal["supported", "contradicted", "open"]
Start = tuple[str, int, int]
"""Suite, task, trial."""


@dataclass(frozen=True, kw_only=True)
class TrainingFinding:
    """One training."""

    seed: int
    folder: Path
    rate: SuccessRate
    problem: str
    """Why it counts for nothing, or what its folder lacks; empty if it is complete."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "seed": self.seed,
            "folder": str(self.folder),
            "success": self.rate.to_dict(),
            "problem": self.problem,
        }


@dataclass(frozen=True, kw_only=True)
class RowFinding:
    """A design."""

    name: str
    arguments: tuple[str, ...]
    success: Estimate | None
    """None while no training is complete."""
    by_task: Mapping[tuple[str, int], float]
    """The rate over complete trainings."""
    trainings: tuple[TrainingFinding, ...]
    problem: str = ""
    """Why it cannot be built."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "arguments": list(self.arguments),
            "success": self.success and self.success.to_dict(),
            "tasks": [{"suite": s, "task": t, "rate": rate} for (s, t), rate in self.by_task.items()],
            "trainings": [each.to_dict() for each in self.trainings],
            "problem": self.problem,
        }


@dataclass(frozen=True, kw_only=True)
class ClaimFinding:
    """A claim beside what was found."""

    claim: Claim
    difference: Estimate | None
    """The better one's rate minus the worse one's, or how many times as many steps the worse one takes to the claim's
    target; None while either has no complete training, or one never reached it."""
    verdict: Verdict

    def __str__(self) -> str:
        """Points, or times as many steps."""
        if self.difference is None:
            return "-"
        if self.claim.target is None:
            return str(self.difference)
        shown = f"{self.difference.value:.2f} times as many steps"
        if self.difference.interval is None:
            return shown
        low, high = self.difference.interval
        return f"{shown} ({low:.2f} to {high:.2f})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "better": self.claim.better,
            "worse": self.claim.worse,
            "target": self.claim.target,
            "source": self.claim.source,
            "claim": described(self.claim),
            "difference": self.difference and self.difference.to_dict(),
            "found": str(self),
            "verdict": self.verdict,
        }


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a study's page says."""

    study: Study
    protocol: str
    rows: tuple[RowFinding, ...]
    claims: tuple[ClaimFinding, ...]
    starts: int
    """From which each training was played."""
    missing: tuple[str, ...]
    """A sentence for each thing that is not there and why."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "question": self.study.question,
            "protocol": self.protocol,
            "evaluation": list(self.study.evaluation_arguments),
            "seeds": list(self.study.seeds),
            "starts": self.starts,
            "rows": {row.name: row.to_dict() for row in self.rows},
            "claims": [each.to_dict() for each in self.claims],
            "missing": list(self.missing),
        }

    def to_markdown(self) -> str:
        """What can be read in a terminal: a line per row, then one per claim."""
        rows = [
            (
                row.name,
                "-" if row.success is None else str(row.success),
                ", ".join(f"{100 * each.rate.rate:.0f}" for each in row.trainings if not each.problem),
                " ".join(row.arguments),
            )
            for row in self.rows
        ]
        heads = (f"row ({self.protocol})", "success, percent (95 %)", "by seed", "arguments")
        parts = [markdown_table(heads, rows)]
        if self.claims:
            claims = [
                (
                    described(each.claim),
                    each.claim.source,
                    str(each),
                    each.verdict,
                )
                for each in self.claims
            ]
            parts.append(markdown_table(("claim", "source", "found, points (95 %)", "verdict"), claims))
        return "\n\n".join(parts)


def find_out(
    study: Study,
    trainings: Sequence[Training],
    problems: Mapping[str, str],
    protocol: str,
    expected_episodes: int,
) -> Findings:
    """Read what the runs and their evaluations left; `problems` are those of trainings that failed, by name."""
    played = {each.name: results_of(each) for each in trainings}
    results = {name: clean_results(found) for name, found in played.items()}
    incomplete = _incomplete(
        trainings, {name: len(found) for name, found in played.items()}, expected_episodes
    )
    reasons = incomplete | _of_other_data(trainings) | dict(problems)
    complete = {name: _by_start(found) for name, found in results.items() if name not in reasons}
    rows, tables = [], {}
    for row in study.rows:
        mine = [each for each in trainings if each.row is row]
        tables[row.name] = [complete[each.name] for each in mine if each.name in complete]
        outcomes, starts = _table(tables[row.name])
        rows.append(
            RowFinding(
                name=row.name,
                arguments=row.arguments,
                success=success_over_trainings(outcomes, _tasks(starts)) if len(outcomes) else None,
                by_task=_rates_by_task(outcomes, starts),
                trainings=tuple(
                    TrainingFinding(
                        seed=each.seed,
                        folder=each.folder,
                        rate=success_rate(results[each.name]),
                        problem=reasons.get(each.name, ""),
                    )
                    for each in mine
                ),
            )
        )
    refused = [
        RowFinding(name=name, arguments=(), success=None, by_task={}, trainings=(), problem=why)
        for name, why in study.refused.items()
    ]
    return Findings(
        study=study,
        protocol=protocol,
        rows=(*rows, *refused),
        claims=tuple(
            _checked(claim, tables)
            if claim.target is None
            else _checked_speed(claim, claim.target, [each for each in trainings if each.name in complete])
            for claim in study.claims
        ),
        starts=expected_episodes,
        missing=(
            *(f"{name}: {why}" for name, why in study.refused.items()),
            *(f"{each.name}: {reasons[each.name]}" for each in trainings if each.name in reasons),
        ),
    )


def described(claim: Claim) -> str:
    """In words."""
    if claim.target is None:
        return f"{claim.better} better than {claim.worse}"
    return f"{claim.better} sooner at {100 * claim.target:g} % than {claim.worse}"


def _incomplete(trainings: Sequence[Training], played: Mapping[str, int], expected: int) -> dict[str, str]:
    return {
        each.name: f"{played[each.name]} of {expected} episodes are played"
        for each in trainings
        if played[each.name] < expected
    }


def _of_other_data(trainings: Sequence[Training]) -> dict[str, str]:
    """Trainings of a row whose data are not those of its first: the data set changed while the study was running."""
    first: dict[str, Any] = {}
    found = {}
    for each in trainings:
        path = each.folder / "data.json"
        if not path.exists():
            continue
        data = json.loads(path.read_text("utf-8"))
        if data != first.setdefault(each.row.name, data):
            found[each.name] = (
                "it learned from other data than the row's first seed, since the data set has changed. Remove "
                f"{each.folder}, or the others"
            )
    return found


def _by_start(results: Sequence[EpisodeResult]) -> dict[Start, bool]:
    return {(each.suite, each.task, each.trial): each.success for each in results}


def _table(trainings: Sequence[Mapping[Start, bool]]) -> tuple[Outcomes, list[Start]]:
    """Outcomes from the starts that all have, in order."""
    if not trainings:
        return np.zeros((0, 0)), []
    starts = sorted(set.intersection(*(set(each) for each in trainings)))
    return np.array([[float(each[start]) for start in starts] for each in trainings]), starts


def _tasks(starts: Sequence[Start]) -> np.ndarray:
    numbers = {task: index for index, task in enumerate(sorted({start[:2] for start in starts}))}
    return np.array([numbers[start[:2]] for start in starts])


def _rates_by_task(outcomes: Outcomes, starts: Sequence[Start]) -> dict[tuple[str, int], float]:
    by_start = outcomes.mean(axis=0) if len(outcomes) else np.zeros(0)
    return {
        task: float(np.mean([by_start[i] for i, start in enumerate(starts) if start[:2] == task]))
        for task in sorted({start[:2] for start in starts})
    }


def _checked(claim: Claim, tables: Mapping[str, Sequence[Mapping[Start, bool]]]) -> ClaimFinding:
    better, worse = tables.get(claim.better, []), tables.get(claim.worse, [])
    if not better or not worse:
        return ClaimFinding(claim=claim, difference=None, verdict="open")
    outcomes, starts = _table([*better, *worse])
    difference = difference_over_trainings(outcomes[: len(better)], outcomes[len(better) :], _tasks(starts))
    low, high = difference.interval or (-math.inf, math.inf)
    return ClaimFinding(claim=claim, difference=difference, verdict=_verdict(low, high, 0.0))


def _checked_speed(claim: Claim, target: float, trainings: Sequence[Training]) -> ClaimFinding:
    def steps(row: str) -> list[int | None]:
        mine = [each for each in trainings if each.row.name == row]
        return [LearningCurve.of(each.folder, each.seed).steps_to(target) for each in mine]

    better, worse = steps(claim.better), steps(claim.worse)
    if not better or not worse or None in (*better, *worse):
        return ClaimFinding(claim=claim, difference=None, verdict="open")
    ratio = ratio_over_trainings(*([float(each or 0) for each in found] for found in (better, worse)))
    low, high = ratio.interval or (0.0, math.inf)
    return ClaimFinding(claim=claim, difference=ratio, verdict=_verdict(low, high, 1.0))


def _verdict(low: float, high: float, even: float) -> Verdict:
    return "supported" if low > even else "contradicted" if high < even else "open"
