"""The report page's episode browser: what its script is given, as JSON beside it in the page."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from focusvla.evaluation.episodes import steps_per_frame
from focusvla.visualization.data_uris import read_video
from focusvla.visualization.episode_records import EpisodeRecord
from focusvla.visualization.focus_grids import FocusGrids

MAX_BYTES = 50_000_000
"""Of all episodes in a page: what a phone still opens."""


@dataclass(frozen=True)
class BrowserContents:
    """What the page's script shows."""

    episodes: tuple[Markup, ...]
    """JSON objects, failures first, safe inside a script element."""
    num_drawn: int
    """Episodes that have a video, on the page or not."""
    max_bytes: int
    """Of all episodes on the page."""

    @property
    def megabytes(self) -> float:
        """What the episodes add to the page."""
        return sum(len(episode) for episode in self.episodes) / 1e6


def browser_contents(
    records: Sequence[EpisodeRecord], num_drawn: int, max_bytes: int = MAX_BYTES
) -> BrowserContents:
    """As many of `records`, from the first on, as fit in `max_bytes`; failures before successes.

    Raises:
        DataError: a video cannot be read.
    """
    fitting: list[tuple[bool, Markup]] = []
    left = max_bytes
    for record in records:
        episode = htmlsafe_json_dumps(_to_json(record))
        left -= len(episode)
        if left < 0:
            break
        fitting.append((record.drawn.result.success, episode))
    fitting.sort(key=lambda each: each[0])
    return BrowserContents(tuple(episode for _, episode in fitting), num_drawn, max_bytes)


def _to_json(record: EpisodeRecord) -> dict[str, Any]:
    drawn, result, spec = record.drawn, record.drawn.result, record.drawn.spec
    return {
        "policy": drawn.contents.evaluation.policy,
        "starts": drawn.contents.evaluation.label,
        "start": drawn.start,
        "task": f"{result.suite} {result.task}",
        "instruction": result.instruction,
        "trial": result.trial,
        "success": result.success,
        "steps": result.steps,
        "controlRate": spec.control_rate_hz,
        "stepsPerFrame": steps_per_frame(spec.control_rate_hz),
        "asked": [*record.asked],
        "cameras": [camera.name for camera in spec.cameras],
        "video": _base64(read_video(drawn.video)),
        "actions": _curves(spec.action, record.actions),
        "states": _curves(spec.state, record.states),
        "focus": _focus(record.grids) if record.grids else None,
        "noFocusBecause": record.no_grids_because,
    }


def _focus(grids: FocusGrids) -> dict[str, Any]:
    inferences, layers, heads, patches = grids.attention.shape
    return {
        "cameras": grids.cameras,
        "rows": grids.rows,
        "columns": grids.columns,
        "seenSide": grids.seen_side,
        "layers": grids.layers,
        "shape": [inferences, layers, heads, patches],
        "attention": _base64(grids.attention.tobytes()),
        "kept": _base64(grids.kept.tobytes()),
    }


def _curves(names: Sequence[str], values: np.ndarray | None) -> list[dict[str, Any]]:
    """A curve per dimension, in four digits; what is not finite is left out of it."""
    if values is None:
        return []
    return [
        {"name": name, "values": [float(f"{v:.4g}") if math.isfinite(v) else None for v in column]}
        for name, column in zip(names, values.T.tolist(), strict=True)
    ]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
