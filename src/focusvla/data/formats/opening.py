"""Which reader opens a data set, and which conventions a name stands for."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from focusvla.data.episodes import EpisodeSource
from focusvla.data.formats.file_source import FileSource
from focusvla.data.formats.hub import download, is_hub_name
from focusvla.data.formats.lerobot_layout import INFO_PATH
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.formats.libero_hdf5 import FILE_ENDING, LiberoHDF5Source, is_libero_hdf5
from focusvla.data.formats.rlds import RLDSSource, is_rlds
from focusvla.data.formats.robotwin import RoboTwinSource, is_robotwin
from focusvla.data.mixture import parts_of
from focusvla.errors import ConfigurationError, DataError, require_known
from focusvla.suites import conventions
from focusvla_client import Spec


def open_source(
    location: str | Path, *, spec: Spec | None = None, skip_damaged: bool = False
) -> EpisodeSource:
    """The data set at `location`, whatever its format: a folder, or a name on the Hugging Face Hub, see `hub.download`.

    `spec` says what the numbers of a data set mean that does not say it itself; where one does, both must agree. With
    `skip_damaged` an episode that cannot be read is left out, and the source's `skipped` tells of each.

    Raises:
        DataError: it is of no format that is known, incomplete, damaged, or does not fit the spec.
        MissingDependencyError: a library that reads this format is not installed.
    """
    path = Path(location)
    if not path.exists() and is_hub_name(str(location)):
        path = download(str(location))
    if not path.exists():
        raise DataError(f"{path}: expected a data set, got no such file or folder. Check the path.")
    data_format = _recognized(path)
    if data_format is None:
        looked_for = "".join(f"\n  {data_format.looks_like}" for data_format in _FORMATS)
        inside = [str(folder) for folder in islice(filter(_recognized, _folders_in(path)), 10)]
        hint = f" Data sets in it: {', '.join(inside)}." if inside else ""
        raise DataError(
            f"{path}: expected a data set, got nothing that looks like one.{hint} "
            f"Name the folder that holds:{looked_for}"
        )
    return data_format.open(path, spec, skip_damaged)


@dataclass(frozen=True)
class _Format:
    looks_like: str
    """What is looked for, for people."""
    recognizes: Callable[[Path], bool]
    open: Callable[[Path, Spec | None, bool], EpisodeSource]


_FORMATS = (
    _Format(
        "meta/info.json (LeRobot 3.0, 2.1 and 2.0)",
        lambda path: (path / INFO_PATH).is_file(),
        lambda path, spec, skip: LeRobotSource(path, spec, skip_damaged=skip),
    ),
    _Format(
        "dataset_info.json and features.json (RLDS of TensorFlow Datasets)",
        is_rlds,
        lambda path, spec, skip: RLDSSource(path, spec, skip_damaged=skip),
    ),
    _Format(
        f"*{FILE_ENDING} (LIBERO's original demonstrations)",
        is_libero_hdf5,
        lambda path, spec, skip: LiberoHDF5Source(path, spec, skip_damaged=skip),
    ),
    _Format(
        "episode*.hdf5 (RoboTwin, older and newer layout)",
        is_robotwin,
        lambda path, spec, skip: RoboTwinSource(path, spec, skip_damaged=skip),
    ),
)


def _recognized(path: Path) -> _Format | None:
    return next((data_format for data_format in _FORMATS if data_format.recognizes(path)), None)


def _folders_in(path: Path) -> Iterator[Path]:
    """One and two levels down: a collection holds data sets, and those of TensorFlow their versions."""
    for pattern in ("*/", "*/*/"):
        yield from sorted(path.glob(pattern))


def read_spec(text: str) -> Spec:
    """The conventions that `text` stands for: a JSON file such as a data set's `meta/spec.json`, or a name.

    `libero` means LIBERO with square images of 256 pixels, `libero:128` with 128, `robotwin:240x320` RoboTwin with
    images 240 pixels high and 320 wide.

    Raises:
        ConfigurationError: there is no such file or name (nearest names are given), or the file holds no spec.
    """
    path = Path(text)
    if path.suffix == ".json" or path.is_file():
        try:
            return Spec.from_dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"spec={text!r}: expected a JSON file that holds a spec, got {error!r}. "
                "Copy a data set's meta/spec.json and change it."
            ) from error
    name, _, size = text.partition(":")
    require_known("spec", name, conventions())
    known = conventions()[name]
    sides = size.split("x") if size else list(map(str, known.published_size))
    if len(sides) != len(known.published_size) or not all(
        re.fullmatch(r"[1-9]\d{0,4}", side) for side in sides
    ):
        example = "x".join(map(str, known.published_size))
        raise ConfigurationError(
            f"spec={text!r}: expected an image size in pixels after the colon, got {size!r}. Write {name}:{example}."
        )
    return known.make(*map(int, sides))


def remarks(source: EpisodeSource) -> list[str]:
    """What a user should know of a data set, or of each part of a mixture: what was left out, and what was computed."""
    said = []
    for part in parts_of(source):
        if isinstance(part.source, FileSource):
            name = f"data set {part.name!r}" if part.name else "data set"
            said += [f"{name}, left out: {sentence}" for sentence in part.source.skipped]
            said += [f"{name}: {sentence}" for sentence in part.source.notes]
            if part.source.computes_statistics:
                said.append(
                    f"{name}: holds no statistics that can be used; they were computed from its numbers."
                )
    return said
