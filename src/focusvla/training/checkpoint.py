"""Checkpoints: a folder that is a model on its own, with the training state beside it for resuming.

    step-00000800/
    ├── config.json             the experiment: model, training, execution
    ├── model.safetensors       averaged weights, which policies use
    ├── spec.json               cameras, layouts, conventions, control rate
    ├── statistics.json         ranges of state and action, of each part of a mixture
    ├── versions.json           packages and commit
    ├── README.md               model card
    └── training.safetensors    of the weights that learn: their plain values and the optimizer's moments

A folder appears under its name only when it is complete. Nothing is ever pickled. Tensors are whole, however many
processes trained them, so a run goes on with any number.
"""

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from focusvla.config import ExperimentConfig
from focusvla.data.normalization import StatisticsByPart
from focusvla.data.storage import explained_storage_errors, publish_folder, require_free_space
from focusvla.errors import CheckpointError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.language import WordTokenizer
from focusvla.model.prompt import PromptTokenizer
from focusvla.policy import checkpoint_folder, checkpoint_step, checkpoint_steps
from focusvla.training.engine import Engine, assign, full
from focusvla.training.optimization import WeightAverage
from focusvla.versions import versions
from focusvla_client import Spec

_MOMENTS = ("exp_avg", "exp_avg_sq")


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
    size = sum(t.numel() * t.element_size() for tensors in (state, weights) for t in tensors.values())
    require_free_space(folder, size, "a checkpoint")
    with explained_storage_errors(folder), publish_folder(folder) as partial:
        save_file(state, partial / "training.safetensors")
        write_model(
            partial,
            experiment=experiment,
            weights=weights,
            tokenizer=model.tokenizer,
            spec=spec,
            statistics=statistics,
            origin=f"Trained for {step} of {experiment.training.steps} steps, batch {experiment.training.batch_size}, "
            f"seed {experiment.training.seed}.",
        )
    return folder


def write_model(
    folder: Path,
    *,
    experiment: ExperimentConfig,
    weights: Mapping[str, Tensor],
    tokenizer: WordTokenizer | PromptTokenizer | None,
    spec: Spec,
    statistics: StatisticsByPart,
    origin: str,
) -> None:
    """Fill a folder with what makes a checkpoint a model on its own; `origin` is the model card's first sentence."""
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    for name, values in {
        "config": asdict(experiment),
        "spec": spec.to_dict(),
        "statistics": statistics.to_dict(),
        "versions": versions(),
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(values, indent=2), "utf-8")
    if isinstance(tokenizer, PromptTokenizer):
        tokenizer.tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text(_model_card(experiment, spec, origin), "utf-8")


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


def restore_weights(folder: Path, model: FocusVLA) -> None:
    """Load the averaged weights that `save_checkpoint` saved, before `model` is divided among processes.

    Raises:
        CheckpointError: they are missing, damaged or of another model; nothing has been loaded.
    """
    path = folder / "model.safetensors"
    tensors = _load(path)
    _require_same(path, tensors, model.state_dict())
    model.load_state_dict(tensors)


def restore_training(folder: Path, model: FocusVLA, optimizer: torch.optim.Optimizer) -> None:
    """Load the rest, into a model that may be divided.

    Raises:
        CheckpointError: the state is missing, damaged or of another model; nothing has been loaded.
    """
    path = folder / "training.safetensors"
    tensors = _load(path)
    parameters = learning_parameters(model)
    expected = {f"{kind}.{name}": p for kind in ("weight", *_MOMENTS) for name, p in parameters.items()}
    _require_same(path, tensors, expected)
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


def remove_superseded(run: Path, num_kept: int, needed: Collection[int]) -> None:
    """Delete all checkpoints but the newest `num_kept` and those of the steps `needed`; 0 keeps all.

    Only the newest keeps the training state.
    """
    steps = checkpoint_steps(run)
    for step in steps[:-1]:
        (checkpoint_folder(run, step) / "training.safetensors").unlink(missing_ok=True)
    for step in steps[:-num_kept] if num_kept else []:
        if step not in needed:
            shutil.rmtree(checkpoint_folder(run, step))


def remove_unfinished(run: Path) -> None:
    """Delete what a killed process was writing."""
    for partial in (run / "checkpoints").glob(".*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _gathered(tensors: dict[str, Tensor], engine: Engine) -> dict[str, Tensor]:
    """Whole copies in the main process, nothing elsewhere."""
    found = {}
    for name, tensor in tensors.items():
        whole = full(tensor)
        if engine.is_main:
            found[name] = whole.detach().to("cpu", copy=True).contiguous()
    return found


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}). Remove {path.parent} to go on from an earlier step, or start anew."
        ) from error


def _require_same(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    wrong = sorted(set(expected) ^ set(found)) or sorted(
        name for name, tensor in found.items() if tensor.shape != expected[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path}: holds the state of another model, differing in {', '.join(wrong[:5])}"
            f"{f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''}. Train it with its own configuration."
        )


def _model_card(experiment: ExperimentConfig, spec: Spec, origin: str) -> str:
    model = experiment.model
    return f"""---
library_name: focusvla
pipeline_tag: robotics
---
# FocusVLA checkpoint

{origin} Vision encoder `{model.vision.encoder}`, {model.policy_head.attention} attention, \
{model.policy_head.num_kept_patches} of {model.num_patches} patches kept, {model.policy_head.gate} gate.

Cameras {", ".join(f"`{c.name}` {c.width}x{c.height}" for c in spec.cameras)}; actions `{spec.action_space}` at \
{spec.control_rate_hz:g} Hz in chunks of {model.chunk_length}.

Load it with `focusvla.policy.load_policy(folder)`; evaluate it with `focusvla evaluate --checkpoint FOLDER`.
"""
