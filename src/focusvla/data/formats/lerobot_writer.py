"""Writing LeRobot data sets, version 3.0, without the lerobot library."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from focusvla.data.episodes import require_valid_vectors
from focusvla.data.feature_statistics import (
    FeatureStatistics,
    VectorStatistics,
    flat_columns,
    image_statistics,
    vector_statistics,
)
from focusvla.data.formats import lerobot_layout as layout
from focusvla.data.shards import Shard, read_shard_index, write_episode_shard
from focusvla.data.video import join_videos
from focusvla.errors import DataError
from focusvla.storage import publish_folder, require_free_space
from focusvla_client import Spec

_Row = dict[str, Any]


class LeRobotWriter:
    """Records episodes one after the other into a data set, from one process.

    Use it as a context manager, or call `finalize`; until then nothing is visible under `path`. Several
    processes write shards themselves and call `assemble_dataset` once.
    """

    def __init__(self, path: Path, spec: Spec, robot_type: str):
        self._path = path.absolute()
        self._spec = spec
        self._robot_type = robot_type
        self._staging = self._path.with_name(f".{self._path.name}.staging")
        self._num_episodes = 0
        shutil.rmtree(self._staging, ignore_errors=True)

    def add_episode(
        self,
        *,
        frames: Mapping[str, Iterable[np.ndarray]],
        state: np.ndarray,
        action: np.ndarray,
        instruction: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Record one episode; see `write_episode_shard`."""
        write_episode_shard(
            self._staging / f"{self._num_episodes:08d}",
            self._spec,
            frames=frames,
            state=state,
            action=action,
            instruction=instruction,
            metadata=metadata,
        )
        self._num_episodes += 1

    def finalize(self) -> None:
        """Make the data set out of the recorded episodes.

        Raises:
            DataError: there are none.
            StorageError: the folder exists already, or the disk is full.
        """
        assemble_dataset(read_shard_index(self._staging), self._path, self._spec, self._robot_type)
        shutil.rmtree(self._staging)

    def __enter__(self) -> "LeRobotWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finalize()
        else:
            shutil.rmtree(self._staging, ignore_errors=True)


def assemble_dataset(
    shards: Sequence[Shard], output: Path, spec: Spec, robot_type: str, steps_per_picture: int = 1
) -> None:
    """Make one LeRobot data set of recorded episodes, numbered in the order given; videos are not re-encoded.

    The result appears under `output` complete or not at all. `steps_per_picture` tells readers that in each
    episode only every that many frames, from the first on, was taken anew.

    Raises:
        DataError: no episode, an episode of another spec, or a damaged one.
        StorageError: `output` exists already, or the disk is full.
    """
    if not shards:
        raise DataError(f"{output}: expected at least one recorded episode, got none. Record some first.")
    for shard in shards:
        differences = spec.differences(shard.spec)
        if differences:
            raise DataError(
                f"episode {shard.folder.name}: expected the data set's spec, got {'; '.join(differences)} "
                "(data set first). Record it again, or put it into another data set."
            )
    needed = sum(file.stat().st_size for shard in shards for file in shard.folder.iterdir())
    require_free_space(output, needed, "the data set")
    with publish_folder(output) as partial:
        rows: list[_Row] = [
            {"episode_index": index, "tasks": [shard.instruction], "length": shard.length}
            for index, shard in enumerate(shards)
        ]
        tasks = {text: index for index, text in enumerate(dict.fromkeys(s.instruction for s in shards))}
        for camera in spec.cameras:
            _join_camera(partial, camera.name, shards, rows, spec)
        statistics = _write_data(partial, shards, rows, tasks, spec) | _image_statistics(shards, spec)
        _write_tasks(partial / layout.TASKS_PATH, tasks)
        _write_episodes(partial, rows, shards)
        _write_json(partial / layout.STATISTICS_PATH, statistics)
        _write_json(partial / layout.SPEC_PATH, spec.to_dict())
        _write_json(partial / layout.INFO_PATH, _info(shards, tasks, spec, robot_type, steps_per_picture))


def _join_camera(root: Path, camera: str, shards: Sequence[Shard], rows: list[_Row], spec: Spec) -> None:
    key = layout.camera_key(camera)
    sizes = [shard.video(camera).stat().st_size for shard in shards]
    groups = group_within(sizes, layout.VIDEO_FILE_MEGABYTES * 2**20)
    for number, group in enumerate(groups):
        chunk_index, file_index = divmod(number, layout.CHUNK_SIZE)
        path = root / layout.VIDEO_PATH.format(video_key=key, chunk_index=chunk_index, file_index=file_index)
        path.parent.mkdir(parents=True, exist_ok=True)
        join_videos(
            [shards[index].video(camera) for index in group],
            [shards[index].length for index in group],
            path,
            spec.control_rate_hz,
        )
        position = 0
        for index in group:
            rows[index] |= {
                f"videos/{key}/chunk_index": chunk_index,
                f"videos/{key}/file_index": file_index,
                f"videos/{key}/from_timestamp": position / spec.control_rate_hz,
                f"videos/{key}/to_timestamp": (position + shards[index].length) / spec.control_rate_hz,
            }
            position += shards[index].length


def _write_data(
    root: Path, shards: Sequence[Shard], rows: list[_Row], tasks: Mapping[str, int], spec: Spec
) -> dict[str, FeatureStatistics]:
    """Write the tables of numbers, complete `rows`, and return every feature's statistics over the whole data set."""
    row_bytes = 4 * (len(spec.state) + len(spec.action) + 1) + 8 * 4
    groups = group_within([shard.length * row_bytes for shard in shards], layout.DATA_FILE_MEGABYTES * 2**20)
    collected: defaultdict[str, VectorStatistics] = defaultdict(VectorStatistics)
    first = 0
    for number, group in enumerate(groups):
        chunk_index, file_index = divmod(number, layout.CHUNK_SIZE)
        path = root / layout.DATA_PATH.format(chunk_index=chunk_index, file_index=file_index)
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = None
        for index in group:
            columns = _episode_columns(shards[index], index, first, tasks, spec)
            table = pa.table({name: _arrow_column(values) for name, values in columns.items()})
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            statistics = {name: vector_statistics(values) for name, values in columns.items()}
            rows[index] |= {
                "data/chunk_index": chunk_index,
                "data/file_index": file_index,
                "dataset_from_index": first,
                "dataset_to_index": first + shards[index].length,
                **flat_columns(statistics | _image_statistics([shards[index]], spec)),
            }
            first += shards[index].length
            for name, values in columns.items():
                collected[name].add(values)
        if writer:
            writer.close()
    return {name: statistics.result() for name, statistics in collected.items()}


def _episode_columns(
    shard: Shard, index: int, first: int, tasks: Mapping[str, int], spec: Spec
) -> dict[str, np.ndarray]:
    tensors = shard.tensors()
    where = f"episode {shard.folder.name}"
    require_valid_vectors(where, tensors["state"], tensors["action"], spec)
    if len(tensors["action"]) != shard.length:
        raise DataError(
            f"{where}: expected {shard.length} steps as episode.json says, got {len(tensors['action'])}. "
            "Remove it and record it again."
        )
    steps = np.arange(shard.length)
    return {
        layout.STATE_KEY: tensors["state"],
        layout.ACTION_KEY: tensors["action"],
        "timestamp": (steps / spec.control_rate_hz).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(shard.length, index),
        "index": first + steps,
        "task_index": np.full(shard.length, tasks[shard.instruction]),
    }


def _arrow_column(values: np.ndarray) -> pa.Array:  # pyright: ignore[reportUnknownParameterType]  # pyarrow has no types
    if values.ndim == 1 or values.shape[1] == 1:  # the format stores width 1 without a list
        return pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _image_statistics(shards: Sequence[Shard], spec: Spec) -> dict[str, FeatureStatistics]:
    count = sum(shard.num_histogram_frames() for shard in shards)
    totals = {camera.name: np.zeros((3, 256), np.int64) for camera in spec.cameras}
    for shard in shards:
        tensors = shard.tensors()
        for name, total in totals.items():
            total += tensors[f"histogram.{name}"]
    return {layout.camera_key(name): image_statistics(total, count) for name, total in totals.items()}


def _write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """A table whose row names are the tasks; the pandas note is what makes lerobot read them as such."""
    columns: list[dict[str, str | None]] = [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"},
    ]
    for column in columns:
        column["metadata"] = None
    note = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": list(tasks)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(note)}), path)


def _write_episodes(root: Path, rows: list[_Row], shards: Sequence[Shard]) -> None:
    for row, shard in zip(rows, shards, strict=True):
        row["meta/episodes/chunk_index"] = row["meta/episodes/file_index"] = 0
        row["metadata"] = json.dumps(dict(shard.metadata), ensure_ascii=False)
    path = root / layout.EPISODES_PATH.format(chunk_index=0, file_index=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _info(
    shards: Sequence[Shard], tasks: Mapping[str, int], spec: Spec, robot_type: str, steps_per_picture: int
) -> dict[str, Any]:
    return {
        "codebase_version": layout.CODEBASE_VERSION,
        "robot_type": robot_type,
        "total_episodes": len(shards),
        "total_frames": sum(shard.length for shard in shards),
        "total_tasks": len(tasks),
        "chunks_size": layout.CHUNK_SIZE,
        "data_files_size_in_mb": layout.DATA_FILE_MEGABYTES,
        "video_files_size_in_mb": layout.VIDEO_FILE_MEGABYTES,
        "fps": layout.frames_per_second(spec),
        "steps_per_picture": steps_per_picture,
        "splits": {"train": f"0:{len(shards)}"},
        "data_path": layout.DATA_PATH,
        "video_path": layout.VIDEO_PATH,
        "features": layout.describe_features(spec),
    }


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=4, ensure_ascii=False), "utf-8")


def group_within(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Split 0, 1, 2, ... into runs whose sizes sum to at most the limit.

    Sizes 3, 3, 5, 9 with limit 6 give [0, 1], [2], [3]: one that is too large alone has a run of its own.
    """
    groups: list[list[int]] = []
    total = 0
    for index, size in enumerate(sizes):
        total += size
        if not groups or total > limit:
            groups.append([])
            total = size
        groups[-1].append(index)
    return groups
