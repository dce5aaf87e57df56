"""How unusable data sets are refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from focusvla.data.lerobot_reader import LeRobotSource
from focusvla.data.normalization import Statistics
from focusvla.errors import DataError
from focusvla_client import Camera, Spec

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.image/chunk-000/file-000.mp4"


def _edit_json(path: Path, edit: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def _edit_column(path: Path, name: str, values: list) -> None:
    table = pq.read_table(path)
    position = table.column_names.index(name)
    pq.write_table(table.set_column(position, name, pa.array(values, table.schema.field(name).type)), path)


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere: expected a LeRobot data set, got no such folder"):
        LeRobotSource(tmp_path / "nowhere")


def test_a_folder_without_description_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"meta/info\.json: .* got no such file"):
        LeRobotSource(tmp_path)


def test_a_damaged_description_is_named(dataset: Path):
    (dataset / "meta/info.json").write_text("{")
    with pytest.raises(DataError, match=r"info\.json: expected readable JSON"):
        LeRobotSource(dataset)


def test_an_older_version_comes_with_the_command_that_converts_it(dataset: Path):
    _edit_json(dataset / "meta/info.json", lambda info: info.update(codebase_version="v2.1"))
    with pytest.raises(DataError, match=r"codebase_version: expected v3\.0, got v2\.1\. Convert .*v30"):
        LeRobotSource(dataset)


@pytest.mark.parametrize("value", [0, "4", None])
def test_a_picture_rate_that_makes_no_sense_is_refused(dataset: Path, value: object):
    _edit_json(dataset / "meta/info.json", lambda info: info.update(steps_per_picture=value))
    with pytest.raises(DataError, match="steps_per_picture: expected a positive whole number, got"):
        LeRobotSource(dataset)


def test_a_foreign_dataset_needs_a_spec_and_works_with_one(dataset: Path, spec: Spec):
    (dataset / "meta/spec.json").unlink()
    with pytest.raises(DataError, match=r"spec\.json: .*Pass a spec"):
        LeRobotSource(dataset)
    assert LeRobotSource(dataset, spec).spec == spec


def test_another_spec_than_the_stored_one_is_refused(dataset: Path, spec: Spec):
    with pytest.raises(DataError, match="image_orientation: 'rotated_180' against 'upright'"):
        LeRobotSource(dataset, replace(spec, image_orientation="rotated_180"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": (Camera("wrist", 16, 16),)}, r"camera 'wrist' of the spec, got 'image', 'image2'"),
        ({"cameras": (Camera("image", 32, 32),)}, r"observation\.images\.image: expected 32x32"),
        ({"state": ("x", "y", "z")}, r"observation\.state: expected 3 dimensions .*got shape \[2\]"),
        ({"action": ("dx",)}, r"action: expected 1 dimensions .*got shape \[3\]"),
        ({"control_rate_hz": 20.0}, r"fps: expected the spec's control rate of 20\.0 Hz, got 10"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(dataset: Path, spec: Spec, changes: dict, message: str):
    (dataset / "meta/spec.json").unlink()
    with pytest.raises(DataError, match=message):
        LeRobotSource(dataset, replace(spec, **changes))


def test_missing_statistics_come_with_the_way_to_compute_them(dataset: Path):
    source = LeRobotSource(dataset)
    stored = source.statistics()
    (dataset / "meta/stats.json").unlink()
    with pytest.raises(DataError, match=r"stats\.json: .*Compute them with Statistics\.from_source"):
        source.statistics()
    computed = Statistics.from_source(source)
    np.testing.assert_allclose(computed.action.q01, stored.action.q01)
    np.testing.assert_allclose(computed.state.q99, stored.state.q99)


def test_statistics_without_quantiles_are_refused(dataset: Path):
    _edit_json(dataset / "meta/stats.json", lambda statistics: statistics["action"].pop("q99"))
    with pytest.raises(DataError, match=r"action\.q99 is missing\. Compute them"):
        LeRobotSource(dataset).statistics()
    _edit_json(dataset / "meta/stats.json", lambda statistics: statistics.pop("action"))
    with pytest.raises(DataError, match=r"action is missing\. Compute them"):
        LeRobotSource(dataset).statistics()


def test_statistics_of_another_width_are_refused(dataset: Path):
    _edit_json(dataset / "meta/stats.json", lambda statistics: statistics["action"].update(q01=[0.0]))
    with pytest.raises(DataError, match=r"action: expected 3 dimensions, got 1"):
        LeRobotSource(dataset).statistics()


def test_a_truncated_video_is_named(dataset: Path):
    path = dataset / VIDEO
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"file-000\.mp4: expected a complete video"):
        list(LeRobotSource(dataset).frames(0, "image"))


def test_a_video_with_overwritten_packets_is_named(dataset: Path):
    path = dataset / VIDEO
    content = bytearray(path.read_bytes())
    start = content.find(b"mdat") + 4
    content[start : start + 900] = b"\xff" * 900
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"file-000\.mp4: expected a complete video"):
        list(LeRobotSource(dataset).frames(0, "image"))


def test_a_missing_video_is_named(dataset: Path):
    (dataset / VIDEO).unlink()
    with pytest.raises(DataError, match=r"file-000\.mp4: expected a complete video, got .*No such file"):
        list(LeRobotSource(dataset).frames(0, "image"))


def test_a_video_with_too_few_frames_is_named(dataset: Path):
    _edit_column(dataset / EPISODES, "videos/observation.images.image/from_timestamp", [0.0, 0.4, 0.8])
    with pytest.raises(DataError, match=r"got 1 of the 2 frames from 0\.800 s on"):
        list(LeRobotSource(dataset).frames(2, "image"))


def test_a_number_that_is_not_finite_is_named(dataset: Path):
    actions = pq.read_table(dataset / DATA)["action"].to_pylist()
    actions[5][1] = float("nan")
    _edit_column(dataset / DATA, "action", actions)
    with pytest.raises(DataError, match=r"episode 1, action, step 1, dy: expected a finite number, got nan"):
        LeRobotSource(dataset)


def test_an_empty_episode_is_named(dataset: Path):
    _edit_column(dataset / EPISODES, "length", [4, 0, 2])
    with pytest.raises(DataError, match=r"episode 1: expected at least one step"):
        LeRobotSource(dataset)


def test_tables_that_contradict_each_other_are_refused(dataset: Path):
    _edit_column(dataset / EPISODES, "length", [4, 2, 3])
    with pytest.raises(DataError, match="rows of data/ to be those that meta/episodes announces"):
        LeRobotSource(dataset)


def test_an_episode_with_two_instructions_is_refused(dataset: Path):
    _edit_column(dataset / DATA, "task_index", [0, 1, 0, 0, 1, 1, 1, 0, 0])
    with pytest.raises(DataError, match=r"episode 0: expected one instruction, got several"):
        LeRobotSource(dataset)


@pytest.mark.parametrize("file", [DATA, EPISODES, "meta/tasks.parquet"])
def test_a_truncated_table_is_named(dataset: Path, file: str):
    (dataset / file).write_bytes((dataset / file).read_bytes()[:-20])
    with pytest.raises(DataError, match=r"\.parquet: expected a complete parquet file"):
        LeRobotSource(dataset)


def test_a_dataset_without_episode_table_is_refused(dataset: Path):
    (dataset / EPISODES).unlink()
    with pytest.raises(DataError, match="expected the list of episodes, got no file"):
        LeRobotSource(dataset)
