"""Exporting a policy."""

from pathlib import Path
from typing import Literal

import tyro

from focusvla.cli.output import say
from focusvla.config import AS_STORED, GivenPictures


def export(
    checkpoint: tyro.conf.Positional[Path],
    output: Path,
    format: Literal["torch", "onnx"] = "torch",
    statistics: str | None = None,
    pictures: GivenPictures = AS_STORED,
) -> None:
    """Export a checkpoint as a file that runs without focusvla, checked against it.

    Example: focusvla export runs/mini --output exported/mini --format onnx

    Normalization is inside: images, token ids and a physical state go in, actions in physical units come out, any
    number of observations at once. `policy.json` beside it tells inputs and conventions, `run.py` loads and asks it.

    Args:
        checkpoint: A checkpoint, a run (its newest), or an installed one's name.
        output: Folder to write, which must not exist yet.
        format: `torch` for an archive of torch.export, `onnx` for ONNX (extra `onnx`).
        statistics: Of a policy that was trained on a mixture: the part whose robot is to be driven.
        pictures: What the policy does to pictures, where its checkpoint says nothing of it.
    """
    from focusvla.export.check import TOLERANCE
    from focusvla.export.export import export_policy

    exported = export_policy(checkpoint, output, format, statistics, pictures)
    say(f"exported: {exported.file}")
    say(
        f"{exported.num_observations} random observations answered as by the checkpoint, in a process without focusvla: "
        f"greatest difference {exported.difference:.2g} of half an action's range, tolerance {TOLERANCE:g}"
    )
