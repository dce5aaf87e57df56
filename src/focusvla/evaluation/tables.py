"""Tables like the paper's from results files.

Results of different protocols never meet in one table.
"""

import csv
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from focusvla.errors import ConfigurationError
from focusvla.evaluation.agenda import all_axes, axis_of
from focusvla.evaluation.markdown import markdown_table
from focusvla.evaluation.results import (
    PARAPHRASED,
    PERTURBED,
    EpisodeResult,
    SuccessRate,
    clean_results,
    success_rate,
)
from focusvla.suites import clean_suite, clean_task, protocols, suites
from focusvla.suites.libero_plus import AXES, axis_of_perturbation
from focusvla.suites.published import Kind, PublishedScores

Format = Literal["markdown", "latex", "csv"]
Labeled = Mapping[str, Sequence[EpisodeResult]]
"""Results by the name that a table shows; a preset's name also finds the paper's numbers."""


@dataclass(frozen=True)
class Cell:
    """A measured success rate beside the paper's."""

    rate: SuccessRate | None
    """None where nothing was evaluated."""
    paper_percent: float | None = None
    clean: SuccessRate | None = None
    """What the rate is to be compared with: the same suite as it is."""

    @property
    def difference_percent(self) -> tuple[float, float, float] | None:
        """Rate minus clean in percentage points, with Newcombe's 95 % interval (hybrid score, 1998)."""
        if self.rate is None or self.clean is None:
            return None
        (low, high), (clean_low, clean_high) = self.rate.interval, self.clean.interval
        rate, clean = self.rate.rate, self.clean.rate
        below = math.hypot(rate - low, clean_high - clean)
        above = math.hypot(high - rate, clean - clean_low)
        return 100 * (rate - clean), 100 * (rate - clean - below), 100 * (rate - clean + above)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "success": self.rate and self.rate.to_dict(),
            "paper_percent": self.paper_percent,
            "difference_percent": self.difference_percent and list(self.difference_percent),
        }


@dataclass(frozen=True)
class Table:
    """Rows of cells under a heading."""

    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[Cell, ...]]
    beside: Mapping[str, str] = field(default_factory=dict)
    """By row, which of the paper's it is set beside, or why none."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": {name: [cell.to_dict() for cell in cells] for name, cells in self.rows.items()},
            "beside": dict(self.beside),
        }


def require_one_protocol(results: Labeled) -> str:
    """The protocol that all results share.

    Raises:
        ConfigurationError: there are none, or they were made under several protocols or ways of playing chunks; both are
            named.
    """
    found = {
        (_protocol_name(result), result.actions_per_inference, result.chunks): name
        for name, episodes in results.items()
        for result in episodes
    }
    if not found:
        raise ConfigurationError("results: expected at least one episode, got none. Run `focusvla evaluate`.")
    if len(found) > 1:
        listed = ", ".join(
            f"{name} with {protocol}, {', '.join([f'{steps} actions an inference', *filter(None, [chunks])])}"
            for (protocol, steps, chunks), name in found.items()
        )
        raise ConfigurationError(
            f"results: expected one protocol in a table, got {listed}. Make a table of each."
        )
    return next(iter(found))[0]


def _protocol_name(result: EpisodeResult) -> str:
    """Its name, and its revision if that is no longer the rules' newest."""
    newest = protocols().get(result.protocol)
    if newest is None or newest.revision == result.protocol_revision:
        return result.protocol
    return f"{result.protocol} (revision {result.protocol_revision}, now {newest.revision})"


def _published(found: Collection[str]) -> PublishedScores:
    """The tables of the benchmark that suites are of, empty if nobody has published any."""
    rows = (suites()[name].published for name in found if name in suites())
    return next((scores for scores in rows if scores), PublishedScores(protocol="", titles={}))


def _in_order(found: Collection[str]) -> list[str]:
    """Suites in the order of tables, those of packages that are not installed last."""
    return [*(name for name in suites() if name in found), *sorted(set(found) - set(suites()))]


def _title(suite: str) -> str:
    return _published([suite]).titles.get(suite, suite)


def kind_of(results: Sequence[EpisodeResult]) -> Kind | None:
    """Whether one policy played all of the paper's suites that are there, or each suite has its own, as one alone has.
    None if some share one and others do not, or there is none."""
    weights: dict[str, set[str]] = {}
    for result in results:
        if result.suite not in suites() or not suites()[result.suite].published:
            continue
        weights.setdefault(result.suite, set()).add(result.policy.weights)
    different = set().union(*weights.values())
    if len(different) == 1 and len(weights) > 1:
        return "single-weight"
    return "multi-weights" if different and len(different) == len(weights) else None


def table_by_suite(results: Labeled, *, with_paper_rows: bool = False) -> Table:
    """A row per policy, a column per suite and their mean (Tables 1 and 2).

    A preset's name brings the paper's numbers for it: those of Table 1's single weight if one policy played all suites;
    if each suite has its own, those of Table 1's multi-weights or of Table 2. `with_paper_rows` adds Table 1's other rows
    of the same kind.
    """
    protocol = require_one_protocol(results)
    rows: dict[str, tuple[Cell, ...]] = {}
    beside: dict[str, str] = {}
    found = {result.suite for episodes in results.values() for result in episodes if not result.condition}
    scores = _published(found)
    shown = _in_order(found | set(scores.titles))
    is_published = protocol == scores.protocol
    kinds: dict[str, Kind | None] = {name: kind_of(episodes) for name, episodes in results.items()}
    for name, episodes in results.items():
        row, beside_row = _row_of_paper(scores, name, kinds[name]) if is_published else (None, "")
        beside |= {name: beside_row} if beside_row else {}
        percent: dict[str, float] = dict(zip(scores.titles, row[0], strict=True)) if row else {}
        cells = [Cell(_rate(episodes, suite=suite), percent.get(suite)) for suite in shown]
        rows[name] = (*cells, _mean(cells, row and row[1]))
    for kind in scores.by_method if is_published and with_paper_rows else ():
        for method, row in scores.by_method[kind].items() if kind in kinds.values() else ():
            percent = dict(zip(scores.titles, row.percent, strict=True))
            cells = [Cell(None, percent.get(suite)) for suite in shown]
            rows[f"{method} ({row.parameters}, {kind})"] = (*cells, _mean(cells, row.average))
    titles = (*map(_title, shown), "Average")
    title = f"Success by suite, {protocol}: percent (successes/episodes, Wilson 95 %); ours / paper"
    return Table(title, titles, rows, beside)


def _row_of_paper(
    scores: PublishedScores, name: str, kind: Kind | None
) -> tuple[tuple[tuple[float, ...], float] | None, str]:
    """A preset's percent by suite and in the average, if the paper has them of policies of this kind, and a sentence."""
    if name not in scores.methods and name not in scores.by_preset:
        return None, ""
    if kind and name in scores.methods:
        row = scores.by_method[kind][scores.methods[name]]
        mean = sum(row.percent) / len(row.percent)
        printed = (
            "" if _rounded(mean) == row.average else f", which prints {row.average} as the mean, {mean:g}"
        )
        return (row.percent, row.average), f"Table 1, {scores.methods[name]}, {kind}{printed}"
    if kind == "multi-weights":
        percent = scores.by_preset[name]
        return (percent, _rounded(sum(percent) / len(percent))), "Table 2, multi-weights"
    measured = "one policy for all suites" if kind else "one for some suites and others for others"
    published = (
        "one policy for all suites or one each" if name in scores.methods else "a policy for each suite"
    )
    return None, f"none, since these episodes are of {measured}, the paper's of {published}"


def table_by_task(results: Sequence[EpisodeResult], name: str) -> Table:
    """A row per suite, a column per task and their mean (Table 4, which is of a policy for each suite)."""
    protocol = require_one_protocol({name: results})
    results = clean_results(results)
    shown = _in_order({result.suite for result in results})
    scores = _published(shown)
    num_tasks = 1 + max(result.task for result in results)
    rows = {}
    method = scores.methods.get(name, "")
    is_published = (
        protocol == scores.protocol and method in scores.by_task and kind_of(results) == "multi-weights"
    )
    for suite in shown:
        published = scores.by_task[method].get(suite) if is_published else None
        cells = [
            Cell(
                _rate(results, suite=suite, task=task),
                published[task] if published and task < len(published) else None,
            )
            for task in range(num_tasks)
        ]
        rows[_title(suite)] = (*cells, _mean(cells))
    columns = (*(str(task + 1) for task in range(num_tasks)), "Average")
    return Table(
        f"Success by task, {name}, {protocol}: percent (successes/episodes, Wilson 95 %); ours / paper",
        columns,
        rows,
        dict.fromkeys(rows, f"Table 4, {method}, multi-weights") if is_published else {},
    )


def table_of_robustness(results: Sequence[EpisodeResult]) -> Table:
    """A row per variant of LIBERO-PRO and per control, a column per suite: the rate, and that minus the clean one.

    A variant that costs nothing says little of a policy whose controls cost nothing: who acts alike without reading or
    seeing cannot be disturbed by other words or looks.
    """
    protocol = require_one_protocol({"": results})
    outcomes: dict[tuple[str, str], dict[tuple[int, int], bool]] = {}
    for result in results:
        if result.error or result.condition in (PARAPHRASED, PERTURBED):
            continue
        axis = axis_of(result.suite, result.condition), clean_suite(result.suite)
        task = clean_task(result.suite, result.task)
        outcomes.setdefault(axis, {})[task, result.trial] = result.success
    shown = [suite for suite in suites() if ("clean", suite) in outcomes]
    if not shown:
        known = ", ".join(name for name, row in suites().items() if row.variants)
        raise ConfigurationError(
            f"results: expected episodes of a clean suite ({known}), got none. Run `focusvla evaluate "
            "--robustness`."
        )

    def cell(axis: str, suite: str) -> Cell:
        """Of the episodes that were played clean as well, so that both rates are over the same tasks and trials."""
        clean, found = outcomes["clean", suite], outcomes.get((axis, suite), {})
        shared = clean.keys() & found.keys()
        rate = SuccessRate(sum(found[key] for key in shared), len(shared)) if shared else None
        beside = SuccessRate(sum(clean[key] for key in shared), len(shared))
        return Cell(rate, clean=None if axis == "clean" else beside)

    rows = {
        axis: tuple(cell(axis, suite) for suite in shown)
        for axis in all_axes()
        if any((axis, suite) in outcomes for suite in shown)
    }
    rows |= _perturbed_rows(results, shown)
    return Table(
        f"Robustness, {protocol}: percent (successes/episodes, Wilson 95 %; minus clean, Newcombe 95 %)",
        tuple(map(_title, shown)),
        rows,
    )


def _perturbed_rows(results: Sequence[EpisodeResult], shown: Sequence[str]) -> dict[str, tuple[Cell, ...]]:
    """Of LIBERO-Plus and LIBERO-Para, of which a start has many, so that no clean rate is over the same episodes."""
    found: dict[str, dict[str, list[EpisodeResult]]] = {}
    for result in results:
        if result.condition == PERTURBED:
            row = f"Plus: {AXES[axis_of_perturbation(result.perturbation)]}"
        elif result.condition == PARAPHRASED:
            row = "Para: other words"
        else:
            continue
        found.setdefault(row, {}).setdefault(result.suite, []).append(result)
    order = [f"Plus: {axis}" for axis in AXES.values()]
    names = [*(row for row in order if row in found), *(row for row in found if row not in order)]
    return {
        row: tuple(Cell(success_rate(found[row][suite]) if suite in found[row] else None) for suite in shown)
        for row in names
    }


def _rate(results: Sequence[EpisodeResult], suite: str, task: int | None = None) -> SuccessRate | None:
    chosen = [r for r in results if r.suite == suite and (task is None or r.task == task) and not r.condition]
    return success_rate(chosen) if chosen else None


def _mean(cells: Sequence[Cell], printed: float | None = None) -> Cell:
    """All episodes together, which is the mean of the cells where these hold equally many; none if a cell is empty.
    The paper's is what it printed, if that is given."""
    published = [cell.paper_percent for cell in cells if cell.paper_percent is not None]
    percent = None
    if len(published) == len(cells):
        percent = _rounded(sum(published) / len(published)) if printed is None else printed
    rates = [cell.rate for cell in cells if cell.rate is not None]
    if len(rates) < len(cells) or len({rate.episodes for rate in rates}) > 1:
        return Cell(None, percent)
    sums = (sum(getattr(rate, name) for rate in rates) for name in ("successes", "episodes", "broken"))
    return Cell(SuccessRate(*sums), percent)


def _rounded(percent: float) -> float:
    """To one decimal place, halves up as the paper does: 93.55 is 93.6."""
    return math.floor(10 * percent + 0.5 + 1e-9) / 10


def render(table: Table, style: Format) -> str:
    """The table as text; each cell is ours, and after a slash the paper's."""
    lines = [["", *table.columns]]
    lines += [[name, *(_text(cell) for cell in cells)] for name, cells in table.rows.items()]
    if style == "csv":
        return _csv(table)
    if style == "markdown":
        notes = _notes(table)
        rows = markdown_table(lines[0], lines[1:])
        return "\n".join([table.title, "", rows, *([""] if notes else []), *notes])
    escaped = [[cell.replace("_", r"\_").replace("%", r"\%") for cell in line] for line in lines]
    head, *body = [" & ".join(line) + r" \\" for line in escaped]
    caption = table.title.replace("_", r"\_").replace("%", r"\%")
    return "\n".join(
        [
            r"\begin{tabular}{l" + "c" * len(table.columns) + "}",
            rf"% {caption}",
            r"\hline",
            head,
            r"\hline",
            *body,
            r"\hline",
            r"\end{tabular}",
            *(f"% {note}" for note in _notes(table)),
        ]
    )


def _notes(table: Table) -> list[str]:
    """A sentence for each of the paper's rows, with ours beside it."""
    names: dict[str, list[str]] = {}
    for name, row in table.beside.items():
        names.setdefault(row, []).append(name)
    return [f"The paper's for {', '.join(ours)}: {row}." for row, ours in names.items()]


def _text(cell: Cell) -> str:
    ours = "-"
    if cell.rate is not None:
        low, high = cell.rate.interval
        counts = f"{cell.rate.successes}/{cell.rate.episodes}, {100 * low:.1f} to {100 * high:.1f}"
        if cell.rate.broken:
            counts += f", {cell.rate.broken} broken"
        if cell.difference_percent is not None:
            counts += "; {:+.1f}, {:+.1f} to {:+.1f}".format(*cell.difference_percent)
        ours = (
            f"{100 * cell.rate.rate:.1f} ({counts})"
            if cell.rate.episodes
            else f"- ({cell.rate.broken} broken)"
        )
    return ours if cell.paper_percent is None else f"{ours} / {cell.paper_percent:g}"


def _csv(table: Table) -> str:
    """A line per cell, so that no number must be taken out of a text."""
    text = io.StringIO()
    any_broken = any(cell.rate and cell.rate.broken for cells in table.rows.values() for cell in cells)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *(
                "row",
                "column",
                "successes",
                "episodes",
                "percent",
                "low_percent",
                "high_percent",
                "paper_percent",
            ),
            *(
                "difference_percent",
                "difference_low_percent",
                "difference_high_percent",
                "paper_row",
            ),
            *(["broken"] if any_broken else []),
        ]
    )
    for name, cells in table.rows.items():
        for column, cell in zip(table.columns, cells, strict=True):
            ours: list[object] = [""] * 5
            if cell.rate is not None:
                low, high = (round(100 * bound, 2) for bound in cell.rate.interval)
                ours = [cell.rate.successes, cell.rate.episodes, round(100 * cell.rate.rate, 2), low, high]
            paper = "" if cell.paper_percent is None else cell.paper_percent
            difference = [
                "" if value is None else round(value, 2) for value in cell.difference_percent or [None] * 3
            ]
            beside = "" if cell.paper_percent is None else table.beside.get(name, "")
            broken = [cell.rate.broken if cell.rate else ""] if any_broken else []
            writer.writerow([name, column, *ours, paper, *difference, beside, *broken])
    return text.getvalue().rstrip("\n")
