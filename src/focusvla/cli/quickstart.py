"""Demonstrate, train, evaluate and report, in that order, with the product's own commands.

The vision-blind baseline is trained and evaluated in a process of its own while the seeing policy trains.
"""

import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from focusvla.cli.commands import demonstrate, report, run_evaluation, run_training
from focusvla.config import DemonstrationConfig, EvaluationConfig
from focusvla.data.storage import explained_storage_errors, partial_path
from focusvla.errors import FocusVLAError, StorageError

TASKS = (2, 3, 4)
"""Salad dressing, bbq sauce, ketchup: bottles that stand in each other's scenes, so instruction and eyes both
matter."""


def quickstart(
    output: Path = Path("runs/quickstart"),
    tasks: tuple[int, ...] = TASKS,
    episodes_per_task: int = 28,
    steps: int = 1100,
    trials: int = 10,
) -> None:
    """Everything once, on this machine: demonstrations, two policies, three evaluations, a report page.

    Example: focusvla quickstart

    Took 26 minutes on two shared cores and downloads nothing. Interrupted, the same command goes on where it
    stopped.

    Args:
        output: Folder for all of it.
        tasks: Numbers of LIBERO-Object tasks.
        episodes_per_task: Demonstrations to record.
        steps: Optimizer steps of the seeing policy; the blind baseline takes as many.
        trials: Episodes per task and evaluation.
    """
    from focusvla.evaluation.results import success_rate
    from focusvla.presets import preset
    from focusvla.versions import versions

    console = Console(highlight=False, soft_wrap=True)
    with explained_storage_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    data = output / "demonstrations"
    runs = {name: output / name for name in ("mini", "mini_blind")}
    results = {name: output / "results" / name for name in ("standard", "wide", "wide_blind")}

    with _timed(output, "demonstrate"):
        demonstrate(
            data,
            DemonstrationConfig(
                tasks=tasks, episodes_per_task=episodes_per_task, image_size=128, mesh_cell_meters=0.004
            ),
        )
    blind = _Background(
        output / "mini_blind.log",
        [
            *("train", "mini_blind", "--data", data, "--output", runs["mini_blind"]),
            *("--steps", steps, "--threads", 1),
        ],
        [
            *("evaluate", "--checkpoint", runs["mini_blind"], "--output", results["wide_blind"]),
            *(
                "--protocol",
                "libero_wide",
                "--tasks",
                *tasks,
                "--trials",
                trials,
                "--workers",
                1,
                "--no-videos",
            ),
        ],
    )
    experiment = preset("mini")
    experiment = dataclasses.replace(
        experiment, training=dataclasses.replace(experiment.training, steps=steps, threads=1)
    )
    try:
        with _timed(output, "train"):
            run_training(experiment, data, runs["mini"], None, label="training")
            blind.wait()
    finally:
        blind.stop()

    def config(protocol: str, videos: bool = True) -> EvaluationConfig:
        return EvaluationConfig(tasks=tasks, protocol=protocol, trials=trials, videos=videos)

    with _timed(output, "evaluate"):
        found = {
            "standard": run_evaluation(
                runs["mini"], results["standard"], config("libero_openvla"), "standard"
            ),
            "wide": run_evaluation(runs["mini"], results["wide"], config("libero_wide"), "widened"),
            "wide_blind": run_evaluation(
                runs["mini_blind"],
                results["wide_blind"],
                config("libero_wide", videos=False),
                "widened, blind",
            ),
        }
    page = output / "report.html"
    with _timed(output, "report"):
        report(page, tuple(runs.values()), tuple(results.values()), data, title="FocusVLA quickstart")
    summary = {
        "tasks": {result.task: result.instruction for result in found["standard"]},
        **{name: success_rate(outcome).to_dict() for name, outcome in found.items()},
        "minutes": {stage: round(seconds / 60, 2) for stage, seconds in _read_seconds(output).items()},
        "versions": versions(),
        "report": str(page),
    }
    _write_json(output / "summary.json", summary)
    for name, label in (
        ("standard", "standard starts"),
        ("wide", "widened starts"),
        ("wide_blind", "widened starts, vision-blind baseline"),
    ):
        console.print(f"{label}: {success_rate(found[name])}")
    console.print(f"summary: {output / 'summary.json'}")
    console.print(f"report: {page}")


class _Background:
    """`focusvla` commands, one after the other, in processes of their own, their output in a file."""

    def __init__(self, log: Path, *commands: list[Any]):
        self._log = log
        self._commands = [[sys.executable, "-m", "focusvla", *map(str, command)] for command in commands]
        self._process: subprocess.Popen[bytes] | None = None
        self._code = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._log.open("w") as file:
            for command in self._commands:
                if self._code == 0 and not self._stopped:
                    self._process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
                    self._code = self._process.wait()

    def wait(self) -> None:
        """Let them finish.

        Raises:
            FocusVLAError: one failed; the message is its own.
        """
        self._thread.join()
        if self._code != 0:
            lines = self._log.read_text("utf-8").strip().splitlines()
            message = lines[-1] if lines else "no message"
            raise FocusVLAError(f"the baseline stopped with code {self._code}: {message} (see {self._log})")

    def stop(self) -> None:
        """End what still runs."""
        self._stopped = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        self._thread.join()


@contextmanager
def _timed(output: Path, stage: str) -> Iterator[None]:
    """Add the block's duration to what earlier, interrupted runs spent on the stage."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds = _read_seconds(output)
        seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - began
        _write_json(output / "seconds.json", seconds)


def _read_seconds(output: Path) -> dict[str, float]:
    path = output / "seconds.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    try:
        partial = partial_path(path)
        partial.write_text(json.dumps(values, indent=2), "utf-8")
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}).") from error
