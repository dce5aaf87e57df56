"""Frames are decoded once, and a cache is never mistaken for another's."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from focusvla.config import PictureConfig
from focusvla.data import frame_cache
from focusvla.data.compressed_frames import bytes_path
from focusvla.data.episodes import EpisodeSource
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.loader import BatchLoader
from focusvla.data.memory import MemorySource, random_source
from focusvla.data.mixture import MixturePart, MixtureSource
from focusvla.data.pictures import prepare_pictures
from focusvla.data.samples import build_samples
from focusvla.errors import DataError, StorageError
from focusvla.suites.libero import libero_spec
from token_tables import padded_tokens


class _CountingSource(MixtureSource):
    """A data set that notes which frames are asked for."""

    def __init__(self, source: EpisodeSource):
        super().__init__([MixturePart(name="only", source=source)])
        self.requests: list[tuple[int, str]] = []

    def fingerprint(self) -> str:
        return self.parts[0].source.fingerprint()

    def frames(self, index: int, camera: str) -> Iterator[np.ndarray]:
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


KILLED = """
import os, signal, sys
from pathlib import Path
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.formats.lerobot_reader import LeRobotSource

def kill(done, total):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

open_frame_cache(LeRobotSource(Path(sys.argv[1])), Path(sys.argv[2]), size=16, num_workers=1, on_progress=kill)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_finished_episodes_to_the_next(dataset: Path, tmp_path: Path):
    folder = tmp_path / "cache"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(dataset), str(folder)])
    assert killed.returncode == -signal.SIGKILL
    assert not list(folder.glob("*.npy"))
    seen: list[tuple[int, int]] = []
    source = _CountingSource(LeRobotSource(dataset))
    cache = open_frame_cache(source, folder, size=16, on_progress=lambda *progress: seen.append(progress))
    assert source.requests == [(2, "image"), (2, "image2")]
    assert seen == [(3, 3)]
    whole = open_frame_cache(LeRobotSource(dataset), tmp_path / "undisturbed", size=16)
    np.testing.assert_array_equal(cache.images, whole.images)
    assert sorted(path.suffix for path in folder.iterdir()) == [".lock", ".npy"]


@pytest.mark.parametrize("ledger", ["0\n1", "", "0\n7\n", "0\nx\n", None])
def test_what_a_ledger_does_not_clearly_say_is_decoded_again(
    memory: MemorySource, tmp_path: Path, ledger: str | None
):
    whole = open_frame_cache(memory, tmp_path / "undisturbed", size=16)
    partial = tmp_path / f".{whole.path.name}.partial"
    images = np.lib.format.open_memmap(partial, "w+", np.uint8, whole.images.shape)
    images[:4] = whole.images[:4]
    if ledger is not None:
        partial.with_suffix(".finished").write_text(ledger)
    source = _CountingSource(memory)
    np.testing.assert_array_equal(open_frame_cache(source, tmp_path, size=16).images, whole.images)
    kept = {0} if ledger == "0\n1" else set()
    assert {index for index, _ in source.requests} == {0, 1, 2} - kept


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_any_number_of_workers_makes_the_same_cache(
    make_memory: Callable[..., MemorySource], tmp_path: Path, num_workers: int
):
    source = make_memory([4, 9, 3, 7, 1, 2])
    expected = np.concatenate([list(source.frames(index, "image2"))[::2] for index in range(6)])
    cache = open_frame_cache(source, tmp_path, stride=2, size=16, num_workers=num_workers)
    np.testing.assert_array_equal(cache.images[:, 1], expected)


def test_decoding_leaves_torch_the_threads_that_it_had(memory: MemorySource, tmp_path: Path):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        open_frame_cache(memory, tmp_path, size=16)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_processes_that_ask_at_once_decode_once(dataset: Path, tmp_path: Path):
    script = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "print('decoded')")
    command = [sys.executable, "-c", script, str(dataset), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0] for process in processes) == ["", "decoded\n"]


def test_a_disk_that_fills_up_is_an_error_before_decoding_and_leaves_nothing(
    memory: MemorySource, tmp_path: Path
):
    source = _CountingSource(memory)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))  # a larger file fails as on a full disk
    try:
        with pytest.raises(StorageError, match="expected a folder that can be written"):
            open_frame_cache(source, tmp_path, size=16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert source.requests == []
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_disk_without_space_is_announced_before_decoding(
    memory: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = _CountingSource(memory)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    needed = 9 * 2 * 16 * 16 * 3 + 4096
    with pytest.raises(StorageError, match=rf"the frame cache needs {needed} bytes, 1000 are free"):
        open_frame_cache(source, tmp_path, size=16)
    assert source.requests == []


def test_pictures_go_through_the_steps_that_are_asked_for_into_a_file_of_their_own(arm_source, tmp_path):
    source, steps = arm_source((3,)), PictureConfig(jpeg_quality=95, center_crop_area=0.9)
    plain = open_frame_cache(source, tmp_path, size=16)
    stepped = open_frame_cache(source, tmp_path, size=16, pictures=steps)
    recorded = torch.from_numpy(np.stack(list(source.frames(0, "image2"))))
    np.testing.assert_array_equal(stepped.images[:, 1], prepare_pictures(recorded, 16, steps))
    assert plain.path != stepped.path
    assert (plain.images != stepped.images).any()


@pytest.fixture
def ramps() -> MemorySource:
    """Pictures that JPEG is made for, each somewhat brighter than the last."""
    source = random_source(libero_spec(32), (4, 9, 3))
    ramp = np.linspace(0, 150, 32)[:, None, None] + np.zeros((32, 32, 3))
    images = [
        {
            camera: np.stack([ramp + 30 * index + 4 * step + 10 * turned for step in range(length)]).astype(
                np.uint8
            )
            for turned, camera in enumerate(("image", "image2"))
        }
        for index, length in enumerate((4, 9, 3))
    ]
    return MemorySource(source.spec, [source.episode(index) for index in range(3)], images)


def test_compressed_frames_are_nearly_the_same_in_less_space_and_read_alike(ramps, tmp_path):
    raw = open_frame_cache(ramps, tmp_path, stride=2, size=32)
    compressed = open_frame_cache(ramps, tmp_path, stride=2, size=32, frame_format="jpeg", num_workers=3)
    assert raw.path != compressed.path
    assert (len(compressed), compressed.images.shape) == (len(raw), raw.images.shape)
    for rows in (slice(2, 5), np.array([7, 0, 7]), 3):
        np.testing.assert_allclose(compressed.images[rows].astype(int), raw.images[rows].astype(int), atol=3)
    files = [path for path in tmp_path.iterdir() if path.name.startswith(compressed.path.stem)]
    assert sum(path.stat().st_size for path in files) < raw.path.stat().st_size / 2
    assert not list(tmp_path.glob(".*"))


def test_a_batch_of_compressed_frames_is_that_of_the_raw_ones_but_for_what_jpeg_loses(ramps, tmp_path):
    samples = build_samples(ramps, statistics=ramps.statistics(), state_limit=1.5, chunk_length=2)
    batches = [
        BatchLoader(
            samples,
            batch_size=5,
            seed=0,
            tokenize=lambda texts: padded_tokens([[1]] * len(texts), 0),
            images=open_frame_cache(ramps, tmp_path, size=32, frame_format=frame_format).images,
        ).batch(3)
        for frame_format in ("raw", "jpeg")
    ]
    expected, found = (batch.inputs.images for batch in batches)
    assert expected is not None
    assert found is not None
    torch.testing.assert_close(found.int(), expected.int(), rtol=0, atol=3)
    assert torch.equal(batches[0].actions, batches[1].actions)


def test_compressed_frames_go_on_from_what_a_killed_process_left(ramps, tmp_path):
    whole = open_frame_cache(ramps, tmp_path / "undisturbed", size=32, frame_format="jpeg", num_workers=1)
    partial = tmp_path / f".{whole.path.name}.partial"
    places = np.load(whole.path)
    ends = places[3].sum(axis=-1).max()  # of the first episode
    places[4:] = 0
    np.save(partial.with_suffix(".npy"), places)
    partial.with_suffix(".npy").rename(partial)
    content = bytes_path(whole.path).read_bytes()
    bytes_path(partial).write_bytes(content[:ends] + b"half a picture")
    partial.with_suffix(".finished").write_text("0\n")
    source = _CountingSource(ramps)
    found = open_frame_cache(source, tmp_path, size=32, frame_format="jpeg", num_workers=1)
    assert {index for index, _ in source.requests} == {1, 2}
    np.testing.assert_array_equal(found.images[:], whole.images[:])


def test_the_size_of_a_cache_is_said_before_it_is_made_and_what_memory_lacks_is_refused(
    ramps, tmp_path, monkeypatch
):
    monkeypatch.setattr(frame_cache, "_ANNOUNCED_BYTES", 0)
    said: list[str] = []
    open_frame_cache(ramps, tmp_path / "raw", size=32, on_remark=said.append)
    open_frame_cache(ramps, tmp_path / "raw", size=32, on_remark=said.append)
    assert len(said) == 1
    assert "the frame cache takes 0.0 GB for 16 x 2 pictures of 32 px in" in said[0]
    monkeypatch.setattr(frame_cache, "_available_memory", lambda: 1000)
    open_frame_cache(ramps, tmp_path / "more", size=32, on_remark=said.append)
    assert "more than the 0.0 GB of memory" in said[1]
    assert "--frame-format jpeg" in said[1]
    monkeypatch.setattr(frame_cache, "_lies_in_memory", lambda folder: True)
    with pytest.raises(
        StorageError, match=r"needs 102400 bytes, and the folder lies in memory, of which 1000"
    ):
        open_frame_cache(ramps, tmp_path / "refused", size=32)
