"""LIBERO-Para: the tasks of LIBERO-Goal in other words, and PRIDE, which weighs success by how far the words are from the
original's (https://github.com/cau-hai-lab/LIBERO-Para, arXiv:2603.28301).

Its table, `libero_para_metadata.csv`, is read from wherever its user has it. A task is found by its original instruction:
the table's own numbers are not LIBERO's.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.markdown import markdown_table
from focusvla.evaluation.results import PARAPHRASED, EpisodeResult, SuccessRate
from focusvla.simulation.environment import suite_tasks

SUITE = "libero_goal"
ALPHA = 0.5
"""PRIDE's, the weight of keywords against structure, as published."""
_COLUMNS = (
    "high",
    "mid",
    "low",
    "new_instruction",
    "original_instruction",
    "structural_similarity",
    "keyword_similarity",
)
_PARTS = {"act": "action", "obj": "object", "comp": "both"}
_SEED = 0


@dataclass(frozen=True)
class Paraphrase:
    """A row of the table: one episode."""

    task: int
    """Number in LIBERO-Goal."""
    trial: int
    """Which of the task's starts: its rows have them in turn. The table does not say which was published with."""
    words: str
    kind: tuple[str, str, str]
    """What is said otherwise (`act`, `obj`, `comp`), how, and the finest kind."""
    distance: float
    """PD of arXiv:2603.28301, about 0 to 1: one minus the mean of keyword and structural similarity."""


def read_paraphrases(path: Path, tasks: Sequence[int] = (), sample: int = 0) -> list[Paraphrase]:
    """The rows of LIBERO-Para's table, those of `tasks` alone if any are given; or `sample` of them, drawn without
    replacement as evenly as can be over the finest kinds.

    Raises:
        DataError: it cannot be read, lacks a column, or holds an instruction that is none of LIBERO-Goal's or a number
            that is none; the line is named.
        ConfigurationError: the sample is larger than the table.
    """
    goals = suite_tasks(SUITE)
    numbers = {task.instruction: task.index for task in goals}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if missing := sorted(set(_COLUMNS) - set(reader.fieldnames or ())):
                raise DataError(
                    f"{path}: expected LIBERO-Para's columns, got none called {', '.join(missing)}."
                )
            rows, met = [], Counter[int]()
            for line, row in enumerate(reader, start=2):
                rows.append(_paraphrase(row, numbers, met, goals[0].num_init_states, f"{path}, line {line}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected LIBERO-Para's table, got {error}.") from error
    chosen = [row for row in rows if not tasks or row.task in tasks]
    if not sample:
        return chosen
    if sample > len(chosen):
        raise ConfigurationError(
            f"paraphrase_sample={sample}: expected at most {len(chosen)}, the rows of {path.name} that are asked for."
        )
    return draw_evenly(chosen, sample)


def _paraphrase(
    row: dict[str, str], numbers: dict[str, int], met: Counter[int], num_starts: int, where: str
) -> Paraphrase:
    if row["original_instruction"] not in numbers:
        raise DataError(f"{where}: expected an instruction of {SUITE}, got {row['original_instruction']!r}.")
    task = numbers[row["original_instruction"]]
    try:
        similarity = float(row["keyword_similarity"]), float(row["structural_similarity"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected similarities that are numbers, got {error}.") from error
    if not np.isfinite(similarity).all() or not (row["new_instruction"] or "").strip():
        raise DataError(f"{where}: expected words, and similarities that are finite, got {row}.")
    trial = met[task] % num_starts
    met[task] += 1
    kind = row["high"], row["mid"], row["low"]
    distance = 1 - (ALPHA * similarity[0] + (1 - ALPHA) * similarity[1])
    return Paraphrase(task, trial, row["new_instruction"], kind, distance)


@runtime_checkable
class OfKind(Protocol):
    """What a sample is to be even over."""

    @property
    def kind(self) -> tuple[str, ...]:
        """Of which kind it is."""
        ...


Row = TypeVar("Row", bound=OfKind)


def draw_evenly(rows: Sequence[Row], number: int) -> list[Row]:
    """`number` of `rows`, in their order, as even over their kinds as can be; a larger sample holds the smaller one."""
    order = np.random.default_rng(_SEED).permutation(len(rows))
    met = Counter[tuple[str, ...]]()
    ranked = []
    for place in order.tolist():
        ranked.append((met[rows[place].kind], len(ranked), place))
        met[rows[place].kind] += 1
    return [rows[place] for place in sorted(place for *_, place in sorted(ranked)[:number])]


@dataclass(frozen=True)
class ParaphraseScore:
    """What some of the rows came to."""

    name: str
    success: SuccessRate
    pride: float | None
    """0 to 100: success weighed by distance; None where nothing is at any distance."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": self.name, "success": self.success.to_dict(), "pride": self.pride}


def score_paraphrases(results: Iterable[EpisodeResult], rows: Sequence[Paraphrase]) -> list[ParaphraseScore]:
    """Of all rows that were played, then of each kind."""
    outcomes = {
        (result.task, result.trial, result.words): result.success
        for result in results
        if result.condition == PARAPHRASED and not result.error
    }
    played = [(row, outcomes[key]) for row in rows if (key := (row.task, row.trial, row.words)) in outcomes]
    kinds = dict.fromkeys((row.kind[0], row.kind[1]) for row, _ in played)
    return [
        _score("all", played),
        *(
            _score(
                f"{_PARTS.get(part, part)}, {how}",
                [each for each in played if each[0].kind[:2] == (part, how)],
            )
            for part, how in kinds
        ),
    ]


def _score(name: str, played: Sequence[tuple[Paraphrase, bool]]) -> ParaphraseScore:
    weight = sum(row.distance for row, _ in played)
    pride = 100 * sum(row.distance * success for row, success in played) / weight if weight > 0 else None
    return ParaphraseScore(name, SuccessRate(sum(success for _, success in played), len(played)), pride)


def render_paraphrases(scores: Sequence[ParaphraseScore], num_rows: int) -> str:
    """A Markdown table, with how many of the rows that are to be played it is of."""
    rows = [
        (score.name, score.success, "-" if score.pride is None else f"{score.pride:.1f}") for score in scores
    ]
    table = markdown_table(("said otherwise", "success (Wilson 95 %)", "PRIDE"), rows)
    return f"LIBERO-Para, {scores[0].success.episodes} of {num_rows} rows\n\n{table}"
