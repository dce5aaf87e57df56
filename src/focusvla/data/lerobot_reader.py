"""Reading LeRobot data sets, version 3.0, without the lerobot library."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from focusvla.data import lerobot_layout as layout
from focusvla.data.episodes import (
    Episode,
    require_known_camera,
    require_known_episode,
    require_valid_vectors,
)
from focusvla.data.normalization import Quantiles, Statistics
from focusvla.data.video import decode_video, require_frame
from focusvla.errors import DataError
from focusvla_client import Camera, Spec


class LeRobotSource:
    """A LeRobot data set on disk, with frames as videos or as images.

    All numbers are read and checked when it is opened; frames are decoded when asked for. A data set that
    this package wrote brings its spec along; for any other the caller gives one, whose camera names are those
    of the features `observation.images.NAME`.

    Raises:
        DataError: the folder is missing, incomplete, damaged, of another version, or does not fit the spec.
    """

    def __init__(self, path: Path, spec: Spec | None = None):
        self._path = path
        self._info = _read_info(path)
        self._spec = _choose_spec(path, spec)
        _require_features(path, self._info, self._spec)
        self._tasks = _read_tasks(path)
        self._episodes = _read_episodes(path)
        self._read_vectors()

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def num_episodes(self) -> int:
        return len(self._episodes)

    @property
    def steps_per_picture(self) -> int:
        return self._info.get("steps_per_picture", 1)

    @property
    def num_frames(self) -> int:
        """Control steps of all episodes."""
        return len(self._action)

    @property
    def robot_type(self) -> str | None:
        return self._info.get("robot_type")

    def statistics(self) -> Statistics:
        values = self._read_statistics()
        try:
            return Statistics(
                action=_read_quantiles(values, layout.ACTION_KEY, len(self._spec.action)),
                state=_read_quantiles(values, layout.STATE_KEY, len(self._spec.state)),
            )
        except KeyError as error:
            raise DataError(
                f"{self._path / layout.STATISTICS_PATH}: expected q01 and q99 of {layout.ACTION_KEY} and "
                f"{layout.STATE_KEY}, {error.args[0]} is missing. Compute them with Statistics.from_source."
            ) from error

    def _read_statistics(self) -> dict[str, Any]:
        path = self._path / layout.STATISTICS_PATH
        if not path.is_file():
            raise DataError(
                f"{path}: expected the data set's statistics, got no such file. "
                "Compute them with Statistics.from_source."
            )
        return _read_json(path)

    def fingerprint(self) -> str:
        digest = hashlib.sha256((self._path / layout.INFO_PATH).read_bytes())
        for file in sorted(self._path.rglob("*")):
            if file.is_file():
                facts = file.stat()
                digest.update(
                    f"{file.relative_to(self._path)} {facts.st_size} {facts.st_mtime_ns}\n".encode()
                )
        return digest.hexdigest()[:16]

    def metadata(self, index: int) -> dict[str, Any]:
        """What the collector noted about an episode; empty in data sets of others."""
        require_known_episode(index, self.num_episodes)
        return json.loads(self._episodes[index].get("metadata") or "{}")

    def episode(self, index: int) -> Episode:
        require_known_episode(index, self.num_episodes)
        rows = slice(self._starts[index], self._starts[index] + self._episodes[index]["length"])
        return Episode(
            index=index,
            state=self._state[rows],
            action=self._action[rows],
            instruction=self._tasks[self._task_index[self._starts[index]]],
        )

    def frames(self, index: int, camera: str) -> Iterator[np.ndarray]:
        require_known_episode(index, self.num_episodes)
        require_known_camera(self._spec, camera)
        found = next(entry for entry in self._spec.cameras if entry.name == camera)
        if self._info["features"][layout.camera_key(camera)]["dtype"] == "image":
            return self._stored_images(index, found)
        return self._video_frames(index, found)

    def _video_frames(self, index: int, camera: Camera) -> Iterator[np.ndarray]:
        row, key = self._episodes[index], layout.camera_key(camera)
        path = self._path / self._info["video_path"].format(
            video_key=key,
            chunk_index=row[f"videos/{key}/chunk_index"],
            file_index=row[f"videos/{key}/file_index"],
        )
        start = row[f"videos/{key}/from_timestamp"]
        return decode_video(path, camera, self._spec.control_rate_hz, start, row["length"])

    def _stored_images(self, index: int, camera: Camera) -> Iterator[np.ndarray]:
        key, path = layout.camera_key(camera), self._data_path(self._episodes[index])
        table = pyarrow.dataset.dataset(path).to_table(
            columns=[key, "frame_index"], filter=pc.field("episode_index") == index
        )
        for number, cell in enumerate(table.sort_by("frame_index")[key]):
            try:
                image = np.asarray(Image.open(io.BytesIO(cell.as_py()["bytes"])).convert("RGB"))
            except (UnidentifiedImageError, OSError, TypeError) as error:
                raise DataError(
                    f"{path}, {key}, episode {index}, frame {number}: expected an encoded image, "
                    f"got {error}. Restore this file from its source."
                ) from error
            require_frame(image, camera, number)
            yield image

    def _data_path(self, row: dict[str, Any]) -> Path:
        return self._path / self._info["data_path"].format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )

    def _read_vectors(self) -> None:
        paths = list(dict.fromkeys(self._data_path(row) for row in self._episodes))
        columns = [layout.STATE_KEY, layout.ACTION_KEY, "episode_index", "frame_index", "task_index"]
        table = pa.concat_tables([_read_table(path, columns) for path in paths])
        self._state = _table_of_floats(table[layout.STATE_KEY], paths[0], layout.STATE_KEY)
        self._action = _table_of_floats(table[layout.ACTION_KEY], paths[0], layout.ACTION_KEY)
        self._task_index = table["task_index"].to_numpy()
        lengths = np.array([row["length"] for row in self._episodes])
        if len(lengths) and lengths.min() < 1:
            raise DataError(
                f"{self._path}, episode {lengths.argmin()}: expected at least one step, "
                "got an empty episode. Remove it."
            )
        self._starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).tolist()
        expected = np.repeat([row["episode_index"] for row in self._episodes], lengths)
        steps = np.arange(lengths.sum()) - np.repeat(self._starts, lengths)
        if not (
            np.array_equal(table["episode_index"].to_numpy(), expected)
            and np.array_equal(table["frame_index"].to_numpy(), steps)
        ):
            raise DataError(
                f"{self._path}: expected the rows of data/ to be those that meta/episodes announces "
                f"({len(expected)} in the order of the episodes), got {table.num_rows} that do not fit. "
                "Restore the data set from its source."
            )
        for index, start in enumerate(self._starts):
            rows = slice(start, start + lengths[index])
            where = f"{self._path}, episode {index}"
            require_valid_vectors(where, self._state[rows], self._action[rows], self._spec)
            if (self._task_index[rows] != self._task_index[start]).any():
                raise DataError(
                    f"{where}: expected one instruction, got several. Split it where the instruction changes."
                )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected readable JSON, got {error}. Restore it from its source."
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
    info = _read_json(file)
    version = info.get("codebase_version")
    if version != layout.CODEBASE_VERSION:
        raise DataError(
            f"{file}, codebase_version: expected {layout.CODEBASE_VERSION}, got {version}. "
            "Convert v2.1 with python -m lerobot.datasets.v30.convert_dataset_v21_to_v30."
        )
    steps = info.get("steps_per_picture", 1)
    if not isinstance(steps, int) or steps < 1:
        raise DataError(
            f"{file}, steps_per_picture: expected a positive whole number, got {steps!r}. "
            "Restore it from its source."
        )
    return info


def _choose_spec(path: Path, given: Spec | None) -> Spec:
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
        stored = Spec.from_dict(_read_json(file))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{file}: expected a spec, got {error!r}. Restore it from its source.") from error
    differences = given.differences(stored) if given else []
    if differences:
        raise DataError(
            f"{file}: expected the spec that was passed, got {'; '.join(differences)} (passed first). "
            "Leave the spec out to use the data set's own."
        )
    return stored


def _require_features(path: Path, info: dict[str, Any], spec: Spec) -> None:
    features, file = info["features"], path / layout.INFO_PATH
    stored = [
        name.removeprefix(layout.CAMERA_PREFIX)
        for name, feature in features.items()
        if feature["dtype"] in ("video", "image")
    ]
    for camera in spec.cameras:
        if layout.camera_key(camera) not in features:
            raise DataError(
                f"{file}: expected camera {camera.name!r} of the spec, "
                f"got {', '.join(map(repr, stored)) or 'none'}. Name the spec's cameras as the data set does."
            )
        shape = features[layout.camera_key(camera)]["shape"]
        if sorted(shape) != sorted([camera.height, camera.width, 3]):
            raise DataError(
                f"{file}, {layout.camera_key(camera)}: expected {camera.height}x{camera.width} as in "
                f"the spec, got shape {shape}. Correct the spec."
            )
    for key, names in ((layout.STATE_KEY, spec.state), (layout.ACTION_KEY, spec.action)):
        if key not in features:
            raise DataError(f"{file}: expected the feature {key}, got {', '.join(features)}. Rename it.")
        shape = features[key]["shape"]
        if list(shape) != [len(names)]:
            raise DataError(
                f"{file}, {key}: expected {len(names)} dimensions as the spec names them "
                f"({', '.join(names)}), got shape {shape}. Use the spec that belongs to this data set."
            )
    if abs(info["fps"] - spec.control_rate_hz) > 1e-6:
        raise DataError(
            f"{file}, fps: expected the spec's control rate of {spec.control_rate_hz} Hz, got {info['fps']}. "
            "Correct the spec."
        )


def _read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """All columns but the statistics of episodes, or those that are named."""
    try:
        file = pq.ParquetFile(path)
        present = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
        missing = set(columns or []) - set(present)
        if missing:
            raise DataError(
                f"{path}: expected the columns {', '.join(sorted(missing))}, got only {', '.join(present)}. "
                "Restore it from its source."
            )
        return file.read(columns=columns or present)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: expected a complete parquet file, got {error}. Restore it from its source."
        ) from error


def _read_tasks(path: Path) -> dict[int, str]:
    table = _read_table(path / layout.TASKS_PATH)
    texts = [name for name in table.column_names if name != "task_index"]
    if len(texts) != 1 or "task_index" not in table.column_names:
        raise DataError(
            f"{path / layout.TASKS_PATH}: expected task_index and one column of texts, "
            f"got {', '.join(table.column_names)}. Restore it from its source."
        )
    return dict(zip(table["task_index"].to_pylist(), table[texts[0]].to_pylist(), strict=True))


def _read_episodes(path: Path) -> list[dict[str, Any]]:
    files = sorted((path / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise DataError(
            f"{path / 'meta/episodes'}: expected the list of episodes, got no file. "
            "Download the data set again."
        )
    rows = []
    for file in files:
        rows += _read_table(file).to_pylist()
    rows.sort(key=lambda row: row["episode_index"])
    if not rows:
        raise DataError(f"{path}: expected at least one episode, got none. Record some first.")
    return rows


def _table_of_floats(column: pa.ChunkedArray, path: Path, key: str) -> np.ndarray:
    """A (rows, width) float32 table from a column of numbers or of lists, all of one length."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps more than one if they are very large
        array = pa.concat_arrays(array.chunks)
    flat = array if not hasattr(array, "flatten") or pa.types.is_primitive(array.type) else array.flatten()
    values = flat.to_numpy(zero_copy_only=False).astype(np.float32)
    if len(array) == 0 or len(values) % len(array):
        raise DataError(
            f"{path}, {key}: expected vectors of one width, got a ragged column. Restore the file."
        )
    return values.reshape(len(array), -1)


def _read_quantiles(values: dict[str, Any], key: str, width: int) -> Quantiles:
    if key not in values:
        raise KeyError(key)
    for name in ("q01", "q99"):
        if name not in values[key]:
            raise KeyError(f"{key}.{name}")
    low, high = (tuple(np.asarray(values[key][name], float).reshape(-1).tolist()) for name in ("q01", "q99"))
    if len(low) != width or len(high) != width:
        raise DataError(
            f"{layout.STATISTICS_PATH}, {key}: expected {width} dimensions, got {len(low)}. "
            "Compute them again with Statistics.from_source."
        )
    return Quantiles(q01=low, q99=high)
