"""Frames are decoded once, and a cache is never mistaken for another's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.lerobot_reader import LeRobotSource
from focusvla.data.memory import MemorySource
from focusvla.errors import DataError, StorageError


class _CountingSource(MemorySource):
    """Counts how often frames are asked for."""

    def __init__(self, memory: MemorySource):
        self.__dict__.update(memory.__dict__)
        self.requests: list[tuple[int, str]] = []

    def frames(self, index: int, camera: str):
        self.requests.append((index, camera))
        return super().frames(index, camera)


class _DamagedSource(MemorySource):
    """Fails in its second episode."""

    def __init__(self, memory: MemorySource):
        self.__dict__.update(memory.__dict__)

    def frames(self, index: int, camera: str):
        if index == 1:
            raise DataError("episode 1 is damaged")
        return super().frames(index, camera)


def test_rows_are_every_second_frame_of_episodes_of_4_3_and_2_steps(memory: MemorySource, tmp_path: Path):
    cache = open_frame_cache(memory, tmp_path, stride=2, size=16)
    assert cache.images.shape == (5, 2, 16, 16, 3)
    assert cache.images.dtype == np.uint8
    # 20 * episode + 5 * step, and 100 more for the second camera
    assert cache.images[:, :, 0, 0, 0].tolist() == [[0, 100], [10, 110], [20, 120], [30, 130], [40, 140]]


def test_frames_are_decoded_once_and_read_back_afterwards(memory: MemorySource, tmp_path: Path):
    source = _CountingSource(memory)
    first = open_frame_cache(source, tmp_path, size=16)
    assert sorted(source.requests) == [(i, camera) for i in range(3) for camera in ("image", "image2")]
    again = open_frame_cache(source, tmp_path, size=16)
    assert len(source.requests) == 6
    np.testing.assert_array_equal(first.images, again.images)


def test_an_opened_cache_cannot_be_written(memory: MemorySource, tmp_path: Path):
    cache = open_frame_cache(memory, tmp_path, size=16)
    with pytest.raises(ValueError, match="read-only"):
        cache.images[0] = 0


def test_another_stride_size_or_data_set_has_a_cache_of_its_own(
    make_memory: Callable[..., MemorySource], tmp_path: Path
):
    source = make_memory([4, 3])
    paths = {
        open_frame_cache(source, tmp_path, stride=1, size=16).path,
        open_frame_cache(source, tmp_path, stride=2, size=16).path,
        open_frame_cache(source, tmp_path, stride=1, size=8).path,
        open_frame_cache(make_memory([4, 4]), tmp_path, stride=1, size=16).path,
    }
    assert len(paths) == 4


def test_frames_are_resized(memory: MemorySource, tmp_path: Path):
    cache = open_frame_cache(memory, tmp_path, size=8)
    assert cache.images.shape == (9, 2, 8, 8, 3)
    assert cache.images[3, 1, 4, 4, 0] == 115


def test_videos_are_cached(dataset: Path, memory: MemorySource, tmp_path: Path):
    cache = open_frame_cache(LeRobotSource(dataset), tmp_path / "cache", size=16)
    expected = open_frame_cache(memory, tmp_path / "cache", size=16)
    np.testing.assert_allclose(cache.images.astype(int), expected.images.astype(int), atol=2)


def test_progress_counts_episodes(memory: MemorySource, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    open_frame_cache(memory, tmp_path, size=16, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_failure_leaves_no_cache(memory: MemorySource, tmp_path: Path):
    with pytest.raises(DataError, match="episode 1 is damaged"):
        open_frame_cache(_DamagedSource(memory), tmp_path, size=16)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert len(open_frame_cache(memory, tmp_path, size=16)) == 9


def test_a_disk_without_space_is_announced_before_decoding(
    memory: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = _CountingSource(memory)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    needed = 9 * 2 * 16 * 16 * 3 + 4096
    with pytest.raises(StorageError, match=rf"the frame cache needs {needed} bytes, 1000 are free"):
        open_frame_cache(source, tmp_path, size=16)
    assert source.requests == []
