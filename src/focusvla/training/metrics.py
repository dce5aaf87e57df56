"""Metrics as JSON lines, one object a line: what was learned, which is the same after an interruption as without one,
and how fast."""

import contextlib
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch

from focusvla.storage import complete_lines, explained_storage_errors, replace_text
from focusvla.training.engine import Engine


class MetricsLog:
    """Appends to `metrics.jsonl`, and tells the trackers; a resumed run first drops the lines from its first step on."""

    def __init__(self, path: Path, first_step: int, engine: Engine):
        self._path = path
        self._engine = engine
        self._last_tracked = 0
        if not engine.is_main:
            return
        kept = [line for line in read_metrics(path) if line["step"] <= first_step]
        replace_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, *, step: int, **values: Any) -> None:
        """Append one line, in the main process; `step` counts the steps taken so far."""
        if not self._engine.is_main:
            return
        # Not forced to the disk as an episode's result is: what is lost with the machine's power is learned again.
        with explained_storage_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if step < self._last_tracked:  # of an earlier checkpoint, and trackers take no step back
            values, step = values | {"of_step": step}, self._last_tracked
        self._last_tracked = step
        self._engine.track(values, step)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics file by step, none if there is no file; a line cut off by a kill is not read."""
    text = path.read_text("utf-8") if path.exists() else ""
    return sorted((json.loads(line) for line in complete_lines(text)), key=lambda line: line["step"])


class Speed:
    """How fast steps were, since it was last asked."""

    def __init__(self, batch_size: int, device: torch.device):
        self._batch_size = batch_size
        self._device = device
        self._steps = 0
        self._seconds = self._waited = 0.0
        self._processor_seconds = time.process_time()

    def add(self, seconds: float, waited: float) -> None:
        """Take in a step that took `seconds`, `waited` of them for data."""
        self._steps += 1
        self._seconds += seconds
        self._waited += waited

    def metrics(self) -> dict[str, float]:
        """Samples a second over all processes, and of this process the share of time spent waiting for data, that in
        which the device was busy, and the peak memory in bytes: the accelerator's, or the process's on a CPU.

        A CPU is as busy as the threads that torch may use; a GPU as its driver says at this moment, if it is asked
        through the package nvidia-ml-py.
        """
        seconds = max(self._seconds, 1e-9)
        found = {
            "samples_per_second": self._steps * self._batch_size / seconds,
            "data_wait_share": self._waited / seconds,
        }
        if self._device.type == "cuda":
            found["peak_memory_bytes"] = torch.cuda.max_memory_allocated(self._device)
            # NVML, asked through a package, may be missing or not tell: of a part of a GPU (MIG), or in a container. Its
            # errors derive from Exception alone, in a package that need not be there.
            with contextlib.suppress(Exception):
                found["device_utilization"] = torch.cuda.utilization(self._device) / 100
        else:
            spent = time.process_time() - self._processor_seconds
            found["device_utilization"] = min(1.0, spent / seconds / torch.get_num_threads())
            found["peak_memory_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._steps = 0
        self._seconds = self._waited = 0.0
        self._processor_seconds = time.process_time()
        return {name: float(f"{value:.6g}") for name, value in found.items()}
