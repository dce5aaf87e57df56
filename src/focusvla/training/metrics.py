"""Metrics as JSON lines, one object a line, the same after an interruption as without one."""

import json
from pathlib import Path
from typing import Any

from focusvla.data.storage import complete_lines, explained_storage_errors, partial_path


class MetricsLog:
    """Appends to `metrics.jsonl`; a resumed run first drops the lines from its first step on."""

    def __init__(self, path: Path, first_step: int):
        self._path = path
        with explained_storage_errors(path):
            kept = [line for line in read_metrics(path) if line["step"] <= first_step]
            partial = partial_path(path)
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
            partial.replace(path)

    def write(self, **values: Any) -> None:
        """Append one line; `step` counts the steps taken so far."""
        with explained_storage_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics file, none if there is no file; a line cut off by a kill is not
    read."""
    text = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(line) for line in complete_lines(text)]
