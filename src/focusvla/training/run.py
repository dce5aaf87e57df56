"""A run's folder: which experiment it is of."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from focusvla.checkpoint import checkpoint_steps, remove_unfinished
from focusvla.config import ExperimentConfig, TrainingConfig, config_from_dict
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.storage import explained_storage_errors, replace_json
from focusvla.training.optimization import learning_rate


def begin_run(
    run: Path, experiment: ExperimentConfig, on_remark: Callable[[str], None] = lambda text: None
) -> None:
    """Create the run's folder, or check that it is the same experiment's, perhaps with more steps than before, which
    is told with what it does to the learning rate.

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
            replace_json(file, described)
        remove_unfinished(run)
    try:
        # Fields that it lacks were added later, and have the values by which it was trained.
        begun = config_from_dict(ExperimentConfig, json.loads(file.read_text("utf-8")))
        found = json.loads(json.dumps(asdict(begun)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error}). Remove {run} and start anew.") from error
    differing = {
        f"{part}.{field}": f"{found[part][field]!r} there, {value!r} here"
        # What it runs on may change; weights matter to a start alone, which may have failed for lack of them.
        for part in ("model", "training")
        for field, value in described[part].items()
        if found[part][field] != value
    }
    if list(differing) == ["training.steps"] and experiment.training.steps > begun.training.steps:
        on_remark(_longer(run, begun.training, experiment.training))
        replace_json(file, described)
    elif differing:
        listed = "; ".join(f"{name}: {values}" for name, values in differing.items())
        raise ConfigurationError(
            f"run={run} was begun with other values ({listed}). Continue it with its own, of which --steps alone may be "
            "greater, or choose another folder."
        )


def _longer(run: Path, begun: TrainingConfig, config: TrainingConfig) -> str:
    """What a greater number of steps does to a run that has taken some already."""
    taken = max(checkpoint_steps(run), default=0)
    text = f"{run} was begun for {begun.steps} steps and goes on from step {taken} to {config.steps}. "
    before, after = learning_rate(begun, max(taken - 1, 0)), learning_rate(config, taken)
    if not taken:
        return text + "It has no checkpoint yet, so that this is a new run."
    if config.schedule != "cosine":
        return text + (
            f"Its schedule ({config.schedule}) does not depend on their number: it ends as if it had been begun for "
            f"{config.steps}."
        )
    return text + (
        f"The cosine now ends at step {config.steps}: the learning rate goes from {before:.3g} to {after:.3g} and falls "
        f"again, so that it is not the run that {config.steps} steps from the start would have been."
    )
