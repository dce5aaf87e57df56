"""`quickstart --train`: demonstrate, train, evaluate and report, in that order, with the product's own commands.

The vision-blind baseline is trained and evaluated in a process of its own while the seeing policy trains; two of the
three evaluations run beside each other.
"""

import dataclasses
import json
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from focusvla.child_commands import start_command, wait_for
from focusvla.cli.demonstrations import demonstrate
from focusvla.cli.evaluation import run_evaluation
from focusvla.cli.output import say
from focusvla.cli.report import report
from focusvla.cli.training import DataChoice, run_training
from focusvla.config import DemonstrationConfig, EvaluationConfig
from focusvla.errors import FocusVLAError


def learn_and_play(
    output: Path, tasks: tuple[int, ...], episodes_per_task: int, steps: int, trials: int
) -> None:
    """Do everything once, with a seeing policy and a blind one; called again, it goes on where it stopped."""
    from focusvla.evaluation.results import success_rate
    from focusvla.presets import preset
    from focusvla.storage import explained_storage_errors, replace_json
    from focusvla.versions import versions

    with explained_storage_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    data = output / "demonstrations"
    runs = {name: output / name for name in ("mini", "mini_blind")}
    results = {name: output / "results" / name for name in ("standard", "wide", "wide_blind")}

    with _timed(output, "demonstrate"):
        demonstrate(
            data,
            DemonstrationConfig(
                tasks=tasks,
                episodes_per_task=episodes_per_task,
                image_size=128,
                mesh_cell_meters=0.004,
                steps_per_picture=4,
                undisplaced_share=0.25,
            ),
        )
    evaluation = EvaluationConfig(tasks=tasks, protocol="libero_openvla", trials=trials, workers=1)
    wide = dataclasses.replace(evaluation, protocol="libero_wide")

    def evaluate_command(run: str, name: str, config: EvaluationConfig) -> list[Any]:
        return [
            *("evaluate", "--checkpoint", runs[run], "--output", results[name], "--workers", config.workers),
            *("--protocol", config.protocol, "--tasks", *tasks, "--trials", trials),
        ]

    experiment = preset("mini")
    experiment = dataclasses.replace(
        experiment,
        training=dataclasses.replace(experiment.training, steps=steps),
        execution=dataclasses.replace(experiment.execution, threads=1),
    )
    with (
        _timed(output, "train"),
        _background(
            output / "mini_blind.log",
            [
                *("train", "mini_blind", "--data", data, "--output", runs["mini_blind"]),
                *("--steps", steps, "--threads", 1),
            ],
            evaluate_command("mini_blind", "wide_blind", wide),
        ),
    ):
        run_training(experiment, DataChoice(data=(str(data),)), runs["mini"])
    with (
        _timed(output, "evaluate"),
        _background(output / "standard.log", evaluate_command("mini", "standard", evaluation)),
    ):
        run_evaluation(runs["mini"], results["wide"], wide, "widened")
    found = {
        "standard": run_evaluation(runs["mini"], results["standard"], evaluation, "standard"),
        "wide": run_evaluation(runs["mini"], results["wide"], wide, "widened"),
        "wide_blind": run_evaluation(runs["mini_blind"], results["wide_blind"], wide, "widened, blind"),
    }
    page = output / "report.html"
    with _timed(output, "report"):
        report(
            page, tuple(runs.values()), tuple(map(str, results.values())), data, title="FocusVLA quickstart"
        )
    summary = {
        "tasks": {result.task: result.instruction for result in found["standard"]},
        **{name: success_rate(outcome).to_dict() for name, outcome in found.items()},
        "minutes": {stage: round(seconds / 60, 2) for stage, seconds in _read_seconds(output).items()},
        "versions": versions(),
        "report": str(page),
    }
    replace_json(output / "summary.json", summary)
    for name, label in (
        ("standard", "standard starts"),
        ("wide", "widened starts"),
        ("wide_blind", "widened starts, vision-blind baseline"),
    ):
        say(f"{label}: {success_rate(found[name])}")
    say(f"summary: {output / 'summary.json'}")
    say(f"report: {page}")


@contextmanager
def _background(log: Path, *commands: list[Any]) -> Generator[None]:
    """Run `focusvla` commands, one after the other, in a process of their own beside the block and to their end.

    Raises:
        FocusVLAError: one failed; the message is its own.
    """
    codes: list[int] = []
    stopped = threading.Event()
    processes: list[subprocess.Popen[bytes]] = []

    def run() -> None:
        with log.open("wb") as file:
            for command in commands:
                if not any(codes) and not stopped.is_set():
                    processes.append(start_command(list(map(str, command)), file))
                    codes.append(wait_for(processes[-1]))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
        thread.join()
    finally:
        stopped.set()
        for process in processes:
            if process.poll() is None:
                process.terminate()
        thread.join()
    if any(codes):
        said = log.read_text("utf-8").strip().splitlines() or ["no message"]
        raise FocusVLAError(
            f"a process beside this one stopped with code {codes[-1]}: {said[-1]} (see {log})"
        )


@contextmanager
def _timed(output: Path, stage: str) -> Generator[None]:
    """Add the block's duration to what earlier, interrupted runs spent on the stage."""
    from focusvla.storage import replace_json

    began = time.monotonic()
    try:
        yield
    finally:
        seconds = _read_seconds(output)
        seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - began
        replace_json(output / "seconds.json", seconds)


def _read_seconds(output: Path) -> dict[str, float]:
    path = output / "seconds.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}
