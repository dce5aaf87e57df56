"""What lies on disk after writing, and what does not after failing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from focusvla.data.formats import lerobot_layout as layout
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.formats.lerobot_writer import LeRobotWriter, assemble_dataset, group_within
from focusvla.data.memory import MemorySource
from focusvla.data.shards import Shard, read_shard_index, write_episode_shard
from focusvla.data.video import encode_video
from focusvla.errors import DataError, StorageError
from focusvla_client import Camera, Spec


def _record(folder: Path, spec: Spec, steps: int = 3, **changes) -> Shard:
    frames = np.full((steps, 16, 16, 3), 50, np.uint8)
    values = {
        "frames": {"image": frames, "image2": frames},
        "state": np.zeros((steps, 2)),
        "action": np.zeros((steps, 3)),
        "instruction": "push",
    }
    return write_episode_shard(folder, spec, **(values | changes))


def test_a_dataset_has_the_files_of_the_format_and_our_spec(dataset: Path):
    files = sorted(str(file.relative_to(dataset)) for file in dataset.rglob("*") if file.is_file())
    assert files == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/spec.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "videos/observation.images.image/chunk-000/file-000.mp4",
        "videos/observation.images.image2/chunk-000/file-000.mp4",
    ]


def test_info_counts_episodes_frames_and_tasks(dataset: Path):
    info = json.loads((dataset / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert info["robot_type"] == "arm"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 9, 2)
    assert info["fps"] == 10
    assert info["splits"] == {"train": "0:3"}
    assert info["features"]["action"] == {
        "dtype": "float32",
        "shape": [3],
        "names": ["dx", "dy", "gripper"],
    }


def test_index_columns_count_through_episodes_of_4_3_and_2_steps(dataset: Path):
    table = pq.read_table(dataset / "data/chunk-000/file-000.parquet").to_pydict()
    assert table["index"] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert table["episode_index"] == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert table["frame_index"] == [0, 1, 2, 3, 0, 1, 2, 0, 1]
    assert table["task_index"] == [0, 0, 0, 0, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(table["timestamp"], [0, 0.1, 0.2, 0.3, 0, 0.1, 0.2, 0, 0.1], rtol=1e-6)


def test_the_episode_table_says_where_each_episode_lies(dataset: Path):
    table = pq.read_table(dataset / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert table["tasks"] == [["push"], ["pull"], ["push"]]
    assert table["length"] == [4, 3, 2]
    assert table["dataset_from_index"] == [0, 4, 7]
    assert table["dataset_to_index"] == [4, 7, 9]
    np.testing.assert_allclose(table["videos/observation.images.image/from_timestamp"], [0, 0.4, 0.7])
    np.testing.assert_allclose(table["videos/observation.images.image/to_timestamp"], [0.4, 0.7, 0.9])
    assert np.shape(table["stats/observation.images.image/mean"]) == (3, 3, 1, 1)


def test_statistics_hold_ten_numbers_per_feature_and_image_channels_in_zero_to_one(dataset: Path):
    statistics = json.loads((dataset / "meta/stats.json").read_text())
    names = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
    assert all(set(entry) == names for entry in statistics.values())
    assert statistics["observation.state"]["max"] == [3.0, 20.0]
    assert statistics["observation.state"]["count"] == [9]
    # The first frame of each episode is counted: gray levels 0, 20 and 40.
    image = statistics["observation.images.image"]
    assert image["count"] == [3]
    np.testing.assert_allclose(image["mean"], np.full((3, 1, 1), 20 / 255))
    np.testing.assert_allclose(image["q50"], np.full((3, 1, 1), 20 / 255))
    np.testing.assert_allclose(image["max"], np.full((3, 1, 1), 40 / 255))


def test_joined_videos_show_frame_n_at_n_over_rate_seconds(dataset: Path):
    with av.open(str(dataset / "videos/observation.images.image/chunk-000/file-000.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(9) / 10, atol=1e-9)


def test_joining_copies_the_packets_without_encoding_again(tmp_path: Path, spec: Spec):
    shards = [_record(tmp_path / "episodes" / name, spec) for name in ("a", "b")]
    assemble_dataset(shards, tmp_path / "dataset", spec, "arm")

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]

    joined = packets(tmp_path / "dataset/videos/observation.images.image/chunk-000/file-000.mp4")
    assert joined == packets(shards[0].video("image")) + packets(shards[1].video("image"))


def test_a_dataset_says_how_often_its_cameras_took_a_picture(tmp_path: Path, spec: Spec):
    shard = _record(tmp_path / "episodes/a", spec)
    assemble_dataset([shard], tmp_path / "fast", spec, "arm")
    assemble_dataset([shard], tmp_path / "slow", spec, "arm", steps_per_picture=4)
    assert LeRobotSource(tmp_path / "fast").steps_per_picture == 1
    assert LeRobotSource(tmp_path / "slow").steps_per_picture == 4


def test_a_new_video_file_starts_where_the_size_limit_is_exceeded(
    memory: MemorySource, write: Callable[[MemorySource], Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(layout, "VIDEO_FILE_MEGABYTES", 0)
    dataset = write(memory)
    files = sorted(file.name for file in (dataset / "videos/observation.images.image").rglob("*.mp4"))
    assert files == ["file-000.mp4", "file-001.mp4", "file-002.mp4"]
    table = pq.read_table(dataset / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert table["videos/observation.images.image/file_index"] == [0, 1, 2]
    assert table["videos/observation.images.image/from_timestamp"] == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(next(LeRobotSource(dataset).frames(2, "image")).astype(int), 40, atol=2)


def test_a_new_data_file_starts_where_the_size_limit_is_exceeded(
    memory: MemorySource, write: Callable[[MemorySource], Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(layout, "DATA_FILE_MEGABYTES", 0)
    dataset = write(memory)
    assert len(list((dataset / "data").rglob("*.parquet"))) == 3
    np.testing.assert_array_equal(LeRobotSource(dataset).episode(2).action, memory.episode(2).action)


def test_runs_are_cut_where_their_sum_exceeds_the_limit():
    assert group_within([3, 3, 5, 9], 6) == [[0, 1], [2], [3]]


def test_a_state_of_one_number_survives(tmp_path: Path, spec: Spec):
    narrow = replace(spec, state=("x",))
    shard = _record(tmp_path / "episodes/a", narrow, state=np.array([[1.0], [2.0], [3.0]]))
    assemble_dataset([shard], tmp_path / "dataset", narrow, "arm")
    assert LeRobotSource(tmp_path / "dataset").episode(0).state.tolist() == [[1.0], [2.0], [3.0]]


def test_a_rate_that_is_no_integer_survives(tmp_path: Path, spec: Spec):
    slow = replace(spec, control_rate_hz=20 / 3)
    assemble_dataset([_record(tmp_path / "episodes/a", slow)], tmp_path / "dataset", slow, "arm")
    assert len(list(LeRobotSource(tmp_path / "dataset").frames(0, "image"))) == 3


def test_metadata_of_the_collector_comes_back(dataset: Path):
    assert [LeRobotSource(dataset).metadata(index) for index in range(3)] == [
        {"seed": 0},
        {"seed": 1},
        {"seed": 2},
    ]


def test_shards_are_listed_by_name_and_unfinished_ones_are_not(tmp_path: Path, spec: Spec):
    for name in ("b", "a"):
        _record(tmp_path / name, spec)
    (tmp_path / ".c.partial").mkdir()
    assert [shard.folder.name for shard in read_shard_index(tmp_path)] == ["a", "b"]
    assert read_shard_index(tmp_path / "nothing") == []


def test_a_failing_recording_leaves_nothing(tmp_path: Path, spec: Spec):
    def failing() -> Iterator[np.ndarray]:
        yield np.zeros((16, 16, 3), np.uint8)
        raise RuntimeError("the renderer died")

    with pytest.raises(RuntimeError, match="renderer died"):
        _record(tmp_path / "episodes/a", spec, frames={"image": failing(), "image2": failing()})
    assert list((tmp_path / "episodes").iterdir()) == []


def test_a_killed_assembly_leaves_nothing_under_the_final_name_and_can_be_repeated(
    tmp_path: Path, spec: Spec
):
    shards = [_record(tmp_path / "episodes" / name, spec) for name in ("a", "b")]
    script = f"""
import os, signal
from pathlib import Path
from focusvla.data.formats import lerobot_writer
from focusvla.data.shards import read_shard_index
lerobot_writer._write_episodes = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
shards = read_shard_index(Path({str(tmp_path / "episodes")!r}))
lerobot_writer.assemble_dataset(shards, Path({str(tmp_path / "dataset")!r}), shards[0].spec, "arm")
"""
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dataset.partial", "episodes"]
    assemble_dataset(shards, tmp_path / "dataset", spec, "arm")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "episodes"]
    assert LeRobotSource(tmp_path / "dataset").num_episodes == 2


def test_a_failing_block_of_the_writer_leaves_nothing(tmp_path: Path, spec: Spec):
    with pytest.raises(DataError), LeRobotWriter(tmp_path / "dataset", spec, "arm") as writer:
        writer.add_episode(frames={}, state=np.zeros((1, 2)), action=np.zeros((1, 3)), instruction="push")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_dataset_is_not_overwritten(dataset: Path, tmp_path: Path, spec: Spec):
    shard = _record(tmp_path / "episodes/a", spec)
    with pytest.raises(StorageError, match=r"dataset: expected a folder that does not exist yet"):
        assemble_dataset([shard], dataset, spec, "arm")
    assert LeRobotSource(dataset).num_episodes == 3


def test_a_full_disk_is_announced_before_anything_is_written(
    tmp_path: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch
):
    shard = _record(tmp_path / "episodes/a", spec)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 7}))
    with pytest.raises(StorageError, match=r"the data set needs \d+ bytes, 7 are free"):
        assemble_dataset([shard], tmp_path / "dataset", spec, "arm")


def test_no_episodes_make_no_dataset(tmp_path: Path, spec: Spec):
    with pytest.raises(DataError, match="at least one recorded episode, got none"):
        assemble_dataset([], tmp_path / "dataset", spec, "arm")


def test_an_episode_of_another_spec_is_refused(tmp_path: Path, spec: Spec):
    shard = _record(tmp_path / "episodes/a", replace(spec, image_orientation="rotated_180"))
    with pytest.raises(DataError, match=r"episode a: .*image_orientation: 'upright' against 'rotated_180'"):
        assemble_dataset([shard], tmp_path / "dataset", spec, "arm")


def test_a_damaged_shard_is_named(tmp_path: Path, spec: Spec):
    shard = _record(tmp_path / "episodes/a", spec)
    shard.video("image2").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a/image2\.mp4: expected a complete video"):
        assemble_dataset([shard], tmp_path / "dataset", spec, "arm")
    (shard.folder / "episode.json").write_text("{")
    with pytest.raises(DataError, match=r"episode\.json: expected the description"):
        read_shard_index(tmp_path / "episodes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": np.zeros((3, 5))}, r"episode a, state: expected 2 dimensions .*\(x, y\), got 5"),
        ({"action": np.zeros((3, 2))}, r"episode a, action: expected 3 dimensions .*got 2"),
        ({"action": np.zeros(3)}, r"episode a, action: expected a table \(steps, width\)"),
        ({"state": np.zeros((2, 2))}, r"as many states as actions, got 2 and 3"),
        (
            {"action": np.array([[0, 0, 0], [0, np.nan, 0], [0, 0, 0]])},
            r"episode a, action, step 1, dy: expected a finite number, got nan",
        ),
        ({"instruction": " "}, r"episode a, instruction: expected a sentence"),
        ({"frames": {"image": np.zeros((3, 16, 16, 3), np.uint8)}}, r"cameras image, image2, got image\."),
        (
            {"frames": {"image": np.zeros((2, 16, 16, 3), np.uint8), "image2": []}},
            r"camera 'image': expected 3 frames, one per action, got 2",
        ),
        (
            {"frames": {"image": np.zeros((3, 8, 16, 3), np.uint8), "image2": []}},
            r"camera 'image', frame 0: expected uint8 \(16, 16, 3\), got uint8 \(8, 16, 3\)",
        ),
        (
            {"frames": {"image": np.zeros((3, 16, 16, 3)), "image2": []}},
            r"camera 'image', frame 0: expected uint8 .*got float64",
        ),
    ],
)
def test_an_episode_that_does_not_fit_is_refused_and_leaves_nothing(
    tmp_path: Path, spec: Spec, changes: dict, message: str
):
    with pytest.raises(DataError, match=message):
        _record(tmp_path / "a", spec, **changes)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_episode_is_refused(tmp_path: Path, spec: Spec):
    with pytest.raises(DataError, match="at least one step, got an empty episode"):
        _record(tmp_path / "a", spec, steps=0)


def test_an_odd_image_size_is_refused(tmp_path: Path, spec: Spec):
    odd = replace(spec, cameras=(Camera("image", 15, 16),))
    with pytest.raises(DataError, match="expected even height and width"):
        _record(tmp_path / "a", odd, frames={"image": np.zeros((3, 15, 16, 3), np.uint8)})


def test_a_recorded_video_of_another_length_than_its_actions_is_refused_before_it_shifts_all_after_it(
    tmp_path: Path, spec: Spec
):
    shards = [_record(tmp_path / f"episodes/{number}", spec) for number in range(2)]
    video = shards[0].folder / "image.mp4"
    encode_video(video, [np.zeros((16, 16, 3), np.uint8)] * 4, spec.cameras[0], 10.0)
    with pytest.raises(DataError, match=r"episodes/0/image\.mp4: .* got 4 frames, where 3 are announced"):
        assemble_dataset(shards, tmp_path / "dataset", spec, "arm")
    assert not (tmp_path / "dataset").exists()
