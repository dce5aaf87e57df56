"""What recordings in a simulator share: what is noted of attempts that were not kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from focusvla.data.normalization import SMALLEST_RANGE, untouched_dimensions
from focusvla.storage import complete_lines, replace_text
from focusvla_client import Spec

REJECTED = "rejected.jsonl"
"""A line per attempt that was not kept."""


def holds_a_switch(action: Float[np.ndarray, "steps action"], spec: Spec) -> bool:
    """Whether a gripper that obeys the sign alone is told 0, which no policy can answer: nearly 0 opens or closes it."""
    return bool((np.abs(action[:, untouched_dimensions(spec)]) < SMALLEST_RANGE).any())


def note_rejected(staging: Path, attempt: dict[str, Any]) -> None:
    """Add a line to the rejected attempts."""
    lines = [*_lines(staging / REJECTED), json.dumps(attempt)]
    replace_text(staging / REJECTED, "".join(line + "\n" for line in lines))


def read_rejected(staging: Path) -> list[dict[str, Any]]:
    """What `note_rejected` has noted."""
    return [json.loads(line) for line in _lines(staging / REJECTED)]


def _lines(path: Path) -> list[str]:
    return complete_lines(path.read_text("utf-8")) if path.exists() else []
