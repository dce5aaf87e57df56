"""Data sets of the field's RLDS convention, as TensorFlow Datasets stores them, read without TensorFlow.

    libero_spatial_no_noops/1.0.0/
    ├── dataset_info.json    splits, and how many records each file holds
    ├── features.json        shapes and encodings
    └── libero_spatial_no_noops-train.tfrecord-00000-of-00016, ...

A record is an episode whose steps are laid end to end: `steps/action` holds all its floats, `steps/observation/NAME`
a list of encoded images. openvla's LIBERO sets are recognized by their names: their pictures are turned already,
and a gripper's -1 opens (its training code inverts that later).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from focusvla.data.formats.file_source import Damage, FileSource, Recording, read_json
from focusvla.data.formats.stored_images import decode_image
from focusvla.data.formats.tfrecord import (
    FeatureValues,
    Record,
    find_records,
    parse_example,
    require_feature,
)
from focusvla.errors import DataError
from focusvla.suites.libero import libero_spec
from focusvla_client import Camera, Spec

INFO_FILE = "dataset_info.json"
FEATURES_FILE = "features.json"

_STATE = "steps/observation/state"
_ACTION = "steps/action"
_INSTRUCTION = "steps/language_instruction"
_LIBERO_CAMERAS = {"image": "image", "image2": "wrist_image"}
"""LIBERO's cameras as the specs of this package call them, to the names in these data sets."""


def is_rlds(path: Path) -> bool:
    """Whether the folder is one version of a data set of TensorFlow Datasets."""
    return (path / INFO_FILE).is_file() and (path / FEATURES_FILE).is_file()


class RLDSSource(FileSource):
    """All splits of an RLDS data set; the spec is LIBERO's for a set named `libero...`, for any other it is given.

    The spec's cameras are those of the features `steps/observation/NAME`. Opening reads every record once. With
    `skip_damaged` an episode that cannot be read is left out and told of in `skipped`.

    Raises:
        DataError: the folder is incomplete or damaged, or does not fit the spec.
        MissingDependencyError: google-crc32c is not installed.
    """

    def __init__(self, path: Path, spec: Spec | None = None, *, skip_damaged: bool = False):
        info = read_json(path / INFO_FILE)
        name = str(info.get("name", ""))
        damage = Damage(skip_damaged)
        records = list(_records(path, info, damage))
        cameras = _LIBERO_CAMERAS if name.startswith("libero") else {}
        episodes = [_RLDSEpisode(record, cameras) for record in records]
        if spec is None:
            spec = _libero_spec(path, name)
        super().__init__(path, spec, episodes, damage)
        listed = {file for file, _ in _files(path, info)}
        unlisted = sorted(file.name for file in path.glob("*.tfrecord-*") if file not in listed)
        self._notes = [f"{INFO_FILE} has no split of {name}, which is not read." for name in unlisted]

    @property
    def notes(self) -> list[str]:
        return list(self._notes)


@dataclass(frozen=True)
class _RLDSEpisode:
    record: Record
    cameras: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.record.path}, record {self.record.number}"

    def recording(self) -> Recording:
        features = _features(self.record)
        texts = require_feature(features, _INSTRUCTION, self.name)
        instructions = {text.decode("utf-8", "replace") for text in texts if isinstance(text, bytes)}
        if not instructions:
            raise DataError(f"{self.name}: expected at least one step, got an empty episode. Remove it.")
        if len(instructions) > 1:
            raise DataError(
                f"{self.name}: expected one instruction, got several. Split it where the instruction changes."
            )
        steps = len(texts)
        self._require_ends(features, steps)
        self._require_as_many_images(features, steps)
        state, action = (self._vectors(features, key, steps) for key in (_STATE, _ACTION))
        return Recording(state, action, instructions.pop())

    def _require_ends(self, features: Mapping[str, FeatureValues], steps: int) -> None:
        """The marks of first and last steps, where there are some, mark the ends of the record and nothing else."""
        for key, place in (("steps/is_first", 0), ("steps/is_last", steps - 1)):
            marked = np.flatnonzero(features.get(key, [])).tolist()
            if marked not in ([], [place]) or (key in features and len(features[key]) != steps):
                raise DataError(
                    f"{self.name}, {key}: expected step {place} of {steps} alone, got {marked} of {len(features[key])}. "
                    "Split the record where an episode ends."
                )

    def _require_as_many_images(self, features: Mapping[str, FeatureValues], steps: int) -> None:
        for camera, name in self.cameras.items():
            found = len(features.get(f"steps/observation/{name}", range(steps)))
            if found != steps:
                raise DataError(
                    f"{self.name}, camera {camera!r}: expected {steps} frames, one per action, got {found}. Restore this "
                    "file from its source."
                )

    def _vectors(self, features: Mapping[str, FeatureValues], key: str, steps: int) -> np.ndarray:
        values = require_feature(features, key, self.name)
        if not isinstance(values, np.ndarray) or len(values) % steps:
            raise DataError(
                f"{self.name}, {key}: expected numbers for each of {steps} steps, got {len(values)} values. Restore it."
            )
        return values.astype(np.float32).reshape(steps, -1)

    def frames(self, camera: Camera) -> Iterator[np.ndarray]:
        key = f"steps/observation/{self.cameras.get(camera.name, camera.name)}"
        for number, image in enumerate(require_feature(_features(self.record), key, self.name)):
            yield decode_image(image, camera, f"{self.name}, {key}, frame {number}")


def _features(record: Record) -> dict[str, FeatureValues]:
    try:
        return parse_example(record.read())
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{record.path}, record {record.number}: expected a tf.train.Example, got {error}. Restore this file."
        ) from error


def _records(path: Path, info: Mapping[str, Any], damage: Damage) -> Iterator[Record]:
    """The records of all splits, in the order of split, file and record."""
    for file, expected in _files(path, info):
        with damage.contained():
            found = 0
            for record in find_records(file):
                found += 1
                if found <= expected:
                    yield record
            if found != expected:
                raise DataError(
                    f"{file}: expected {expected} records as {INFO_FILE} says, got {found}. Restore this file."
                )


def _files(path: Path, info: Mapping[str, Any]) -> list[tuple[Path, int]]:
    """Every file and how many records it should hold."""
    try:
        names = [str(split["name"]) for split in info["splits"]]
        if len(set(names)) < len(names):
            raise DataError(
                f"{path / INFO_FILE}, splits: expected each name once, got {', '.join(names)}. Remove one."
            )
        return [
            (path / f"{info['name']}-{name}.tfrecord-{shard:05d}-of-{len(lengths):05d}", int(length))
            for name, lengths in zip(names, (split["shardLengths"] for split in info["splits"]), strict=True)
            for shard, length in enumerate(lengths)
        ]
    except DataError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path / INFO_FILE}: expected a name and splits with a name and shardLengths, got {error!r} on reading. "
            "Restore it."
        ) from error


def _libero_spec(path: Path, name: str) -> Spec:
    if not name.startswith("libero"):
        raise DataError(
            f"{path}: expected a data set with known conventions, got {name!r}. "
            "Pass a spec that says what its cameras, states and actions mean."
        )
    try:
        image = read_json(path / FEATURES_FILE)
        for level in ("steps", "observation", "image"):
            while "featuresDict" not in image:
                image = image["sequence"]["feature"]
            image = image["featuresDict"]["features"][level]
        return libero_spec(int(image["image"]["shape"]["dimensions"][0]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path / FEATURES_FILE}: expected the shape of steps/observation/image, got {error!r} on reading. "
            "Restore it."
        ) from error
