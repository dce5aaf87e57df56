"""Reading files of tensors from outside, and putting them into a model completely or not at all."""

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from focusvla.errors import CheckpointError

StateDict = dict[str, Tensor]
_SHOWN = 20
_GIT_LFS = b"version https://git-lfs"


def read_safetensors(path: Path) -> StateDict:
    """All tensors of one file, or of a folder's `model.safetensors` or sharded `model.safetensors.index.json`.

    Raises:
        CheckpointError: it is missing, truncated or damaged.
    """
    tensors: StateDict = {}
    for file in safetensors_files(path) if path.is_dir() else [path]:
        tensors |= _read_one(file)
    return tensors


def safetensors_files(folder: Path) -> list[Path]:
    """The files of a folder's weights, in the order of their names: one, or those that its index names.

    Raises:
        CheckpointError: the index is damaged, or names files elsewhere; or there is an adapter alone.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        if not (folder / "model.safetensors").is_file():
            require_merged(folder)
        return [folder / "model.safetensors"]
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{index}: expected an index of weight files, got {error!r}. Download it again."
        ) from error
    if any(Path(name).name != name for name in names):
        raise CheckpointError(
            f"{index}: expected names of files beside it, got {', '.join(names)}. Do not use it."
        )
    return [folder / name for name in names]


def require_merged(folder: Path) -> None:
    """Raise if the folder holds a low-rank adapter, which is no model without the weights that it belongs to.

    Raises:
        CheckpointError: it does.
    """
    for adapter in (folder, folder / "lora_adapter"):
        if (adapter / "adapter_config.json").is_file():
            raise CheckpointError(
                f"{folder}: expected the weights of a model, got an adapter that was not merged into them ({adapter}). "
                "Merge it first, with the script of those who trained it or with peft's merge_and_unload."
            )


def _read_one(path: Path) -> StateDict:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: expected a whole safetensors file, got {_what_it_is(path) or error}. It is half-written or "
            "damaged: copy or download it again, or use another."
        ) from error


def _what_it_is(path: Path) -> str:
    """In words, if a file of weights is a mere reference to one; else empty."""
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(_GIT_LFS)) == _GIT_LFS
    except OSError:
        return ""
    return "a Git LFS pointer to it, as a clone without `git lfs pull` leaves" if is_pointer else ""


def read_pickled_tensors(path: Path, *, mapped: bool = False) -> Any:
    """What a `.pt` file holds, if it is tensors, containers and numbers; code in it is never run. If `mapped`, tensors
    stay in the file until they are looked at.

    Raises:
        CheckpointError: it is missing, damaged, or wants to run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{path}: expected a file of tensors alone, got something else ({reason}). Nothing in it was run. "
            "Download it again from its source."
        ) from error


def require_matching(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: object) -> None:
    """Raise unless both have the same keys and shapes.

    Raises:
        CheckpointError: listing what is missing, unexpected, or of another shape.
    """
    problems = [
        ("missing", sorted(set(expected) - set(found))),
        ("unexpected", sorted(set(found) - set(expected))),
        (
            "of another shape",
            [
                f"{name} {tuple(found[name].shape)} for {tuple(expected[name].shape)}"
                for name in sorted(set(expected) & set(found))
                if expected[name].shape != found[name].shape
            ],
        ),
    ]
    if any(names for _, names in problems):
        listed = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems if names)
        raise CheckpointError(
            f"{source}: expected the weights of this model, got others. {listed}. Nothing has been loaded: use the "
            "configuration, such as a preset, that these weights were trained with."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def load_parts(model: nn.Module, parts: Mapping[str, StateDict], source: object) -> set[str]:
    """Fill whole submodules, or single parameters, by their names in `model`; adapters beside them stay.

    Returns:
        The names of what was filled, in `model` without adapters.

    Raises:
        CheckpointError: some part does not fit; nothing has been loaded.
    """
    own = {without_adapter(name): tensor for name, tensor in model.state_dict().items()}
    expected = {
        name: tensor
        for name, tensor in own.items()
        if "lora_" not in name and any(name == part or name.startswith(f"{part}.") for part in parts)
    }
    found = {
        f"{part}.{name}" if name else part: tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }
    require_matching(expected, found, source)
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(found[name])
    return set(expected)


def without_adapter(name: str) -> str:
    """A parameter's name in the model that has no adapters yet."""
    return name.replace(".base_layer.", ".")


def tensors_by_name(values: object, source: object) -> StateDict:
    """`values` of a file as a state dict; arrays become tensors.

    Raises:
        CheckpointError: they are none, or something in them is no tensor or has no name.
    """
    others = [type(values).__name__]
    if isinstance(values, Mapping):
        others = [
            f"{type(value).__name__} under {name!r}"
            for name, value in values.items()
            if not (isinstance(name, str) and isinstance(value, Tensor | np.ndarray))
        ]
        if not others:
            return {name: torch.as_tensor(value) for name, value in values.items()}
    raise CheckpointError(
        f"{source}: expected tensors by name, got {others[0]}. Give the dictionary of the weights alone."
    )


def renamed(tensors: StateDict, rename: Callable[[str], str | None]) -> StateDict:
    """The tensors under new names; those whose new name is None are left out."""
    return {new: tensor for name, tensor in tensors.items() if (new := rename(name)) is not None}
