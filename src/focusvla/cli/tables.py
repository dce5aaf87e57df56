"""Tables of results, and a comparison of two."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from focusvla.cli.named_folders import named_folder
from focusvla.cli.output import AsJson, console, say, say_json


def tables(
    results: tyro.conf.Positional[tuple[str, ...]],
    by: Literal["suite", "task", "robustness", "robotwin"] = "suite",
    format: Annotated[Literal["markdown", "latex", "csv"], tyro.conf.arg(name="format")] = "markdown",
    paper_rows: bool = False,
    trials: int = 100,
    as_json: AsJson = False,
) -> None:
    """Print results as tables like the paper's, beside its numbers where it has them.

    Example: focusvla tables paper=results/paper paper_mixed=results/mixed

    Several folders under one name are put together. Results of different protocols are refused. With --json:
    {"tables": [TABLE]}, a TABLE being {"title", "columns": [NAME], "rows": {NAME: [CELL]}, "beside": {NAME: row of the
    paper}} and a CELL {"success": RATE as of `focusvla evaluate` or null, "paper_percent", "difference_percent":
    [difference, low, high]}; where folders are unfinished, "unfinished": [SENTENCE] as well.

    Args:
        results: Folders of evaluations, each as NAME=FOLDER or FOLDER, whose name is then the folder's; the name of a
            preset of Tables 1 and 2 brings the paper's numbers: Table 1's of a single weight where one policy played all
            suites, of multi-weights where each suite has its own.
        by: `suite` (Tables 1 and 2), `task` (Table 4, one table per name), `robustness` (variants and controls against
            the clean suites, one table per name), or `robotwin` (Table 5, of RoboTwin's folders eval_result).
        format: `csv` has a line per cell.
        paper_rows: Whether to add the other policies of Table 1, or of Table 5.
        trials: Episodes of each run of RoboTwin.
    """
    from focusvla.evaluation.tables import render, table_by_suite, table_by_task, table_of_robustness

    found, missing = ({}, {}) if by == "robotwin" else _read_named(results)
    if by == "suite":
        made = [table_by_suite(found, with_paper_rows=paper_rows)]
    elif by == "task":
        made = [table_by_task(episodes, name) for name, episodes in found.items()]
    elif by == "robustness":
        made = [table_of_robustness(episodes) for episodes in found.values()]
    else:
        made = _of_robotwin(results, trials, paper_rows)
    if as_json:
        say_json({"tables": [table.to_dict() for table in made], **missing})
    else:
        say("\n\n".join(render(table, format) for table in made))
        _say_unfinished(missing)


def mcnemar(first: Path, second: Path, /, as_json: AsJson = False) -> None:
    """Tell whether two policies differ by more than chance on the same episodes.

    Example: focusvla mcnemar results/paper results/mixed

    Exact McNemar test on episodes of the same suite, task, trial and seed. With --json: numbers of episodes {"both",
    "only_first", "only_second", "neither"} solved, and "p_value"; where folders are unfinished, "unfinished": [SENTENCE]
    as well.

    Args:
        first: Folder of an evaluation.
        second: Folder of another policy's evaluation under the same protocol.
    """
    from focusvla.evaluation.matched import match_outcomes

    episodes, missing = _read((first, second))
    outcomes = match_outcomes(*episodes)
    if as_json:
        say_json({**asdict(outcomes), "p_value": outcomes.p_value, **missing})
    else:
        say(str(outcomes))
        _say_unfinished(missing)


def merge(folders: tyro.conf.Positional[tuple[Path, ...]], output: Path, as_json: AsJson = False) -> None:
    """Put the parts of an evaluation that several hosts played into one folder.

    Example: focusvla merge results/part-0 results/part-1 --output results/all

    An episode that is in two parts is counted once, and refused if it came out differently. With --json: {"results":
    FOLDER, "episodes": NUMBER, "planned": NUMBER}, fewer than planned if a part is missing or unfinished.

    Args:
        folders: Folders of `focusvla evaluate --num-shards`, all of one policy and protocol.
        output: Folder of the whole, which must not exist yet.
    """
    from focusvla.evaluation.merge import merge_evaluations

    found, planned = merge_evaluations(folders, output)
    if as_json:
        say_json({"results": str(output), "episodes": found, "planned": planned})
    else:
        missing = f" of about {planned}: a part is missing or unfinished" if found < planned else ""
        say(f"{found} episodes in {output}{missing}")


def _read(folders: Iterable[Path]) -> tuple[list[list[Any]], dict[str, list[str]]]:
    """The episodes in each folder, and an entry of a JSON document with a sentence for each folder that lacks some; none
    if all are complete."""
    from focusvla.evaluation.results import read_results, unfinished

    read = [(folder, read_results(folder / "results.jsonl")) for folder in folders]
    missing = [sentence for folder, episodes in read if (sentence := unfinished(folder, episodes))]
    return [episodes for _, episodes in read], {"unfinished": missing} if missing else {}


def _say_unfinished(missing: Mapping[str, list[str]]) -> None:
    """On standard error, where no table is."""
    for sentence in missing.get("unfinished", ()):
        console(stderr=True).print(f"unfinished: {sentence}", soft_wrap=True)


def _read_named(results: Sequence[str]) -> tuple[dict[str, list[Any]], dict[str, list[str]]]:
    """As `_read`, the episodes of each name put together."""
    from focusvla.evaluation.results import join_results

    named = [named_folder(given, "results") for given in results]
    read, missing = _read(folder for _, folder in named)
    found: dict[str, list[list[Any]]] = {}
    for (name, _), episodes in zip(named, read, strict=True):
        found.setdefault(name, []).append(episodes)
    return {name: join_results(parts) for name, parts in found.items()}, missing


def _of_robotwin(results: Sequence[str], trials: int, paper_rows: bool) -> list[Any]:
    from focusvla.errors import DataError
    from focusvla.evaluation.robotwin import POLICY, read_results, table_of_robotwin

    made = []
    for given in results:
        _, folder = named_folder(given, "results")
        runs = read_results(folder, trials)
        if not runs:
            raise DataError(f"{folder}: expected TASK/{POLICY}/CONFIG/CKPT/TIME/_result.txt, found none.")
        checkpoints = sorted({checkpoint for _, _, checkpoint in runs})
        made += [table_of_robotwin(runs, each, with_paper_rows=paper_rows) for each in checkpoints]
    return made
