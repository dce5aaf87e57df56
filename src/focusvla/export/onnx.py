"""ONNX files from exported programs (extra `onnx`)."""

import contextlib
import importlib.util
import logging
import re
import warnings
from collections.abc import Generator
from pathlib import Path

import torch
from torch.export import ExportedProgram

from focusvla.errors import ExportError, MissingDependencyError
from focusvla.export.graph import OpenDimensions

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """
    Raises:
        MissingDependencyError: a package that writes or runs ONNX files is not installed.
    """
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "onnx", "Export to ONNX")


def save_onnx(
    program: ExportedProgram,
    file: Path,
    *,
    input_names: list[str],
    output_names: list[str],
    open_dimensions: OpenDimensions,
) -> None:
    """Write `program` to `file`; weights beyond 2 GB go to a file beside it.

    Raises:
        ExportError: an operator of the graph has no counterpart in ONNX, and is named.
    """
    try:
        with _quietly():
            translated = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=input_names,
                output_names=output_names,
                dynamic_shapes=open_dimensions,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(
            f"format='onnx': expected a graph of operators that ONNX has, got {_operator(error)}, which it lacks. "
            "Use --format torch."
        ) from error
    assert translated is not None
    translated.save(file)


@contextlib.contextmanager
def _quietly() -> Generator[None]:
    """The exporter warns of deprecated parts of torch, of packages it could use, and of what it does not optimize."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _operator(error: BaseException | None) -> str:
    """The operator that an exporter's error, or one of its causes, is about."""
    while error is not None:
        named = re.search(r"target=torch\.ops\.([\w.]+)", str(error))
        if named:
            return named.group(1)
        error = error.__cause__
    return "one that torch does not name"
