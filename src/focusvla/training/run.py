"""A run's folder: which experiment it is of, and which of its checkpoints is the best."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from focusvla.config import ExperimentConfig, config_from_dict
from focusvla.data.normalization import StatisticsByPart
from focusvla.data.storage import explained_storage_errors, partial_path
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.policy import read_conventions
from focusvla.training.checkpoint import remove_unfinished
from focusvla_client import Spec


def begin_run(run: Path, experiment: ExperimentConfig) -> None:
    """Create the run's folder, or check that it is the same experiment's.

    Raises:
        ConfigurationError: it was begun with another model or training, whose differing values are listed.
        CheckpointError: its description cannot be read.
        StorageError: it cannot be written.
    """
    described = json.loads(json.dumps(asdict(experiment)))
    file = run / "experiment.json"
    with explained_storage_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            partial = partial_path(file)
            partial.write_text(json.dumps(described, indent=2), "utf-8")
            partial.replace(file)
        remove_unfinished(run)
    try:
        # Fields that it lacks were added later, and have the values by which it was trained.
        begun = config_from_dict(ExperimentConfig, json.loads(file.read_text("utf-8")))
        found = json.loads(json.dumps(asdict(begun)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error}). Remove {run} and start anew.") from error
    differing = [
        f"{part}.{field}: {found[part][field]!r} there, {value!r} here"
        # What it runs on may change; weights matter to a start alone, which may have failed for lack of them.
        for part in ("model", "training")
        for field, value in described[part].items()
        if found[part][field] != value
    ]
    if differing:
        raise ConfigurationError(
            f"run={run} was begun with other values ({'; '.join(differing)}). Continue it with its own, or choose "
            "another folder."
        )


def require_same_data(run: Path, checkpoint: Path, spec: Spec, statistics: StatisticsByPart) -> None:
    """Check that a run goes on with the data that it began with, by its conventions and the ranges that normalize it.

    Raises:
        ConfigurationError: it is other data, or it has changed since.
        CheckpointError: what the checkpoint says of its data cannot be read.
    """
    spec_of_run, statistics_of_run = read_conventions(checkpoint)
    found, here = statistics_of_run.to_dict(), statistics.to_dict()
    differing = [
        f"ranges of {name}" for name in sorted(found.keys() | here) if found.get(name) != here.get(name)
    ]
    if statistics_of_run.parts.keys() != statistics.parts.keys():
        differing = [f"statistics of {_named(statistics_of_run)} there, of {_named(statistics)} here"]
    differing += spec_of_run.differences(spec)
    if differing:
        raise ConfigurationError(
            f"data: expected what run={run} was begun with, got other data ({'; '.join(differing)}). Continue it with "
            "its own, unchanged, or choose another folder."
        )


def _named(statistics: StatisticsByPart) -> str:
    return ", ".join(name and f"part {name!r}" for name in statistics.parts) or "all data together"


def best_step(metrics: Iterable[dict[str, Any]], steps: Iterable[int]) -> int | None:
    """Which of `steps` has the best metrics: the highest success rate or, if none was evaluated, the lowest validation
    loss. The earliest of equal ones; None if nothing was measured.
    """
    known = set(steps)
    lines = [line for line in metrics if line["step"] in known]
    for name, sign in (("success_rate", -1), ("validation_loss", 1)):
        measured = [(sign * line[name], line["step"]) for line in lines if name in line]
        if measured:
            return min(measured)[1]
    return None
