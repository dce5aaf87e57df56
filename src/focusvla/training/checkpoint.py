"""Checkpoints: a folder that is a model on its own, with the training state beside it for resuming.

    step-00000800/
    ├── config.json             the experiment: model and training
    ├── model.safetensors       averaged weights, which policies use
    ├── spec.json               cameras, layouts, conventions, control rate
    ├── statistics.json         ranges of state and action
    ├── versions.json           packages and commit
    ├── README.md               model card
    └── training.safetensors    plain weights and optimizer moments

A folder appears under its name only when it is complete. Nothing is ever pickled.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from focusvla.config import ExperimentConfig
from focusvla.data.normalization import Statistics
from focusvla.data.storage import explained_storage_errors, publish_folder
from focusvla.errors import CheckpointError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.prompt import PromptTokenizer
from focusvla.policy import checkpoint_folder, checkpoint_step, checkpoint_steps
from focusvla.training.optimization import WeightAverage
from focusvla.versions import versions
from focusvla_client import Spec


def save_checkpoint(
    run: Path,
    step: int,
    *,
    experiment: ExperimentConfig,
    model: FocusVLA,
    average: WeightAverage,
    optimizer: torch.optim.Optimizer,
    spec: Spec,
    statistics: Statistics,
) -> Path:
    """Write the checkpoint after `step` steps; older ones lose their training state.

    Raises:
        StorageError: the disk is full or the folder cannot be written; earlier checkpoints are untouched.
    """
    folder = checkpoint_folder(run, step)
    if folder.exists():  # the same step of the same run, finished before an interruption
        return folder
    with explained_storage_errors(folder), publish_folder(folder) as partial:
        _save(
            _model_tensors(model) | _optimizer_tensors(optimizer, average), partial / "training.safetensors"
        )
        average.swap()
        _save(model.state_dict(), partial / "model.safetensors")
        average.swap()
        for name, values in {
            "config": asdict(experiment),
            "spec": spec.to_dict(),
            "statistics": statistics.to_dict(),
            "versions": versions(),
        }.items():
            (partial / f"{name}.json").write_text(json.dumps(values, indent=2), "utf-8")
        if isinstance(model.tokenizer, PromptTokenizer):
            model.tokenizer.tokenizer.save(str(partial / "tokenizer.json"))
        (partial / "README.md").write_text(_model_card(experiment, spec, step), "utf-8")
    for older in checkpoint_steps(run):
        if older < step:
            (checkpoint_folder(run, older) / "training.safetensors").unlink(missing_ok=True)
    return folder


def restore_training(
    folder: Path, model: FocusVLA, average: WeightAverage, optimizer: torch.optim.Optimizer
) -> int:
    """Load what `save_checkpoint` saved and return the step to go on with.

    Raises:
        CheckpointError: the state is missing, damaged or of another model; nothing has been loaded.
    """
    path = folder / "training.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}). Remove {folder} to go on from an earlier step, or start anew."
        ) from error
    expected = _model_tensors(model)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    expected |= {
        f"optimizer.{i}.{key}": p for i, p in enumerate(parameters) for key in ("exp_avg", "exp_avg_sq")
    }
    expected |= {f"average.{i}": value for i, value in enumerate(average.values)}
    wrong = sorted(set(expected) ^ set(tensors)) or sorted(
        name for name, tensor in tensors.items() if tensor.shape != expected[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path}: holds the state of another model, differing in {', '.join(wrong[:5])}"
            f"{f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''}. Train it with its own configuration."
        )
    step = checkpoint_step(folder)
    model.load_state_dict(
        {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    )
    for index, parameter in enumerate(parameters):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[f"optimizer.{index}.exp_avg"],
            "exp_avg_sq": tensors[f"optimizer.{index}.exp_avg_sq"],
        }
    for index, value in enumerate(average.values):
        value.copy_(tensors[f"average.{index}"])
    return step


def remove_unfinished(run: Path) -> None:
    """Delete what a killed process was writing."""
    for partial in (run / "checkpoints").glob(".*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _model_tensors(model: FocusVLA) -> dict[str, torch.Tensor]:
    return {f"model.{name}": tensor for name, tensor in model.state_dict().items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer, average: WeightAverage) -> dict[str, torch.Tensor]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    tensors = {f"average.{index}": value for index, value in enumerate(average.values)}
    for index, parameter in enumerate(parameters):
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"optimizer.{index}.{key}"] = optimizer.state[parameter][key]
    return tensors


def _model_card(experiment: ExperimentConfig, spec: Spec, step: int) -> str:
    model = experiment.model
    return f"""---
library_name: focusvla
pipeline_tag: robotics
---
# FocusVLA checkpoint

Trained for {step} of {experiment.training.steps} steps, batch {experiment.training.batch_size}, \
seed {experiment.training.seed}. Vision encoder `{model.vision.encoder}`, {model.policy_head.attention} attention, \
{model.policy_head.num_kept_patches} of {model.num_patches} patches kept, {model.policy_head.gate} gate.

Cameras {", ".join(f"`{c.name}` {c.width}x{c.height}" for c in spec.cameras)}; actions `{spec.action_space}` at \
{spec.control_rate_hz:g} Hz in chunks of {model.chunk_length}.

Load it with `focusvla.policy.load_policy(folder)`; evaluate it with `focusvla evaluate --checkpoint FOLDER`.
"""
