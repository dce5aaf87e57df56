"""The page of a study: what was asked, what each design reached, and which claims hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from focusvla.versions import versions
from focusvla.visualization.page import require_file, write_page


def write_study_page(output: Path, findings: Mapping[str, Any]) -> Path:
    """Write the page `output` from what a study's JSON holds, and return it.

    Raises:
        StorageError: `output` is a folder or cannot be written.
    """
    require_file(output, example="study.html")
    tasks = {(each["suite"], each["task"]) for row in findings["rows"].values() for each in row["tasks"]}
    rates = {
        name: {(each["suite"], each["task"]): each["rate"] for each in row["tasks"]}
        for name, row in findings["rows"].items()
    }
    return write_page(
        output,
        "study.html.jinja",
        styles=("report.css", "study.css"),
        findings=findings,
        tasks=sorted(tasks),
        rates=rates,
        written_with=versions(),
    )
