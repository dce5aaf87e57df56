"""What is found out about a run's checkpoints, at once or while the training goes on, and which of them stay."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from focusvla.checkpoint import (
    best_step,
    checkpoint_folder,
    checkpoint_step,
    checkpoint_steps,
    remove_superseded,
)
from focusvla.training.engine import Engine
from focusvla.training.metrics import MetricsLog, read_metrics

OnCheckpoint = Callable[[Path], dict[str, Any] | Future[dict[str, Any]]]
"""Called in the main process with each new checkpoint, or again with one after which a run was interrupted. What it
returns, now or in the future, is written to the metrics, and a `success_rate` among it decides which checkpoint is the
best."""


class CheckpointMetrics:
    """In the main process; the others do nothing here."""

    def __init__(
        self, run: Path, metrics: MetricsLog, num_kept: int, engine: Engine, on_checkpoint: OnCheckpoint
    ):
        self._run, self._metrics, self._num_kept, self._engine = run, metrics, num_kept, engine
        self._on_checkpoint = on_checkpoint
        self._pending: dict[int, Future[dict[str, Any]]] = {}

    def begin_again(self) -> None:
        """Ask about the checkpoints of an interrupted run of which no success rate is known."""
        if self._engine.is_main:
            measured = {line["step"] for line in self._lines() if "success_rate" in line}
            for step in checkpoint_steps(self._run):
                if step not in measured:
                    self.begin(checkpoint_folder(self._run, step))

    def begin(self, checkpoint: Path) -> None:
        """Ask about a checkpoint."""
        if self._engine.is_main:
            found = self._on_checkpoint(checkpoint)
            step = checkpoint_step(checkpoint)
            if isinstance(found, Future):
                self._pending[step] = found
            else:
                self._note(step, found)
            self._remove_superseded()

    def collect(self, *, wait: bool = False) -> None:
        """Write down what is known by now or, if `wait`, all that was asked."""
        ended = [step for step, found in self._pending.items() if wait or found.done()]
        for step in ended:
            self._note(step, self._pending[step].result())
            del self._pending[step]
        if ended:
            self._remove_superseded()

    def _lines(self) -> list[dict[str, Any]]:
        return read_metrics(self._run / "metrics.jsonl")

    def _note(self, step: int, found: dict[str, Any]) -> None:
        if found and not any(line["step"] == step and found.keys() <= line.keys() for line in self._lines()):
            self._metrics.write(step=step, **found)

    def _remove_superseded(self) -> None:
        best = best_step(self._lines(), checkpoint_steps(self._run))
        remove_superseded(self._run, self._num_kept, {*self._pending, *([] if best is None else [best])})
