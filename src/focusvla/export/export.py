"""Exporting a checkpoint: a folder that needs nothing of focusvla, published only when it answers as the policy does.

export/
├── policy.pt2 (or policy.onnx)  the whole policy, normalization included
├── policy.json                  inputs, outputs, conventions, tokenizer, what the check found, versions
├── run.py                       loads and asks it; needs numpy, and torch or onnxruntime
└── tokenizer.json               only with Qwen2.5's
"""

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from focusvla.checkpoint import open_checkpoint
from focusvla.config import AS_STORED, GivenPictures
from focusvla.export import run
from focusvla.export.check import TOLERANCE, draw_questions, require_equal_answers
from focusvla.export.description import describe_policy
from focusvla.export.graph import BATCH, TOKENS, export_program, open_dimensions
from focusvla.export.onnx import require_onnx, save_onnx
from focusvla.model.prompt import PromptTokenizer
from focusvla.policy import FocusVLAPolicy, load_policy
from focusvla.storage import publish_folder
from focusvla.versions import versions

_FILES = {"torch": "policy.pt2", "onnx": "policy.onnx"}


@dataclass(frozen=True)
class Export:
    """What was written."""

    file: Path
    difference: float
    """Greatest difference from the checkpoint's actions, as a share of half the range of an action's dimension."""
    num_observations: int
    """Random observations that were compared."""


def export_policy(
    checkpoint: Path,
    output: Path,
    format: Literal["torch", "onnx"],
    statistics: str | None = None,
    pictures: GivenPictures = AS_STORED,
) -> Export:
    """Export the policy in `checkpoint` to the folder `output`, for any number of observations at once.

    After training on a mixture, `statistics` names the part whose robot is to be driven; `pictures` are steps of which
    the checkpoint says nothing.

    Raises:
        ExportError: the format lacks an operator, which is named, or the exported policy answers otherwise; nothing is
            left behind.
        MissingDependencyError: ONNX is not installed.
        StorageError: `output` exists already, or cannot be written.
        CheckpointError, ConfigurationError: as `load_policy`.
    """
    if format == "onnx":
        require_onnx()
    folder = open_checkpoint(checkpoint).folder
    with publish_folder(output) as partial:
        policy = load_policy(folder, statistics=statistics, pictures=pictures)
        questions = draw_questions(policy, seed=0)
        description = {"format": format, "file": _FILES[format], **describe_policy(policy)}
        _save(policy, description, partial)
        shutil.copyfile(run.__file__, partial / "run.py")
        _write(partial, description)
        num_observations = sum(len(question.observations) for question in questions)
        difference = require_equal_answers(partial, questions, policy)
        check = {
            "observations": num_observations,
            "greatest_difference": difference,
            "tolerance": TOLERANCE,
        }
        _write(partial, {**description, "check": check, "checkpoint": folder.name, "versions": versions()})
    return Export(output / _FILES[format], difference, num_observations)


def _save(policy: FocusVLAPolicy, description: dict[str, Any], folder: Path) -> None:
    program = export_program(policy)
    file = folder / description["file"]
    if description["format"] == "torch":
        with warnings.catch_warnings():
            # Kernels whose channels are last in memory are saved whole nevertheless, as the check finds.
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")
            torch.export.save(program, file)
    else:
        save_onnx(
            program,
            file,
            input_names=[each["name"] for each in description["inputs"]],
            output_names=[each["name"] for each in description["outputs"]],
            open_dimensions=open_dimensions(policy, BATCH, TOKENS),
        )
    if isinstance(policy.model.tokenizer, PromptTokenizer):
        policy.model.tokenizer.tokenizer.save(str(folder / "tokenizer.json"))


def _write(folder: Path, description: dict[str, Any]) -> None:
    (folder / "policy.json").write_text(json.dumps(description, indent=2) + "\n", "utf-8")
