"""Tables of results, and a comparison of two."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from focusvla.errors import ConfigurationError


def tables(
    results: tyro.conf.Positional[tuple[str, ...]],
    by: Literal["suite", "task"] = "suite",
    format: Annotated[Literal["markdown", "latex", "csv"], tyro.conf.arg(name="format")] = "markdown",
) -> None:
    """Print results as a table like the paper's, beside the paper's numbers where it has them.

    Example: focusvla tables paper=results/paper paper_mixed=results/mixed

    Several folders under one name are put together. Results of different protocols are refused.

    Args:
        results: Folders of evaluations, each as NAME=FOLDER or FOLDER, whose name is then the folder's; the name of a
            preset of Table 2 brings the paper's numbers.
        by: `suite` (Tables 1 and 2), or `task` (Table 4, one table per name).
        format: `csv` has a line per cell.
    """
    from focusvla.evaluation.tables import render, table_by_suite, table_by_task

    found = _read(results)
    made = [table_by_suite(found)] if by == "suite" else [table_by_task(r, name) for name, r in found.items()]
    _print("\n\n".join(render(table, format) for table in made))


def compare(first: Path, second: Path, /) -> None:
    """Tell whether two policies differ by more than chance on the episodes that both were evaluated on.

    Example: focusvla compare results/paper results/mixed

    Exact McNemar test on episodes of the same suite, task, trial and seed.

    Args:
        first: Folder of an evaluation.
        second: Folder of another policy's evaluation under the same protocol.
    """
    from focusvla.evaluation.results import read_results
    from focusvla.evaluation.tables import compare as run

    _print(run(*(read_results(folder / "results.jsonl") for folder in (first, second))))


def _print(text: object) -> None:
    Console(highlight=False, soft_wrap=True, markup=False).print(str(text))


def _read(results: Sequence[str]) -> dict[str, list]:
    from focusvla.evaluation.results import read_results

    found: dict[str, list] = {}
    for given in results:
        name, _, folder = given.rpartition("=")
        if given and not folder:
            raise ConfigurationError(f"results={given!r}: expected FOLDER or NAME=FOLDER. Name a folder.")
        found.setdefault(name or Path(folder).name, []).extend(read_results(Path(folder) / "results.jsonl"))
    return found
