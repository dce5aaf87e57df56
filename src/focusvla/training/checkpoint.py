"""What training adds to a checkpoint, so that a run goes on as if it had not been interrupted.

`training.safetensors` holds, of the weights that learn, their plain values and the optimizer's moments. Batches, noise
and learning rate are functions of the seed and the step, so there is no state of theirs. Tensors are whole, however many
processes trained them, so a run goes on with any number.
"""

import dataclasses
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from focusvla.checkpoint import (
    TRAINING,
    WEIGHTS,
    checkpoint_folder,
    checkpoint_step,
    load_weights,
    open_checkpoint,
    read_tokenizer,
    write_checkpoint,
)
from focusvla.config import ExperimentConfig
from focusvla.data.normalization import StatisticsByPart
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.language import NUM_SPECIAL_IDS, WordTokenizer
from focusvla.model.weights.files import load_parts, read_safetensors, require_matching
from focusvla.training.engine import Engine, assign, full
from focusvla.training.optimization import WeightAverage
from focusvla_client import Spec

_MOMENTS = ("exp_avg", "exp_avg_sq")
_EMBEDDINGS = "language_model.body.embed_tokens.weight"


def save_checkpoint(
    run: Path,
    step: int,
    *,
    experiment: ExperimentConfig,
    model: FocusVLA,
    average: WeightAverage,
    optimizer: torch.optim.Optimizer,
    spec: Spec,
    statistics: StatisticsByPart,
    engine: Engine,
) -> Path:
    """Write the checkpoint after `step` steps, in the main process; all processes have to call it.

    Raises:
        StorageError: the disk has too little space, which is found before anything is written, or the folder cannot be
            written; earlier checkpoints are untouched.
    """
    folder = checkpoint_folder(run, step)
    if folder.exists():  # the same step of the same run, finished before an interruption
        return folder
    state = _gathered(training_tensors(model, optimizer), engine)
    average.swap()
    weights = _gathered(model.state_dict(), engine)
    average.swap()
    if not engine.is_main:
        return folder
    write_checkpoint(
        folder,
        experiment=experiment,
        weights=weights,
        tokenizer=model.tokenizer,
        spec=spec,
        statistics=statistics,
        origin=f"Trained for {step} of {experiment.training.steps} steps, batch {experiment.training.batch_size}, "
        f"seed {experiment.training.seed}."
        + (f" Begun with what {begun} had learned." if (begun := experiment.weights.checkpoint) else ""),
        training=state,
    )
    return folder


def training_tensors(model: FocusVLA, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What a run needs to go on besides the averaged weights, by name; some may be divided among processes."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in learning_parameters(model).items():
        tensors[f"weight.{name}"] = parameter.detach()
        for moment in _MOMENTS:
            held = optimizer.state[parameter]
            tensors[f"{moment}.{name}"] = held[moment] if held else torch.zeros_like(parameter)
    return tensors


def learning_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that the optimizer changes, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def start_from(checkpoint: Path, model: FocusVLA) -> None:
    """Fill a new model with a trained one's averaged weights and what it standardizes features with. Words that both know
    keep their embeddings; the others keep the new model's.

    Raises:
        CheckpointError: there is no checkpoint, or a file of it is missing or damaged.
        ConfigurationError: it is of another model; what differs is listed.
    """
    found = open_checkpoint(checkpoint)
    known, wanted = found.experiment.model, model.config
    # Its words, how much of the encoder learns and what it is told of the state do not make another model.
    comparable = dataclasses.replace(
        known,
        ignored_state_dims=wanted.ignored_state_dims,
        language=dataclasses.replace(known.language, vocabulary=wanted.language.vocabulary),
        vision=dataclasses.replace(
            known.vision, trainable=wanted.vision.trainable, frozen_blocks=wanted.vision.frozen_blocks
        ),
    )
    if differing := list(_differences("model", comparable, wanted)):
        raise ConfigurationError(
            f"weights.checkpoint={checkpoint}: expected the same model, got another ({'; '.join(differing)}). Train with "
            "its values, or from nothing."
        )
    trained = found.load_model(known)
    tensors = trained.state_dict()
    if isinstance(model.tokenizer, WordTokenizer) and isinstance(trained.tokenizer, WordTokenizer):
        here, there = model.tokenizer.ids, trained.tokenizer.ids
        embeddings = model.state_dict()[_EMBEDDINGS].clone()
        embeddings[:NUM_SPECIAL_IDS] = tensors[_EMBEDDINGS][:NUM_SPECIAL_IDS]
        for word in here.keys() & there.keys():
            embeddings[here[word]] = tensors[_EMBEDDINGS][there[word]]
        tensors[_EMBEDDINGS] = embeddings
    else:
        model.tokenizer = trained.tokenizer
    load_parts(model, {name: {"": tensor} for name, tensor in tensors.items()}, checkpoint)


def _differences(name: str, there: Any, here: Any) -> Generator[str]:
    """The values in which two configurations differ, each by its full name."""
    if dataclasses.is_dataclass(there) and type(there) is type(here):
        for field in dataclasses.fields(there):
            yield from _differences(
                f"{name}.{field.name}", getattr(there, field.name), getattr(here, field.name)
            )
    elif there != here:
        yield f"{name}: {there!r} there, {here!r} here"


def restore_model(folder: Path, model: FocusVLA) -> None:
    """Load the averaged weights and the tokenizer, before `model` is divided among processes.

    Raises:
        CheckpointError: they are missing, damaged or of another model; nothing has been loaded.
    """
    with _told_the_way_on(folder):
        model.tokenizer = read_tokenizer(folder, model)
        load_weights(model, folder / WEIGHTS)


def restore_training(folder: Path, model: FocusVLA, optimizer: torch.optim.Optimizer) -> None:
    """Load the rest, into a model that may be divided.

    Raises:
        CheckpointError: the state is missing, damaged or of another model; nothing has been loaded.
    """
    path = folder / TRAINING
    parameters = learning_parameters(model)
    expected = {f"{kind}.{name}": p for kind in ("weight", *_MOMENTS) for name, p in parameters.items()}
    with _told_the_way_on(folder):
        tensors = read_safetensors(path)
        require_matching(expected, tensors, path)
    fill_training(parameters, optimizer, tensors, checkpoint_step(folder))


@torch.no_grad()
def fill_training(
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    step: int,
) -> None:
    """Copy what `training_tensors` names into parameters and the optimizer's state after `step` steps."""
    names = {parameter: name for name, parameter in parameters.items()}
    learning = (parameter for group in optimizer.param_groups for parameter in group["params"])
    state = optimizer.state_dict()
    for place, parameter in enumerate(learning):
        assign(parameter, tensors[f"weight.{names[parameter]}"])
        moments = {moment: torch.zeros_like(parameter) for moment in _MOMENTS}
        for moment, held in moments.items():
            assign(held, tensors[f"{moment}.{names[parameter]}"])
        state["state"][place] = {"step": torch.tensor(float(step)), **moments}
    optimizer.load_state_dict(state)  # which knows on which device its kernels want the step


@contextmanager
def _told_the_way_on(folder: Path) -> Generator[None]:
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} Or remove {folder}, and the run goes on from an earlier step."
        ) from error


def _gathered(tensors: dict[str, Tensor], engine: Engine) -> dict[str, Tensor]:
    """Whole copies in the main process, nothing elsewhere."""
    found = {}
    for name, tensor in tensors.items():
        whole = full(tensor)
        if engine.is_main:
            found[name] = whole.detach().to("cpu", copy=True).contiguous()
    return found
