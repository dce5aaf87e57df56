import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.conversion import Conversion, convert
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.formats.lerobot_writer import assemble_dataset
from focusvla.data.memory import MemorySource
from focusvla.data.shards import read_shard_index, write_episode_shard
from focusvla.errors import ConfigurationError, DataError, StorageError
from focusvla_client import Spec


class WatchedSource(MemorySource):
    """Notes whose frames are read, and breaks off in those of episode 1 for as long as `is_damaged`."""

    is_damaged = False

    def __init__(self, spec, episodes, images):
        super().__init__(spec, episodes, images)
        self.read: list[int] = []

    def frames(self, index: int, camera: str):
        self.read.append(index)
        for step, frame in enumerate(super().frames(index, camera)):
            if self.is_damaged and (index, step) == (1, 2):
                raise DataError("episode 1: expected a complete video, got half of one.")
            yield frame


class PrunedSource(WatchedSource):
    """Its reader has left out an episode already."""

    skipped = ("episode 7: expected actions, got none.",)


def watch(memory: MemorySource, kind: type[WatchedSource] = WatchedSource) -> WatchedSource:
    """The episodes of `memory`."""
    episodes = [memory.episode(index) for index in range(memory.num_episodes)]
    images = [
        {camera.name: np.stack(list(memory.frames(index, camera.name))) for camera in memory.spec.cameras}
        for index in range(memory.num_episodes)
    ]
    return kind(memory.spec, episodes, images)


@pytest.fixture
def watched(memory: MemorySource) -> WatchedSource:
    return watch(memory)


@pytest.fixture
def damaged(watched: WatchedSource) -> WatchedSource:
    watched.is_damaged = True
    return watched


def staging_of(output: Path) -> Path:
    return output.with_name(output.name + ".converting")


def require_same(converted: LeRobotSource, source, pixels: int) -> None:
    assert converted.num_episodes == source.num_episodes
    assert converted.spec == source.spec
    for index in range(source.num_episodes):
        ours, theirs = converted.episode(index), source.episode(index)
        np.testing.assert_array_equal(ours.state, theirs.state)
        np.testing.assert_array_equal(ours.action, theirs.action)
        assert ours.instruction == theirs.instruction
        for camera in source.spec.cameras:
            ours, theirs = (np.stack(list(each.frames(index, camera.name))) for each in (converted, source))
            np.testing.assert_allclose(ours.astype(int), theirs.astype(int), atol=pixels)


def test_from_memory_to_lerobot_and_once_more_nothing_is_lost_but_a_little_of_the_pictures(memory, tmp_path):
    assert convert(memory, tmp_path / "first") == Conversion(num_episodes=3, skipped=())
    first = LeRobotSource(tmp_path / "first")
    require_same(first, memory, pixels=2)
    convert(first, tmp_path / "second")
    require_same(LeRobotSource(tmp_path / "second"), memory, pixels=4)


def test_metadata_robot_and_steps_per_picture_are_kept(memory: MemorySource, spec: Spec, tmp_path: Path):
    for index in range(2):
        episode = memory.episode(index)
        write_episode_shard(
            tmp_path / "shards" / str(index),
            spec,
            frames={camera.name: memory.frames(index, camera.name) for camera in spec.cameras},
            state=episode.state,
            action=episode.action,
            instruction=episode.instruction,
            metadata={"seed": 10 + index},
        )
    assemble_dataset(read_shard_index(tmp_path / "shards"), tmp_path / "data", spec, "panda", 3)
    convert(LeRobotSource(tmp_path / "data"), tmp_path / "converted")
    converted = LeRobotSource(tmp_path / "converted")
    assert [converted.metadata(index) for index in range(2)] == [{"seed": 10}, {"seed": 11}]
    assert (converted.robot_type, converted.steps_per_picture) == ("panda", 3)


def test_a_data_set_that_names_no_robot_is_converted_under_unknown(memory, tmp_path):
    convert(memory, tmp_path / "converted")
    assert LeRobotSource(tmp_path / "converted").robot_type == "unknown"


def test_an_interrupted_conversion_goes_on_and_repeats_no_episode(watched, tmp_path):
    output = tmp_path / "converted"

    def interrupt(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(watched, output, on_progress=interrupt)
    assert not output.exists()
    watched.read.clear()
    convert(watched, output)
    assert watched.read == [2, 2]  # two cameras
    require_same(LeRobotSource(output), watched, pixels=2)
    assert not staging_of(output).exists()


def test_a_conversion_killed_after_the_data_set_appeared_is_only_finished(memory, tmp_path):
    output = tmp_path / "converted"
    convert(memory, output)
    shards = staging_of(output)
    (shards / "episodes").mkdir(parents=True)
    summary = output / "meta" / "conversion.json"
    before = (output / "meta" / "info.json").stat().st_mtime_ns
    summary.unlink()
    (shards / "conversion.json").write_text(
        f'{{"fingerprint": "{memory.fingerprint()}", "num_episodes": 3, "skip_damaged": false}}'
    )
    assert convert(memory, output).num_episodes == 3
    assert summary.is_file()
    assert (output / "meta" / "info.json").stat().st_mtime_ns == before


def test_a_finished_conversion_is_not_repeated_and_no_other_data_set_is_replaced(
    memory, make_memory: Callable[..., MemorySource], tmp_path
):
    output = tmp_path / "converted"
    convert(memory, output)
    told: list[int] = []
    assert convert(memory, output, on_progress=lambda done, total: told.append(done)).num_episodes == 3
    assert told == []
    with pytest.raises(StorageError, match="exists already and is made of something else"):
        convert(make_memory([5]), output)


def test_an_unfinished_conversion_of_another_data_set_is_refused(
    damaged, make_memory: Callable[..., MemorySource], tmp_path
):
    output = tmp_path / "converted"
    with pytest.raises(DataError, match="episode 1: expected a complete video"):
        convert(damaged, output)
    with pytest.raises(ConfigurationError, match="unfinished data set with other values"):
        convert(make_memory([5]), output)
    damaged.is_damaged = False
    assert convert(damaged, output).num_episodes == 3


def test_a_damaged_episode_is_left_out_and_told_if_that_was_asked_for(damaged, tmp_path):
    output = tmp_path / "converted"
    expected = Conversion(2, ("episode 1: expected a complete video, got half of one.",))
    assert convert(damaged, output, skip_damaged=True) == expected
    assert convert(damaged, output, skip_damaged=True) == expected
    converted = LeRobotSource(output)
    assert [len(converted.episode(index)) for index in range(2)] == [4, 2]


def test_episodes_that_the_reader_has_left_out_are_told_as_well(memory, tmp_path):
    pruned = watch(memory, PrunedSource)
    pruned.is_damaged = True
    result = convert(pruned, tmp_path / "converted", skip_damaged=True)
    assert result.num_episodes == 2
    assert [sentence[:9] for sentence in result.skipped] == ["episode 7", "episode 1"]


def test_a_data_set_of_which_nothing_is_left_says_what_is_wrong_with_its_first_episode(
    make_memory: Callable[..., MemorySource], tmp_path
):
    with pytest.raises(DataError, match=r"got none\. episode 00000000, instruction: expected a sentence"):
        convert(make_memory([3, 2], instructions=("",)), tmp_path / "converted", skip_damaged=True)
    assert not (tmp_path / "converted").exists()


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from focusvla.data.conversion import convert
from focusvla.data.formats.lerobot_reader import LeRobotSource

def die(done, total):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

convert(LeRobotSource(Path(sys.argv[1])), Path(sys.argv[2]), on_progress=die)
"""


@pytest.mark.slow
def test_a_killed_conversion_ends_as_an_undisturbed_one(dataset: Path, memory, tmp_path):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    process = subprocess.run([sys.executable, "-c", INTERRUPTED, str(dataset), str(killed)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert not killed.exists()
    for output in (killed, undisturbed):
        convert(LeRobotSource(dataset), output)
    require_same(LeRobotSource(killed), LeRobotSource(undisturbed), pixels=0)
    assert [LeRobotSource(killed).metadata(index) for index in range(3)] == [
        {"seed": 0},
        {"seed": 1},
        {"seed": 2},
    ]


FULL = """
import resource, sys
from pathlib import Path
from focusvla.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)  # a write beyond fails as on a full disk
main(["convert", sys.argv[2], "--output", sys.argv[3]])
"""


@pytest.mark.slow
def test_a_full_disk_is_one_message_and_the_same_command_goes_on_when_there_is_space(
    dataset, memory, tmp_path
):
    output = tmp_path / "converted"
    full = subprocess.run(
        [sys.executable, "-c", FULL, "1000", str(dataset), str(output)], capture_output=True, text=True
    )
    assert full.returncode == 2, full.stderr
    assert "Free space or choose another folder" in " ".join(full.stderr.split())
    assert "Traceback" not in full.stderr
    assert not output.exists()
    convert(LeRobotSource(dataset), output)
    require_same(LeRobotSource(output), memory, pixels=4)
