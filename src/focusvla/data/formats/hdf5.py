"""HDF5 files, opened and read so that damage is told of by name. The only module that imports h5py."""

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from focusvla.errors import DataError, FocusVLAError, MissingDependencyError


@contextmanager
def open_hdf5(path: Path) -> Generator[Any]:
    """An HDF5 file for reading, closed when the block ends.

    Raises:
        DataError: the file is missing, is none, or turns out to be damaged within the block.
        MissingDependencyError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("h5py", "hdf5", "Reading HDF5 files") from error
    try:
        with h5py.File(path, "r", locking=False) as file:  # a lock cannot be had on many shared disks
            yield file
    except FocusVLAError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # all four, depending on what is damaged
        raise DataError(
            f"{path}: expected a complete HDF5 file, got {error}. Restore this file from its source."
        ) from error


def find_dataset(file: Any, name: str) -> Any:
    """The data set `name` of an open file or group, not read yet.

    Raises:
        DataError: there is none; the message lists what is beside it.
    """
    found = file.get(name) if name in file else None
    if found is None or not hasattr(found, "shape"):
        above, _, last = name.rpartition("/")
        parent = file.get(above) if above else file
        if not hasattr(parent, "keys"):
            got = "no such group"
        else:
            got = "one that cannot be read" if found is None and last in list(parent) else names_in(parent)
        raise DataError(
            f"{file.file.filename}, {file.name.rstrip('/')}/{name}: expected an array, got {got}. "
            "Restore this file from its source."
        )
    return found


def names_in(group: Any) -> str:
    """What an open file or group holds, for messages: names that are damaged too, which h5py gives as bytes."""
    return ", ".join(map(str, group)) or "nothing"


def read_array(file: Any, name: str) -> np.ndarray:
    """The data set `name` of an open file or group as float32, a row per step.

    Raises:
        DataError: there is none, or it holds no numbers.
    """
    found = find_dataset(file, name)
    if found.dtype.kind not in "fiu" or not found.shape:
        raise DataError(
            f"{file.file.filename}, {file.name.rstrip('/')}/{name}: expected numbers for each step, "
            f"got {found.dtype} {found.shape}. Restore this file from its source."
        )
    with np.errstate(over="ignore"):  # damaged numbers; as infinite ones they are told of by name
        values = found[()].astype(np.float32)
    return values[:, None] if values.ndim == 1 else values


def read_columns(file: Any, names: Iterable[str]) -> np.ndarray:
    """Several data sets side by side as one table of float32, a row per step.

    Raises:
        DataError: one is missing, holds no numbers, or has other rows than the first.
    """
    parts = {name: read_array(file, name) for name in names}
    first, *_ = parts
    for name, values in parts.items():
        if values.ndim != 2 or len(values) != len(parts[first]):
            raise DataError(
                f"{file.file.filename}, {file.name.rstrip('/')}/{name}: expected a table of {len(parts[first])} rows, "
                f"as many as {first} has, got an array of shape {values.shape}. Restore this file from its source."
            )
    return np.concatenate(list(parts.values()), axis=1)


def find_images(file: Any, name: str, axes: tuple[int, ...]) -> Any:
    """The data set `name` of an open file or group, not read yet; it has as many axes as one of `axes`: four for images
    (rows, height, width, 3) of 8 bits, one or two for encoded ones.

    Raises:
        DataError: there is none, or it is of another shape.
    """
    found = find_dataset(file, name)
    is_plain = len(found.shape) == 4
    if len(found.shape) not in axes or (is_plain and (found.dtype != np.uint8 or found.shape[-1] != 3)):
        raise DataError(
            f"{file.file.filename}, {file.name.rstrip('/')}/{name}: expected an image for each step, "
            f"got {found.dtype} {found.shape}. Restore this file from its source."
        )
    return found


def in_order(paths: list[Path]) -> list[Path]:
    """Paths sorted by folder and by the numbers in their names, 2 before 10."""
    return sorted(paths, key=lambda path: (path.parent, numbers_first(path.name)))


def numbers_first(name: str) -> list[tuple[int, str]]:
    """A sorting key by which `demo_2` comes before `demo_10`."""
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", name)]
