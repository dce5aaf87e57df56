"""What recordings share that go on where a killed process stopped: what is noted of an episode, and the folder in
which finished episodes wait for the rest."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from focusvla.data.normalization import SMALLEST_RANGE, untouched_dimensions
from focusvla.data.storage import complete_lines, explained_storage_errors, partial_path
from focusvla.errors import ConfigurationError
from focusvla_client import Observer, Spec

REJECTED = "rejected.jsonl"
"""A line per attempt that was not kept."""


@dataclass
class Recorder(Observer):
    """Notes what a wrapped simulated environment shows when each action is chosen; pictures are drawn later."""

    snapshots: list[np.ndarray] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)

    def on_action(self, environment: Any, action: np.ndarray) -> None:
        self.snapshots.append(environment.environment.snapshot())
        self.states.append(environment.observe(()).state)
        self.actions.append(action)


def holds_a_switch(action: Float[np.ndarray, "steps action"], spec: Spec) -> bool:
    """Whether a gripper that obeys the sign alone is told 0, which no policy can answer: nearly 0 opens or closes it."""
    return bool((np.abs(action[:, untouched_dimensions(spec)]) < SMALLEST_RANGE).any())


def open_staging(staging: Path, described: dict[str, Any]) -> None:
    """Make the folder, or check that it is that of an interrupted recording of the same.

    Raises:
        ConfigurationError: it is that of another; the message lists what differs.
        StorageError: it cannot be written.
    """
    file = staging / "collection.json"
    with explained_storage_errors(staging):
        (staging / "episodes").mkdir(parents=True, exist_ok=True)
        if not file.exists():
            replace_text(file, json.dumps(described, indent=2))
        found = json.loads(file.read_text("utf-8"))
    differing = [key for key in described if found.get(key) != described[key]]
    if differing:
        raise ConfigurationError(
            f"{staging} holds an unfinished recording with other values of {', '.join(differing)} "
            f"({', '.join(f'{found.get(key)!r} there, {described[key]!r} here' for key in differing)}). "
            "Continue it with its own values, remove it, or choose another folder."
        )


def note_rejected(staging: Path, attempt: dict[str, Any]) -> None:
    """Add a line to the rejected attempts."""
    lines = [*_lines(staging / REJECTED), json.dumps(attempt)]
    replace_text(staging / REJECTED, "".join(line + "\n" for line in lines))


def read_rejected(staging: Path) -> list[dict[str, Any]]:
    """What `note_rejected` has noted."""
    return [json.loads(line) for line in _lines(staging / REJECTED)]


def replace_text(path: Path, text: str) -> None:
    """Write a file that holds the text before or the new one, whenever the process is killed.

    Raises:
        StorageError: it cannot be written.
    """
    with explained_storage_errors(path):
        partial_path(path).write_text(text, "utf-8")
        partial_path(path).replace(path)


def _lines(path: Path) -> list[str]:
    return complete_lines(path.read_text("utf-8")) if path.exists() else []
