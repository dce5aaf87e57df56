"""All frames that training needs, decoded once into one memory-mapped file."""

import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from focusvla.config import AS_SHOWN, PictureConfig
from focusvla.data.episodes import EpisodeSource
from focusvla.data.pictures import prepare_pictures
from focusvla.data.storage import (
    complete_lines,
    create_table,
    explained_storage_errors,
    partial_path,
    require_free_space,
)
from focusvla.data.verification import require_pictures
from focusvla.errors import DataError, FocusVLAError

_HEADER_BYTES = 4096
_FRAMES_AT_ONCE = 2
"""Few, so that they stay in a core's own memory while they are resized."""


class FrameCache:
    """Every `stride`-th frame of every episode, in order, as (rows, cameras, size, size, 3) uint8.

    Two episodes of 5 and 3 steps with stride 2 give the rows

        row      0    1    2    3    4
        episode  0    0    0    1    1
        step     0    2    4    0    2
    """

    def __init__(self, path: Path):
        self.path = path
        self.images: UInt8[np.ndarray, "rows cameras height width 3"] = np.load(path, mmap_mode="r")

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
) -> FrameCache:
    """Open the cache of a data set, decoding it first if that has not been done.

    The file's name holds a fingerprint of the data set, the stride, the size and the steps that `pictures` go through, so
    that another data set is never mistaken for this one. Of several processes that ask at once, one decodes and the
    others wait. A killed one leaves a ledger of finished episodes, which the next does not decode again.

    `num_workers` threads decode an episode each, by default one for each core. `on_progress` is told the number of
    finished and of all episodes.

    Raises:
        StorageError: the disk has not enough space, told before anything is decoded, or the folder may not be written.
        DataError: a video is damaged, or a row has no picture of its own, which is told before anything is decoded.
    """
    steps = f"-{pictures}" if str(pictures) else ""
    path = folder / f"frames-{source.fingerprint()}-stride{stride}-size{size}{steps}.npy"
    if not path.exists():
        with explained_storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system if this process is killed
                if not path.exists():
                    workers = num_workers or os.cpu_count() or 1
                    require_pictures(source, workers)
                    _decode(source, path, stride, size, pictures, workers, on_progress)
    return FrameCache(path)


def sampled_steps(length: int, stride: int) -> range:
    """The steps of an episode whose frames are used."""
    return range(0, length, stride)


def _decode(
    source: EpisodeSource,
    path: Path,
    stride: int,
    size: int,
    pictures: PictureConfig,
    num_workers: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    counts = [len(sampled_steps(len(source.episode(index)), stride)) for index in range(source.num_episodes)]
    ends = np.cumsum(counts)
    partial = partial_path(path)
    ledger = partial.with_suffix(".finished")
    images, finished = _open_partial(
        partial, ledger, path, (int(ends[-1]), len(source.spec.cameras), size, size, 3), source.num_episodes
    )

    def decode(index: int) -> int:
        rows = images[ends[index] - counts[index] : ends[index]]
        for position, camera in enumerate(source.spec.cameras):
            _decode_episode(source, index, camera.name, stride, pictures, rows[:, position])
        return index

    try:
        with ledger.open("a") as lines, _one_torch_thread(), ThreadPoolExecutor(num_workers) as threads:
            futures = [threads.submit(decode, index) for index in range(len(counts)) if index not in finished]
            try:
                for future in as_completed(futures):
                    index = future.result()
                    images.flush()  # first, so that no episode is taken as finished whose frames are lost
                    print(index, file=lines, flush=True)
                    finished.add(index)
                    if on_progress:
                        on_progress(len(finished), len(counts))
            finally:
                threads.shutdown(cancel_futures=True)
        os.replace(partial, path)
    except FocusVLAError:
        partial.unlink(missing_ok=True)
        ledger.unlink(missing_ok=True)
        raise
    ledger.unlink()


def _open_partial(
    partial: Path, ledger: Path, path: Path, shape: tuple[int, ...], num_episodes: int
) -> tuple[np.memmap, set[int]]:
    """The file that is being filled, and the episodes which a killed process has finished in it."""
    if partial.exists() and ledger.exists():
        images = np.lib.format.open_memmap(partial, "r+")
        lines = complete_lines(ledger.read_text())
        if images.shape == shape and set(lines) <= set(map(str, range(num_episodes))):
            return images, set(map(int, lines))
    ledger.unlink(missing_ok=True)
    partial.unlink(missing_ok=True)
    require_free_space(path, int(np.prod(shape)) + _HEADER_BYTES, "the frame cache")
    return create_table(partial, np.uint8, shape), set()


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
def _one_torch_thread() -> Iterator[None]:
    """Episodes are decoded side by side; threads of torch within each would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
