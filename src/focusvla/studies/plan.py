"""What a study asks and what has to be computed for it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from focusvla.config import EvaluationConfig, ExperimentConfig
from focusvla.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Row:
    """A design."""

    name: str
    arguments: tuple[str, ...]
    """Of `focusvla train`, without output and seed."""
    experiment: ExperimentConfig
    """What they make, before it is fitted to the data."""
    data: Mapping[str, Any]
    """What they say of the data, without where these are cached."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One design does better than another, as somebody has said."""

    better: str
    worse: str
    target: float | None = None
    """Given, the better one is said to need fewer steps to this success rate, among the checkpoints that were evaluated
    on the way (`--evaluate-every`); not given, to succeed more often in the end."""
    source: str = ""
    """Who says so, with the numbers."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A row trained with a seed, and what it is played on."""

    row: Row
    seed: int
    folder: Path
    """Of the run; equal runs of any study have the same."""
    results: Path
    """Of the evaluation."""

    @property
    def name(self) -> str:
        """`cascaded, seed 0`."""
        return f"{self.row.name}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What its file says."""

    question: str
    rows: tuple[Row, ...]
    refused: Mapping[str, str]
    """Rows that cannot be built, and why."""
    seeds: tuple[int, ...]
    evaluation: EvaluationConfig
    evaluation_arguments: tuple[str, ...]
    """Of `focusvla evaluate`, without checkpoint and output."""
    claims: tuple[Claim, ...]

    def __post_init__(self):
        known = {row.name for row in self.rows} | set(self.refused)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigurationError(f"seeds: expected one or more, each once, got {list(self.seeds)}.")
        for claim in self.claims:
            if claim.target is not None and not 0 < claim.target <= 1:
                raise ConfigurationError(f"claims: expected a target of 0 < rate <= 1, got {claim.target:g}.")
            for name in (claim.better, claim.worse):
                if name not in known:
                    raise ConfigurationError(
                        f"claims: expected names of rows ({', '.join(sorted(known))}), got {name!r}."
                    )

    def trainings(self, runs: Path) -> list[Training]:
        """All of them, each seed of all rows before the next, so that an unfinished study is even."""
        return [self._training(row, seed, runs) for seed in self.seeds for row in self.rows]

    def _training(self, row: Row, seed: int, runs: Path) -> Training:
        seeded = replace(row.experiment, training=replace(row.experiment.training, seed=seed))
        digest = _digest(seeded, row.data)
        folder = runs / f"{row.arguments[0]}-seed-{seed}-{digest}"
        played = hashlib.sha256(repr(asdict(self.evaluation)).encode()).hexdigest()[:8]
        return Training(row=row, seed=seed, folder=folder, results=folder / f"results-{played}")


def repeated(rows: Sequence[Row]) -> dict[str, str]:
    """Rows that are another one by another name, and which."""
    first: dict[str, str] = {}
    named = [(row.name, first.setdefault(_digest(row.experiment, row.data), row.name)) for row in rows]
    return {name: f"the same experiment as {other!r}" for name, other in named if other != name}


def _digest(experiment: ExperimentConfig, data: Mapping[str, Any]) -> str:
    """Of what the weights depend on."""
    described = {part: value for part, value in asdict(experiment).items() if part != "execution"}
    return hashlib.sha256(json.dumps([described, data]).encode()).hexdigest()[:8]
