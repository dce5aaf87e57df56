"""What the folder `meta/` of a LeRobot data set says: version 3.0, and 2.1 and 2.0, which came before it.

    3.0   meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet  meta/stats.json
          data/chunk-000/file-000.parquet           many episodes in a file, also of videos
    2.1   meta/tasks.jsonl    meta/episodes.jsonl   meta/episodes_stats.jsonl
          data/chunk-000/episode_000000.parquet     a file per episode, also of videos

The statistics of 2.1 and 2.0 lack the quantiles that normalization needs, so they are not read.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from focusvla.data.formats import lerobot_layout as layout
from focusvla.data.formats.file_source import agreed_spec, read_json
from focusvla.data.formats.lerobot_tables import read_table
from focusvla.errors import DataError
from focusvla.suites.libero import is_mislabeled_libero
from focusvla_client import Camera, Spec

_OLDER_VERSIONS = ("v2.1", "v2.0")
_OLDER_TASKS_PATH = "meta/tasks.jsonl"
_OLDER_EPISODES_PATH = "meta/episodes.jsonl"

_LARGEST_SURPLUS = 1.5
"""Periods by which the end of an episode's video may differ from its length: containers round that of the last frame."""


@dataclass(frozen=True)
class VideoSpan:
    """A part of a video file."""

    path: Path
    start_seconds: float


@dataclass(frozen=True)
class EpisodeEntry:
    """Where the parts of one episode lie."""

    index: int
    length: int
    """Control steps that the data set announces."""
    listed_in: Path
    """The file that lists it."""
    data_path: Path
    """The table that holds its rows."""
    videos: Mapping[str, VideoSpan]
    """By feature; empty where images are stored in the table."""
    instructions: tuple[str, ...] = ()
    """Those that the list gives it; empty where it gives none."""
    first_row: int | None = None
    """Number of its first row among those of all episodes, where that is said."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the collector noted; empty in data sets of others."""
    contradiction: str = ""
    """Why nothing of it can be believed, in a sentence; empty if it can."""


@dataclass(frozen=True)
class Metadata:
    """Everything that a data set says of itself, with paths resolved."""

    info: Mapping[str, Any]
    """The contents of `meta/info.json`."""
    tasks: Mapping[int, str]
    """Instructions by their number in the tables."""
    episodes: list[EpisodeEntry]
    """In the order of their indices."""

    @classmethod
    def read(cls, path: Path) -> "Metadata":
        """Read and check them.

        Raises:
            DataError: the folder or a file is missing or damaged, or of a version that is not known.
        """
        info = _read_info(path)
        try:
            if info["codebase_version"] in _OLDER_VERSIONS:
                return cls(info, _read_older_tasks(path), _read_older_episodes(path, info))
            return cls(info, _read_tasks(path), _read_episodes(path, info))
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{path / 'meta'}: expected the fields of LeRobot {info['codebase_version']}, got {error!r} on reading. "
                "Restore it from its source."
            ) from error


def _read_info(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise DataError(f"{path}: expected a LeRobot data set, got no such folder. Check the path.")
    file = path / layout.INFO_PATH
    if not file.is_file():
        raise DataError(
            f"{file}: expected the description of a LeRobot data set, got no such file. "
            "Check the path, or download the data set again."
        )
    info = read_json(file)
    version = info.get("codebase_version")
    known = (layout.CODEBASE_VERSION, *_OLDER_VERSIONS)
    if version not in known:
        raise DataError(
            f"{file}, codebase_version: expected one of {', '.join(known)}, got {version}. "
            "Convert the data set with lerobot's own scripts."
        )
    for name, fits, expected in (
        ("fps", _is_rate, "a positive number"),
        ("features", _are_features, "features, each with its dtype"),
        ("data_path", _is_template, "a path with places for numbers"),
        ("video_path", lambda value: value is None or _is_template(value), "a path with places for numbers"),
        ("chunks_size", lambda value: value is None or _is_count(value), "a positive whole number"),
        ("steps_per_picture", _is_count, "a positive whole number"),
    ):
        value = info.get(name, 1 if name == "steps_per_picture" else None)
        if not fits(value):
            raise DataError(
                f"{file}, {name}: expected {expected}, got {value!r}. Restore it from its source."
            )
    if info.get("video_path") is None and _video_keys(info):
        raise DataError(
            f"{file}, video_path: expected a path, since there are videos, got none. Restore it from its source."
        )
    return info


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _is_template(value: Any) -> bool:
    """Whether names and widths are all that is in braces, since formatting could do more."""
    return isinstance(value, str) and re.fullmatch(r"(?:[^{}]|\{\w+(?::\d{1,2}d)?\})*", value) is not None


def _are_features(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(feature, dict) and isinstance(feature.get("dtype"), str) for feature in value.values()
    )


def _read_tasks(path: Path) -> dict[int, str]:
    table = read_table(path / layout.TASKS_PATH)
    texts = [name for name in table.column_names if name != "task_index"]
    if len(texts) != 1 or "task_index" not in table.column_names:
        raise DataError(
            f"{path / layout.TASKS_PATH}: expected task_index and one column of texts, "
            f"got {', '.join(table.column_names)}. Restore it from its source."
        )
    rows = zip(table["task_index"].to_pylist(), table[texts[0]].to_pylist(), strict=True)
    return _texts(path / layout.TASKS_PATH, rows)


def _read_episodes(path: Path, info: Mapping[str, Any]) -> list[EpisodeEntry]:
    files = sorted((path / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise DataError(
            f"{path / 'meta/episodes'}: expected the list of episodes, got no file. "
            "Download the data set again."
        )

    def entry(file: Path, row: dict[str, Any]) -> EpisodeEntry:
        rate = float(info["fps"])
        numbers = ["data/chunk_index", "data/file_index"]
        for key in _video_keys(info):
            numbers += [f"videos/{key}/chunk_index", f"videos/{key}/file_index"]
        contradictions = [
            *(_expected(name, "a whole number", row[name]) for name in numbers if not _is_whole(row[name])),
            *(text for key in _video_keys(info) for text in _span_contradictions(row, key, rate)),
            *_row_contradictions(row),
        ]
        if contradictions:
            return _refused(file, row, contradictions[0])
        videos = {
            key: VideoSpan(
                path
                / info["video_path"].format(
                    video_key=key,
                    chunk_index=row[f"videos/{key}/chunk_index"],
                    file_index=row[f"videos/{key}/file_index"],
                ),
                float(row[f"videos/{key}/from_timestamp"]),
            )
            for key in _video_keys(info)
        }
        data_path = info["data_path"].format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )
        return EpisodeEntry(
            index=row["episode_index"],
            length=row["length"],
            listed_in=file,
            data_path=path / data_path,
            videos=videos,
            instructions=_instructions(row),
            first_row=row.get("dataset_from_index"),
            metadata=json.loads(row.get("metadata") or "{}"),
        )

    return _in_order(path, [(file, row) for file in files for row in read_table(file).to_pylist()], entry)


def _span_contradictions(row: Mapping[str, Any], key: str, rate_hz: float) -> Iterator[str]:
    first, last = f"videos/{key}/from_timestamp", f"videos/{key}/to_timestamp"
    start, end = row[first], row.get(last)
    if not _is_finite(start):
        yield _expected(first, "a time in seconds", start)
    elif end is not None and not _is_finite(end):
        yield _expected(last, "a time in seconds", end)
    elif end is not None and abs(end - start - row["length"] / rate_hz) >= _LARGEST_SURPLUS / rate_hz:
        seconds = f"{row['length'] / rate_hz:.3f} s after {first} {start:.3f}, as {row['length']} rows take"
        yield _expected(last, seconds, f"{end:.3f}")


def _row_contradictions(row: Mapping[str, Any]) -> Iterator[str]:
    first, end = row.get("dataset_from_index"), row.get("dataset_to_index")
    for name, value in (("dataset_from_index", first), ("dataset_to_index", end)):
        if value is not None and not _is_whole(value):
            yield _expected(name, "a whole number", value)
            return
    if first is not None and end is not None and end - first != row["length"]:
        yield _expected("dataset_to_index", f"{first} + length {row['length']}", end)


def _expected(name: str, expected: str, got: object) -> str:
    return f"{name}: expected {expected}, got {got}. Restore it from its source"


def _refused(file: Path, row: Mapping[str, Any], contradiction: str) -> EpisodeEntry:
    """An episode of which nothing but number and length is known."""
    index = row["episode_index"]
    return EpisodeEntry(
        index=index,
        length=row["length"],
        listed_in=file,
        data_path=file,
        videos={},
        contradiction=f"{file}, episode {index}, {contradiction}.",
    )


def _instructions(row: Mapping[str, Any]) -> tuple[str, ...]:
    stored = row.get("tasks")
    return tuple(map(str, [stored] if isinstance(stored, str) else stored or ()))


def _read_older_tasks(path: Path) -> dict[int, str]:
    file = path / _OLDER_TASKS_PATH
    return _texts(file, ((row["task_index"], row["task"]) for row in _json_lines(file)))


def _texts(file: Path, tasks: Iterable[tuple[int, Any]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for index, text in tasks:
        if not isinstance(text, str):
            raise DataError(
                f"{file}, task {index}: expected an instruction, got {text!r}. Restore it from its source."
            )
        if found.setdefault(index, text) != text:
            raise DataError(
                f"{file}, task {index}: expected one instruction, got {found[index]!r} and {text!r}. Restore it from "
                "its source."
            )
    return found


def _read_older_episodes(path: Path, info: Mapping[str, Any]) -> list[EpisodeEntry]:
    def entry(file: Path, row: dict[str, Any]) -> EpisodeEntry:
        index = row["episode_index"]
        place = {"episode_chunk": index // info["chunks_size"], "episode_index": index}
        videos = {
            key: VideoSpan(path / info["video_path"].format(video_key=key, **place), 0.0)
            for key in _video_keys(info)
        }
        return EpisodeEntry(
            index=index,
            length=row["length"],
            listed_in=file,
            data_path=path / info["data_path"].format(**place),
            videos=videos,
            instructions=_instructions(row),
        )

    file = path / _OLDER_EPISODES_PATH
    return _in_order(path, [(file, row) for row in _json_lines(file)], entry)


def _in_order(
    path: Path, rows: list[tuple[Path, dict[str, Any]]], entry: Callable[[Path, dict[str, Any]], EpisodeEntry]
) -> list[EpisodeEntry]:
    if not rows:
        raise DataError(f"{path}: expected at least one episode, got none. Record some first.")
    for file, row in rows:
        if not all(_is_whole(row[name]) for name in ("episode_index", "length")):
            raise DataError(
                f"{file}, episode {row['episode_index']}: expected whole numbers as index and length, "
                f"got a length of {row['length']!r}. Restore it from its source."
            )
    entries: list[EpisodeEntry] = []
    listed = sorted(rows, key=lambda found: found[1]["episode_index"])
    for _, group in groupby(listed, key=lambda found: found[1]["episode_index"]):
        (file, row), *more = group
        differing = [name for name in row if any(row[name] != other.get(name) for _, other in more)]
        files = ", ".join(sorted({found.name for found, _ in more}))
        again = f"expected one entry, got {1 + len(more)}, the last in {files}"
        if differing:  # nothing tells which of them is right
            problem = f"{again}, which differ in {', '.join(differing)}. Remove all but the right one"
            entries.append(_refused(file, row, problem))
            continue
        entries.append(entry(file, row))
        if more:
            entries.append(_refused(file, row, f"{again}, all alike. Remove all but one"))
    return entries


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _video_keys(info: Mapping[str, Any]) -> list[str]:
    return [key for key, feature in info["features"].items() if feature["dtype"] == "video"]


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except ValueError as error:
                        raise DataError(
                            f"{path}, line {number}: expected JSON, got {error}. Restore it from its source."
                        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: expected lines of JSON, got {error}. Restore it from its source."
        ) from error


def choose_spec(path: Path, given: Spec | None) -> Spec:
    """The spec that the data set brings along, or the one given for a data set of others.

    Raises:
        DataError: there is none, it is damaged, or both are there and differ.
    """
    file = path / layout.SPEC_PATH
    if not file.is_file():
        if given is None:
            raise DataError(
                f"{file}: expected the data set's conventions, got no such file, "
                "since focusvla did not write it. "
                "Pass a spec that says what its cameras, states and actions mean."
            )
        return given
    try:
        stored = Spec.from_dict(read_json(file))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{file}: expected a spec, got {error!r}. Restore it from its source.") from error
    return agreed_spec(str(file), stored, given)


def require_features(path: Path, info: Mapping[str, Any], spec: Spec) -> None:
    """Raise unless the data set has the spec's cameras, states, actions and rate.

    Raises:
        DataError: naming the feature, and what the data set has.
    """
    features, file = info["features"], path / layout.INFO_PATH
    pictured = [name for name, feature in features.items() if feature["dtype"] in ("video", "image")]
    for camera in spec.cameras:
        key = layout.stored_key(features, layout.camera_key(camera))
        if key not in pictured:
            stored = [repr(name.removeprefix(layout.CAMERA_PREFIX)) for name in pictured]
            raise DataError(
                f"{file}: expected camera {camera.name!r} of the spec, got {', '.join(stored) or 'none'}. Looked for "
                f"{key}, got the pictures {', '.join(pictured) or 'none'}: rename the feature, or name the spec's "
                "cameras as the data set does (--spec takes a JSON file)."
            )
        _require_color(file, camera, features[key])
        shape = features[key].get("shape")
        if shape not in _shapes_of(camera):
            raise DataError(
                f"{file}, {key}: expected {camera.height}x{camera.width} as in "
                f"the spec, got shape {shape}. Correct the spec."
            )
    for feature, names in ((layout.STATE_KEY, spec.state), (layout.ACTION_KEY, spec.action)):
        key = layout.stored_key(features, feature)
        if key not in features:
            raise DataError(f"{file}: expected the feature {key}, got {', '.join(features)}. Rename it.")
        shape = features[key].get("shape")
        if shape != [len(names)]:
            raise DataError(
                f"{file}, {key}: expected {len(names)} dimensions as the spec names them "
                f"({', '.join(names)}), got shape {shape}. Use the spec that belongs to this data set."
            )
    same_rate = abs(info["fps"] - spec.control_rate_hz) <= 1e-6
    if not same_rate and not is_mislabeled_libero(spec, float(info["fps"])):
        raise DataError(
            f"{file}, fps: expected the spec's control rate of {spec.control_rate_hz} Hz, got {info['fps']}. "
            "Correct the spec, or this file where it is known to be wrong."
        )


def _require_color(file: Path, camera: Camera, feature: Mapping[str, Any]) -> None:
    stated = [values for name in ("info", "video_info") if isinstance(values := feature.get(name), dict)]
    for values in stated:
        for name in ("video.is_depth_map", "is_depth_map"):
            if values.get(name):
                raise DataError(
                    f"{file}, {layout.camera_key(camera)}: expected color pictures, got a depth map ({name}). "
                    f"Leave camera {camera.name!r} out of the spec."
                )


def _shapes_of(camera: Camera) -> list[list[int]]:
    """As data sets write it: the colors last or first, though the frames themselves are all alike."""
    return [[camera.height, camera.width, 3], [3, camera.height, camera.width]]
