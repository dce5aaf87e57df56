"""All frames that training needs, decoded once into one memory-mapped file."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from focusvla.data.episodes import EpisodeSource
from focusvla.data.storage import explained_storage_errors, partial_path, require_free_space
from focusvla.data.transforms import resize
from focusvla.errors import DataError

_HEADER_BYTES = 4096


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
    on_progress: Callable[[int, int], None] | None = None,
) -> FrameCache:
    """Open the cache of a data set, decoding it first if that has not been done.

    The file's name holds a fingerprint of the data set, the stride and the size, so that another data set is
    never mistaken for this one. Of several processes that ask at once, one decodes and the others wait.
    `on_progress` is told the number of finished and of all episodes.

    Raises:
        StorageError: the disk has not enough space or the folder may not be written.
        DataError: a video is damaged.
    """
    path = folder / f"frames-{source.fingerprint()}-stride{stride}-size{size}.npy"
    if not path.exists():
        with explained_storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system if this process is killed
                if not path.exists():
                    _decode(source, path, stride, size, on_progress)
    return FrameCache(path)


def sampled_steps(length: int, stride: int) -> range:
    """The steps of an episode whose frames are used."""
    return range(0, length, stride)


def _decode(
    source: EpisodeSource,
    path: Path,
    stride: int,
    size: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    cameras = source.spec.cameras
    counts = [len(sampled_steps(len(source.episode(index)), stride)) for index in range(source.num_episodes)]
    shape = (sum(counts), len(cameras), size, size, 3)
    partial = partial_path(path)
    partial.unlink(missing_ok=True)
    require_free_space(path, int(np.prod(shape)) + _HEADER_BYTES, "the frame cache")
    images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    try:
        first = 0
        for index, count in enumerate(counts):
            for position, camera in enumerate(cameras):
                images[first : first + count, position] = _episode_frames(
                    source, index, camera.name, count, stride, size
                )
            first += count
            if on_progress:
                on_progress(index + 1, source.num_episodes)
        images.flush()
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _episode_frames(
    source: EpisodeSource, index: int, camera: str, count: int, stride: int, size: int
) -> np.ndarray:
    kept = [frame for step, frame in enumerate(source.frames(index, camera)) if step % stride == 0]
    if len(kept) != count:
        raise DataError(
            f"episode {index}, camera {camera!r}: expected {count} frames with stride {stride}, "
            f"got {len(kept)}. Restore the data set from its source."
        )
    return resize(torch.from_numpy(np.stack(kept)), size).numpy()
