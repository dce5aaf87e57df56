"""Parts of a LeRobot data set that say different things are refused with both places named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from focusvla.data.conversion import convert
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.formats.opening import remarks
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.memory import MemorySource
from focusvla.data.video import encode_video
from focusvla.errors import DataError
from focusvla_client import Spec
from written_datasets import encoded, store_images_in_tables, write_older_lerobot

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
KEY = "observation.images.image"
VIDEO = f"videos/{KEY}/chunk-000/file-000.mp4"
START, END = f"videos/{KEY}/from_timestamp", f"videos/{KEY}/to_timestamp"


@pytest.fixture
def older(memory: MemorySource, tmp_path: Path) -> Path:
    """The episodes of `memory`, of 4, 3 and 2 steps, as a LeRobot data set of version 2.1."""
    return write_older_lerobot(tmp_path / "older", memory)


def _set_column(path: Path, name: str, values: list) -> None:
    table = pq.read_table(path)
    column = pa.array(values, table.schema.field(name).type)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)


def _change_info(dataset: Path, **changes: object) -> None:
    info = json.loads((dataset / "meta/info.json").read_text())
    (dataset / "meta/info.json").write_text(json.dumps(info | changes))


def _list(dataset: Path, entries: list[dict]) -> None:
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (dataset / "meta/episodes.jsonl").write_text(lines)


def _listed(dataset: Path) -> list[dict]:
    return [json.loads(line) for line in (dataset / "meta/episodes.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (START, None, r"episode 1, .*/from_timestamp: expected a time in seconds, got None"),
        (START, float("nan"), r"episode 1, .*/from_timestamp: expected a time in seconds, got nan"),
        (
            END,
            0.9,
            r"episode 1, .*/to_timestamp: expected 0\.300 s after .*/from_timestamp 0\.400, .* got 0\.900",
        ),
        (f"videos/{KEY}/file_index", None, r"episode 1, .*/file_index: expected a whole number, got None"),
        ("dataset_to_index", 9, r"episode 1, dataset_to_index: expected 4 \+ length 3, got 9"),
    ],
)
def test_an_entry_that_contradicts_itself_is_named_and_left_out_if_asked(
    dataset: Path, name: str, value: object, message: str
):
    values = pq.read_table(dataset / EPISODES)[name].to_pylist()
    _set_column(dataset / EPISODES, name, [values[0], value, values[2]])
    with pytest.raises(DataError, match=rf"{EPISODES}, {message}"):
        LeRobotSource(dataset)
    source = LeRobotSource(dataset, skip_damaged=True)
    assert [len(source.episode(index)) for index in range(source.num_episodes)] == [4, 2]


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([0.0, 0.33, 0.63], "got frame 3 for episode 0 and for episode 1"),
        ([0.0, 0.37, 0.64], "got frame 6 for episode 1 and for episode 2"),
        ([0.0, 0.4, 0.6], "got frame 6 for episode 1 and for episode 2"),
        (
            [0.1, 0.5, 0.8],
            r"expected frames until 0\.900 s, the last row of episode 2, got the last at 0\.800 s",
        ),
        (
            [0.0, 0.4, 0.9],
            r"expected frames until 1\.000 s, the last row of episode 2, got the last at 0\.800 s",
        ),
    ],
)
def test_starts_by_which_two_episodes_share_a_frame_or_one_has_none_are_refused(
    dataset: Path, starts: list[float], message: str
):
    _set_column(dataset / EPISODES, START, starts)
    _set_column(dataset / EPISODES, END, [None] * 3)
    source = LeRobotSource(dataset)
    with pytest.raises(DataError, match=message):
        [list(source.frames(index, "image")) for index in range(3)]


def test_starts_that_are_less_than_half_a_period_off_change_nothing(dataset: Path):
    untouched = [[*LeRobotSource(dataset).frames(index, "image")] for index in range(3)]
    _set_column(dataset / EPISODES, START, [0.0, 0.43, 0.66])
    source = LeRobotSource(dataset)
    for index, frames in enumerate(untouched):
        np.testing.assert_array_equal([*source.frames(index, "image")], frames)


@pytest.mark.parametrize("number", [8, 10])
def test_a_video_with_a_frame_more_or_less_than_rows_is_refused_for_all_its_episodes(
    dataset: Path, spec: Spec, number: int
):
    frames = [np.full((16, 16, 3), 20 * step, np.uint8) for step in range(number)]
    encode_video(dataset / VIDEO, frames, spec.cameras[0], 10.0)
    source = LeRobotSource(dataset)
    for index in range(3):
        with pytest.raises(DataError, match=r"file-000\.mp4: expected"):
            list(source.frames(index, "image"))
    with pytest.raises(DataError, match="expected at least one episode, left out 3"):
        LeRobotSource(dataset, skip_damaged=True)


def test_a_video_of_one_episode_with_a_frame_more_is_refused(older: Path, spec: Spec):
    path = older / f"videos/chunk-000/{KEY}/episode_000001.mp4"
    encode_video(path, [np.zeros((16, 16, 3), np.uint8)] * 4, spec.cameras[0], 10.0)
    message = r"episode_000001\.mp4: expected a row for each of its 4 frames, got none .* for the 1 from 0\.300 s on"
    with pytest.raises(DataError, match=message):
        list(LeRobotSource(older, spec).frames(1, "image"))


def test_frames_of_an_episode_that_is_not_listed_are_passed_over_where_its_rows_are_missing_too(
    dataset: Path,
):
    whole = LeRobotSource(dataset)
    pq.write_table(pq.read_table(dataset / EPISODES).take([0, 2]), dataset / EPISODES)
    _change_info(dataset, total_episodes=2, total_frames=6)
    source = LeRobotSource(dataset)
    np.testing.assert_array_equal([*source.frames(1, "image")], [*whole.frames(2, "image")])
    assert any(
        "lists no episode for rows of episode 1; they are not read" in text for text in remarks(source)
    )


def test_a_wrong_video_is_told_of_before_anything_is_decoded(dataset: Path, spec: Spec, tmp_path: Path):
    encode_video(dataset / VIDEO, [np.zeros((16, 16, 3), np.uint8)] * 8, spec.cameras[0], 10.0)
    seen: list[tuple[int, int]] = []
    source = LeRobotSource(dataset)
    with pytest.raises(DataError, match=r"file-000\.mp4"):
        open_frame_cache(source, tmp_path / "cache", size=8, on_progress=lambda *done: seen.append(done))
    with pytest.raises(DataError, match=r"file-000\.mp4"):
        convert(source, tmp_path / "converted", on_progress=lambda *done: seen.append(done))
    assert not seen


def test_pictures_of_others_videos_are_not_taken_from_caches_made_by_counting(older: Path, spec: Spec):
    source = LeRobotSource(older, spec)
    assert source.fingerprint() != super(LeRobotSource, source).fingerprint()


@pytest.mark.parametrize(("name", "found"), [("total_episodes", 3), ("total_frames", 9), ("total_tasks", 2)])
def test_a_count_that_the_lists_do_not_confirm_is_refused(dataset: Path, name: str, found: int):
    _change_info(dataset, **{name: 12})
    with pytest.raises(DataError, match=rf"info\.json, {name}: expected {found}, .* got 12"):
        LeRobotSource(dataset)
    assert f"{name}: expected {found}" in LeRobotSource(dataset, skip_damaged=True).skipped[0]


def test_an_episode_that_is_listed_twice_is_refused_or_read_once(older: Path, spec: Spec):
    entries = _listed(older)
    _list(older, [*entries, entries[1]])
    with pytest.raises(
        DataError, match=r"episodes\.jsonl, episode 1, expected one entry, got 2, .* all alike"
    ):
        LeRobotSource(older, spec)
    assert LeRobotSource(older, spec, skip_damaged=True).num_episodes == 3
    _list(older, [*entries, entries[1] | {"length": 7}])
    with pytest.raises(DataError, match=r"episode 1, expected one entry, got 2, .* which differ in length"):
        LeRobotSource(older, spec)
    assert LeRobotSource(older, spec, skip_damaged=True).num_episodes == 2


@pytest.mark.parametrize("version", ["3.0", "2.1"])
def test_rows_with_the_task_of_another_instruction_than_listed_are_refused(
    version: str, dataset: Path, older: Path, spec: Spec
):
    path, table = (dataset, DATA) if version == "3.0" else (older, "data/chunk-000/episode_000001.parquet")
    _set_column(path / table, "task_index", [0] * len(pq.read_table(path / table)))
    message = (
        r"episode 1, task_index: expected the instruction that .*episodes.* gives .* \('pull'\), got 'push'"
    )
    with pytest.raises(DataError, match=message):
        LeRobotSource(path, spec)


def test_a_task_with_two_texts_is_refused(older: Path, spec: Spec):
    with (older / "meta/tasks.jsonl").open("a") as lines:
        lines.write('{"task_index": 1, "task": "lift"}\n')
    with pytest.raises(
        DataError, match=r"tasks\.jsonl, task 1: expected one instruction, got 'pull' and 'lift'"
    ):
        LeRobotSource(older, spec)


def test_rows_of_an_episode_in_two_files_are_refused(older: Path, spec: Spec):
    extra = pq.read_table(older / "data/chunk-000/episode_000000.parquet")
    own = older / "data/chunk-000/episode_000001.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(own), extra]), own)
    with pytest.raises(
        DataError,
        match=r"episode_000001\.parquet: expected no rows of episode 0, which lies in .*episode_000000",
    ):
        LeRobotSource(older, spec)


def test_files_of_rows_that_are_not_listed_are_told_of(older: Path, spec: Spec):
    table = older / "data/chunk-000/episode_000000.parquet"
    shutil.copy(table, table.with_name("episode_000007.parquet"))
    said = remarks(LeRobotSource(older, spec))
    assert any("lists no episode for data/chunk-000/episode_000007.parquet" in text for text in said)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("timestamp", lambda time: 2 * time, r"timestamp: expected 0\.100 s in row 1, .* got 0\.2"),
        ("timestamp", lambda time: time + 0.2, r"timestamp: expected 0\.000 s in row 0, .* got 0\.2"),
        (
            "index",
            lambda number: number + 1,
            r"index: expected 0\.? in row 0, as dataset_from_index .* got 1",
        ),
    ],
)
def test_rows_that_are_at_other_times_or_numbers_than_announced_are_refused(
    dataset: Path, name: str, change: Callable, message: str
):
    _set_column(dataset / DATA, name, [change(v) for v in pq.read_table(dataset / DATA)[name].to_pylist()])
    with pytest.raises(DataError, match=rf"file-000\.parquet, episode 0, {message}"):
        LeRobotSource(dataset)


@pytest.mark.parametrize("place", ["info", "video_info"])
def test_a_camera_that_is_a_depth_map_is_refused(dataset: Path, place: str):
    info = json.loads((dataset / "meta/info.json").read_text())
    info["features"][KEY] |= {"info": None, place: {"video.is_depth_map": True}}
    (dataset / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(
        DataError, match=rf"{KEY}: expected color pictures, got a depth map .* camera 'image'"
    ):
        LeRobotSource(dataset)


def test_pictures_of_which_only_the_path_is_stored_are_read_from_the_folder(
    dataset: Path, memory: MemorySource
):
    store_images_in_tables(dataset, memory)
    cells = pq.read_table(dataset / DATA)[KEY].to_pylist()
    for number, cell in enumerate(cells):
        (dataset / f"{number}.png").write_bytes(cell["bytes"])
    paths = [{"bytes": None, "path": f"{number}.png"} for number in range(len(cells))]
    _set_column(dataset / DATA, KEY, paths)
    source = LeRobotSource(dataset)
    np.testing.assert_array_equal([*source.frames(1, "image")], [*memory.frames(1, "image")])
    (dataset / "5.png").unlink()
    with pytest.raises(DataError, match=r"episode 1, frame 1: expected a picture at the path .*5\.png"):
        list(LeRobotSource(dataset).frames(1, "image"))
    _set_column(dataset / DATA, KEY, [{"bytes": None, "path": "/etc/passwd"}] * len(cells))
    with pytest.raises(
        DataError, match="expected a picture in the data set's folder, got the path /etc/passwd"
    ):
        list(LeRobotSource(dataset).frames(1, "image"))


def test_gray_of_16_bits_is_not_cut_to_8(dataset: Path, memory: MemorySource):
    store_images_in_tables(dataset, memory)
    cells = pq.read_table(dataset / DATA)[KEY].to_pylist()
    cells[4]["bytes"] = encoded(np.full((16, 16), 20000, np.uint16), "PNG")
    _set_column(dataset / DATA, KEY, cells)
    with pytest.raises(DataError, match=rf"{KEY}, episode 1, frame 0: expected an image of 8 bits .* mode I"):
        list(LeRobotSource(dataset).frames(1, "image"))
