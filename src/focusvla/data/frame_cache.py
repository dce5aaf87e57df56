"""All frames that training needs, decoded once into one memory-mapped file: as they are, or each as a JPEG file."""

import os
import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import UInt8

from focusvla.config import AS_SHOWN, PictureConfig
from focusvla.data.compressed_frames import (
    QUALITY,
    CompressedFrames,
    CompressedFrameWriter,
    bytes_path,
    encode,
)
from focusvla.data.episodes import EpisodeSource
from focusvla.data.pictures import prepare_pictures
from focusvla.data.verification import require_pictures
from focusvla.errors import DataError, FocusVLAError, StorageError
from focusvla.storage import (
    complete_lines,
    create_table,
    explained_storage_errors,
    locked,
    nearest_existing,
    partial_path,
    require_free_space,
)

FrameFormat = Literal["raw", "jpeg"]

_HEADER_BYTES = 4096
_ANNOUNCED_BYTES = 10**9
_SAMPLED_EPISODES = 8
"""Whose first pictures tell how large JPEG files will be."""
_SAMPLE_MARGIN = 1.25
_FRAMES_AT_ONCE = 2
"""Few, so that they stay in a core's own memory while they are resized."""


class FrameCache:
    """Every `stride`-th frame of every episode, in order, as (rows, cameras, size, size, 3) uint8.

    Two episodes of 5 and 3 steps with stride 2 give the rows

        row      0    1    2    3    4
        episode  0    0    0    1    1
        step     0    2    4    0    2
    """

    def __init__(self, path: Path, size: int, frame_format: FrameFormat = "raw"):
        self.path = path
        self.images: UInt8[np.ndarray, "rows cameras height width 3"]
        # Compressed frames read as an array does, by rows: whoever asks for them asks for no more.
        self.images = cast(
            np.ndarray,
            np.load(path, mmap_mode="r") if frame_format == "raw" else CompressedFrames(path, size),
        )

    def __len__(self) -> int:
        return len(self.images)


def open_frame_cache(
    source: EpisodeSource,
    folder: Path,
    *,
    stride: int = 1,
    size: int,
    pictures: PictureConfig = AS_SHOWN,
    num_workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
    frame_format: FrameFormat = "raw",
    on_remark: Callable[[str], None] = lambda text: None,
) -> FrameCache:
    """Open the cache of a data set, decoding it first if that has not been done; how large it will be is said before.

    The file's name holds a fingerprint of the data set, the stride, the size and the steps that `pictures` go through, so
    that another data set is never mistaken for this one. Of several processes that ask at once, one decodes and the
    others wait. A killed one leaves a ledger of finished episodes, which the next does not decode again.

    `num_workers` threads decode an episode each, by default one for each core. `on_progress` is told the number of
    finished and of all episodes. With `frame_format="jpeg"` pictures lose a little and take about a sixth; they are
    decoded by whoever reads them.

    Raises:
        StorageError: the disk has not enough space, or the memory that holds the folder, told before anything is decoded,
            or the folder may not be written.
        DataError: a video is damaged, or a row has no picture of its own, which is told before anything is decoded.
    """
    steps = f"-{pictures}" if str(pictures) else ""
    stored = "" if frame_format == "raw" else f"-jpeg{QUALITY}"
    path = folder / f"frames-{source.fingerprint()}-stride{stride}-size{size}{steps}{stored}.npy"
    if not path.exists():
        with locked(path.with_suffix(".lock")), explained_storage_errors(folder):
            if not path.exists():
                workers = num_workers or os.cpu_count() or 1
                require_pictures(source, workers)
                kind = _RawTable if frame_format == "raw" else _CompressedTable
                table = kind(source, path, stride, size, pictures, on_remark)
                _decode(table, workers, on_progress)
    return FrameCache(path, size, frame_format)


def sampled_steps(length: int, stride: int) -> range:
    """The steps of an episode whose frames are used."""
    return range(0, length, stride)


class _RawTable:
    """The file that is being filled with pictures as they are, and which episodes are in it."""

    def __init__(
        self,
        source: EpisodeSource,
        path: Path,
        stride: int,
        size: int,
        pictures: PictureConfig,
        on_remark: Callable[[str], None],
    ):
        """Make it, or go on with what a killed process left."""
        self.source, self.path, self.stride, self.size, self.pictures = source, path, stride, size, pictures
        lengths = (len(source.episode(index)) for index in range(source.num_episodes))
        self.counts = [len(sampled_steps(length, stride)) for length in lengths]
        self.ends = np.cumsum(self.counts)
        self.shape = (int(self.ends[-1]), len(source.spec.cameras), size, size, 3)
        self.partial = partial_path(path)
        self.ledger = self.partial.with_suffix(".finished")
        self.finished = self._known_to_be_finished()
        if self.finished:
            self.table = np.lib.format.open_memmap(self.partial, "r+")
        else:
            self.discard()
            needed = self._needed_bytes()
            if needed >= _ANNOUNCED_BYTES:
                on_remark(self._announcement(needed))
            _require_room(path, needed)
            self.table = create_table(self.partial, self._dtype, self._table_shape)

    _dtype: type = np.uint8

    @property
    def _table_shape(self) -> tuple[int, ...]:
        return self.shape

    def rows(self, index: int) -> slice:
        """Those of an episode."""
        return slice(int(self.ends[index]) - self.counts[index], int(self.ends[index]))

    def fill(self, index: int) -> int:
        """Decode an episode into it; several threads may."""
        self._decode_into(self.table[self.rows(index)], index)
        return index

    def publish(self) -> None:
        """It is whole."""
        os.replace(self.partial, self.path)
        self.ledger.unlink()

    def discard(self) -> None:
        """Nothing is left of it."""
        for file in (self.ledger, self.partial):
            file.unlink(missing_ok=True)

    def _decode_into(self, pictures: UInt8[np.ndarray, "rows cameras size size 3"], index: int) -> None:
        for position, camera in enumerate(self.source.spec.cameras):
            rows = pictures[:, position]
            _decode_episode(self.source, index, camera.name, self.stride, self.pictures, rows)

    def _needed_bytes(self) -> int:
        return int(np.prod(self.shape)) + _HEADER_BYTES

    def _announcement(self, needed: int) -> str:
        free = shutil.disk_usage(nearest_existing(self.path)).free
        said = (
            f"the frame cache takes {needed / 1e9:.1f} GB for {self.shape[0]} x {self.shape[1]} pictures of {self.size} "
            f"px in {self.path.parent}, where {free / 1e9:.1f} GB are free"
        )
        if self._dtype is np.uint8 and (memory := _available_memory()) and needed > memory:
            said += (
                f"; that is more than the {memory / 1e9:.1f} GB of memory, and is read from the disk again and again: as "
                " JPEG files (--frame-format jpeg) it takes about a sixth"
            )
        return said

    def _known_to_be_finished(self) -> set[int]:
        if not (self.partial.exists() and self.ledger.exists()):
            return set()
        found = np.load(self.partial, mmap_mode="r")
        lines = complete_lines(self.ledger.read_text())
        is_known = set(lines) <= set(map(str, range(self.source.num_episodes)))
        return set(map(int, lines)) if found.shape == self._table_shape and is_known else set()


class _CompressedTable(_RawTable):
    """A file of JPEG files, and where each lies in it."""

    _dtype = np.int64

    def __init__(
        self,
        source: EpisodeSource,
        path: Path,
        stride: int,
        size: int,
        pictures: PictureConfig,
        on_remark: Callable[[str], None],
    ):
        super().__init__(source, path, stride, size, pictures, on_remark)
        is_kept = np.zeros(self.shape[0], bool)
        for index in self.finished:
            is_kept[self.rows(index)] = True
        self._writer = CompressedFrameWriter(self.table, bytes_path(self.partial), is_kept)

    @property
    def _table_shape(self) -> tuple[int, ...]:
        return (*self.shape[:2], 2)

    def fill(self, index: int) -> int:
        """Decode an episode and compress it; several threads may."""
        pictures = np.empty((self.counts[index], *self.shape[1:]), np.uint8)
        self._decode_into(pictures, index)
        self._writer.write(self.rows(index), pictures)
        return index

    def publish(self) -> None:
        """It is whole."""
        self._writer.close()
        os.replace(bytes_path(self.partial), bytes_path(self.path))
        super().publish()

    def discard(self) -> None:
        """Nothing is left of it."""
        super().discard()
        bytes_path(self.partial).unlink(missing_ok=True)

    def _needed_bytes(self) -> int:
        """By the first pictures of some episodes, and a quarter more."""
        sizes = []
        for index in np.linspace(0, self.source.num_episodes - 1, _SAMPLED_EPISODES, dtype=int):
            for camera in self.source.spec.cameras:
                first = torch.from_numpy(next(iter(self.source.frames(int(index), camera.name)))[None].copy())
                sizes.append(len(encode(prepare_pictures(first, self.size, self.pictures)[0].numpy())))
        each = _SAMPLE_MARGIN * float(np.mean(sizes)) + 16
        return int(each * self.shape[0] * self.shape[1]) + _HEADER_BYTES


def _decode(table: _RawTable, num_workers: int, on_progress: Callable[[int, int], None] | None) -> None:
    left = [index for index in range(len(table.counts)) if index not in table.finished]
    try:
        with table.ledger.open("a") as lines, _one_torch_thread(), ThreadPoolExecutor(num_workers) as threads:
            futures = [threads.submit(table.fill, index) for index in left]
            try:
                for future in as_completed(futures):
                    index = future.result()
                    table.table.flush()  # first, so that no episode is taken as finished whose frames are lost
                    print(index, file=lines, flush=True)
                    table.finished.add(index)
                    if on_progress:
                        on_progress(len(table.finished), len(table.counts))
            finally:
                threads.shutdown(cancel_futures=True)
        table.publish()
    except FocusVLAError:
        table.discard()
        raise


def _require_room(path: Path, needed: int) -> None:
    require_free_space(path, needed, "the frame cache")
    memory = _available_memory()
    if memory is not None and needed > memory and _lies_in_memory(nearest_existing(path)):
        raise StorageError(
            f"{path}: the frame cache needs {needed} bytes, and the folder lies in memory, of which {memory} are free. "
            "Choose a folder on a disk."
        )


def _available_memory() -> int | None:
    """Bytes; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _lies_in_memory(folder: Path) -> bool:
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return False
    holding = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(holding, default=(0, ""))[1] in ("tmpfs", "ramfs")


def _decode_episode(
    source: EpisodeSource,
    index: int,
    camera: str,
    stride: int,
    pictures: PictureConfig,
    rows: UInt8[np.ndarray, "rows size size 3"],
) -> None:
    done = 0
    frames = islice(source.frames(index, camera), 0, None, stride)
    while kept := list(islice(frames, _FRAMES_AT_ONCE)):
        if done + len(kept) <= len(rows):
            prepared = prepare_pictures(torch.from_numpy(np.stack(kept)), rows.shape[1], pictures)
            rows[done : done + len(kept)] = prepared.numpy()
        done += len(kept)
    if done != len(rows):
        raise DataError(
            f"episode {index}, camera {camera!r}: expected {len(rows)} frames with stride {stride}, "
            f"got {done}. Restore the data set from its source."
        )


@contextmanager
def _one_torch_thread() -> Generator[None]:
    """Episodes are decoded side by side; threads of torch within each would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
