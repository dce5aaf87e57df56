"""Reading LeRobot data sets, versions 3.0, 2.1 and 2.0, without the lerobot library."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from focusvla.data.episodes import require_known_episode
from focusvla.data.formats import lerobot_layout as layout
from focusvla.data.formats.file_source import Damage, FileSource, Recording, read_json
from focusvla.data.formats.lerobot_consistency import (
    EpisodeVideos,
    count_contradictions,
    require_row_agreement,
    table_contradictions,
    unlisted_rows,
)
from focusvla.data.formats.lerobot_metadata import (
    EpisodeEntry,
    Metadata,
    choose_spec,
    require_features,
)
from focusvla.data.formats.lerobot_tables import read_table, table_of_floats
from focusvla.data.formats.stored_images import decode_image
from focusvla.data.normalization import Quantiles, Statistics
from focusvla.errors import DataError
from focusvla_client import Camera, Spec


class LeRobotSource(FileSource):
    """A LeRobot data set on disk, with frames as videos or as images.

    A data set that this package wrote brings its spec along; for any other the caller gives one, whose camera names
    are those of the features `observation.images.NAME`. With `skip_damaged` an episode that cannot be read is left
    out and told of in `skipped`.

    Raises:
        DataError: the folder is missing, incomplete, damaged, of an unknown version, or does not fit the spec.
    """

    def __init__(self, path: Path, spec: Spec | None = None, *, skip_damaged: bool = False):
        self._path = path
        metadata = Metadata.read(path)
        self._info = metadata.info
        spec = choose_spec(path, spec)
        require_features(path, metadata.info, spec)
        damage, rate = Damage(skip_damaged), float(metadata.info["fps"])
        self._keys = _Keys.of(metadata.info["features"], spec)
        tables, encoded = _Tables(self._keys), _encoded_keys(metadata.info)
        self._videos = EpisodeVideos(metadata, list(self._keys.cameras.values()))
        episodes = [
            _LeRobotEpisode(path, entry, self._keys, tables, self._videos, metadata.tasks, rate, encoded)
            for entry in metadata.episodes
        ]
        super().__init__(path, spec, episodes, damage)
        for contradiction in (
            *table_contradictions(metadata, tables.places),
            *count_contradictions(path, metadata),
        ):
            damage.refuse(contradiction)
        self._notes = unlisted_rows(path, metadata, tables.places)
        self._entries = [metadata.episodes[position] for position in self._kept]

    @property
    def steps_per_picture(self) -> int:
        return self._info.get("steps_per_picture", 1)

    @property
    def robot_type(self) -> str | None:
        return self._info.get("robot_type")

    @property
    def recorded_names(self) -> dict[str, Any]:
        """What the data set calls its numbers, in whatever form."""
        keys = {"state": self._keys.state, "action": self._keys.action}
        return {vector: self._info["features"][key].get("names") for vector, key in keys.items()}

    def metadata(self, index: int) -> dict[str, Any]:
        """What the collector noted about an episode; empty in data sets of others."""
        require_known_episode(index, self.num_episodes)
        return dict(self._entries[index].metadata)

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    def require_pictures(self, num_threads: int) -> None:
        """Raise unless every row has a frame of its own at its time, in all videos; nothing is decoded.

        Raises:
            DataError: naming the file and the episode.
        """
        self._videos.require({entry.index for entry in self._entries}, num_threads)

    def fingerprint(self) -> str:
        found = super().fingerprint()
        if self._videos.paths and not (self._path / layout.SPEC_PATH).is_file():
            # Pictures of others' videos may have been of other moments when they were counted, and caches bear this.
            return hashlib.sha256(f"{found} by time".encode()).hexdigest()[:16]
        return found

    @property
    def computes_statistics(self) -> bool:
        """Whether the data set holds no quantiles of the steps that are read: where it has none, where episodes were left
        out, and wherever another program wrote it. What the `lerobot` library calls a data set's quantiles is the mean of
        its episodes' (`aggregate_feature_stats` of 0.6.1): a narrower range, to which states and actions are clipped.
        """
        if self.skipped or not (self._path / layout.SPEC_PATH).is_file():
            return True
        action, state = self._stored_statistics()
        return not {"q01", "q99"} <= action.keys() & state.keys()

    def statistics(self) -> Statistics:
        """Those that the data set holds, or computed where it `computes_statistics`.

        Raises:
            DataError: it holds some, and they are damaged.
        """
        if self.computes_statistics:
            return super().statistics()
        file, (action, state) = self._path / layout.STATISTICS_PATH, self._stored_statistics()
        return Statistics(
            action=_quantiles(action, file, self._keys.action, len(self.spec.action)),
            state=_quantiles(state, file, self._keys.state, len(self.spec.state)),
        )

    def _stored_statistics(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the data set says of actions and of states, perhaps nothing."""
        file = self._path / layout.STATISTICS_PATH
        stored = read_json(file) if file.is_file() else {}
        action, state = stored.get(self._keys.action, {}), stored.get(self._keys.state, {})
        if not isinstance(action, dict) or not isinstance(state, dict):
            raise DataError(
                f"{file}: expected names and values for {self._keys.action} and {self._keys.state}, got something "
                "else. Remove the file, and they are computed."
            )
        return action, state


@dataclass(frozen=True)
class _Keys:
    """What the data set calls the features that are read."""

    state: str
    action: str
    cameras: Mapping[str, str]
    """By the spec's names."""

    @classmethod
    def of(cls, features: Mapping[str, Any], spec: Spec) -> "_Keys":
        state, action = (layout.stored_key(features, key) for key in (layout.STATE_KEY, layout.ACTION_KEY))
        cameras = {c.name: layout.stored_key(features, layout.camera_key(c)) for c in spec.cameras}
        return cls(state, action, cameras)


class _Tables:
    """The numbers of the data file that was asked for last, since neighbors often share one."""

    def __init__(self, keys: _Keys):
        self._keys = keys
        self._path: Path | None = None
        self._found: dict[int, _Rows] | DataError = {}
        self.places: dict[int, set[Path]] = {}
        """In which of the files that have been read each episode has rows."""

    def rows(self, path: Path, episode: int) -> "_Rows | None":
        """The rows of one episode in the order of its steps, or None where the file has none.

        Raises:
            DataError: the file is damaged.
        """
        if path != self._path:
            try:
                self._found = _rows_by_episode(path, self._keys)
                for index in self._found:
                    self.places.setdefault(index, set()).add(path)
            except DataError as error:
                self._found = error
            self._path = path
        if isinstance(self._found, DataError):
            raise self._found
        return self._found.get(episode)


@dataclass(frozen=True)
class _Rows:
    state: np.ndarray
    action: np.ndarray
    frame_index: np.ndarray
    task_index: np.ndarray
    stated: Mapping[str, np.ndarray]
    """What is stored beside them that only confirms the rest: `timestamp` and `index`, where they are."""


def _rows_by_episode(path: Path, keys: _Keys) -> dict[int, _Rows]:
    columns = [keys.state, keys.action, "episode_index", "frame_index", "task_index"]
    table = read_table(path, columns, optional=("timestamp", "index"))
    episode, frame, task = (table[name].to_numpy() for name in columns[2:])
    state, action = (table_of_floats(table[key], path, key) for key in columns[:2])
    stated = {
        name: table_of_floats(table[name], path, name, np.float64)
        for name in table.column_names[len(columns) :]
    }
    order = np.lexsort((frame, episode))
    indices, starts = np.unique(episode[order], return_index=True)
    return {
        int(index): _Rows(
            *(values[rows] for values in (state, action, frame, task)),
            stated={name: values[rows] for name, values in stated.items()},
        )
        for index, rows in zip(indices, np.split(order, starts[1:]), strict=True)
    }


@dataclass(frozen=True)
class _LeRobotEpisode:
    path: Path
    entry: EpisodeEntry
    keys: _Keys
    tables: _Tables
    videos: EpisodeVideos
    tasks: Mapping[int, str]
    rate_hz: float
    """Frames in a second of video."""
    encoded: Sequence[str]
    """Features whose images are stored in the tables."""

    @property
    def name(self) -> str:
        return f"{self.path}, episode {self.entry.index}"

    def recording(self) -> Recording:
        length = self.entry.length
        if length < 1:
            raise DataError(f"{self.name}: expected at least one step, got an empty episode. Remove it.")
        if self.entry.contradiction:
            raise DataError(self.entry.contradiction)
        rows = self.tables.rows(self.entry.data_path, self.entry.index)
        found = 0 if rows is None else len(rows.frame_index)
        if rows is None or found != length or not np.array_equal(rows.frame_index, np.arange(length)):
            raise DataError(
                f"{self.name}: expected the rows 0..{length - 1} in {self.entry.data_path.name}, as meta/ announces, "
                f"got {found} that do not fit. Restore it from its source."
            )
        if (rows.task_index != rows.task_index[0]).any():
            raise DataError(
                f"{self.name}: expected one instruction, got several. Split it where the instruction changes."
            )
        instruction = self.tasks.get(int(rows.task_index[0]), "")
        require_row_agreement(self.entry, instruction, rows.stated, self.rate_hz)
        return Recording(rows.state, rows.action, instruction)

    def frames(self, camera: Camera) -> Iterator[np.ndarray]:
        key = self.keys.cameras[camera.name]
        if key in self.encoded:
            return self._stored_images(key, camera)
        video, positions = self.videos.find(self.entry.videos[key].path, self.entry.index)
        return video.decode(positions, camera)

    def _stored_images(self, key: str, camera: Camera) -> Iterator[np.ndarray]:
        path = self.entry.data_path
        try:
            table = pyarrow.dataset.dataset(path).to_table(
                columns=[key, "frame_index"], filter=pc.field("episode_index") == self.entry.index
            )
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{path}, {key}: expected encoded images, got {error}. Restore this file from its source."
            ) from error
        where = f"{path}, {key}, episode {self.entry.index}, frame"
        for number, cell in enumerate(table.sort_by("frame_index")[key]):
            stored = cell.as_py()
            content = stored.get("bytes") if isinstance(stored, dict) else stored
            if content is None and isinstance(stored, dict) and isinstance(stored.get("path"), str):
                content = self._outside(stored["path"], f"{where} {number}")
            yield decode_image(content, camera, f"{where} {number}")

    def _outside(self, name: str, where: str) -> bytes:
        """The picture in a file of the folder of which only the path is stored."""
        file = self.path / name
        if not file.resolve().is_relative_to(self.path.resolve()):
            raise DataError(f"{where}: expected a picture in the data set's folder, got the path {name}.")
        try:
            return file.read_bytes()
        except OSError as error:
            raise DataError(
                f"{where}: expected a picture at the path that is stored, got {error}. Restore {file} from its source."
            ) from error


def _encoded_keys(info: Mapping[str, Any]) -> list[str]:
    return [key for key, feature in info["features"].items() if feature["dtype"] == "image"]


def _quantiles(values: Mapping[str, Any], path: Path, key: str, width: int) -> Quantiles:
    try:
        low, high = (tuple(np.asarray(values[name], float).reshape(-1).tolist()) for name in ("q01", "q99"))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}, {key}: expected numbers, got {error}. Remove the file, and they are computed."
        ) from error
    if len(low) != width or len(high) != width:
        raise DataError(
            f"{path}, {key}: expected {width} dimensions, got {len(low)}. Remove the file, and they are computed."
        )
    return Quantiles(q01=low, q99=high)
