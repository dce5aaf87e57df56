"""How unusable data sets are refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.memory import MemorySource
from focusvla.errors import DataError
from focusvla.suites.libero import libero_spec
from focusvla_client import Camera, Spec
from written_datasets import gray_memory, write_lerobot, write_older_lerobot

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


def test_an_unknown_version_comes_with_those_that_are_known(dataset: Path):
    _edit_json(dataset / "meta/info.json", lambda info: info.update(codebase_version="v1.6"))
    with pytest.raises(DataError, match=r"codebase_version: expected one of v3\.0, v2\.1, v2\.0, got v1\.6"):
        LeRobotSource(dataset)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("steps_per_picture", 0, "a positive whole number"),
        ("steps_per_picture", "4", "a positive whole number"),
        ("steps_per_picture", None, "a positive whole number"),
        ("chunks_size", -1, "a positive whole number"),
        ("fps", 0, "a positive number"),
        ("fps", "10", "a positive number"),
        ("features", ["action"], "features, each with its dtype"),
        ("features", {"action": {"shape": [3]}}, "features, each with its dtype"),
        ("data_path", None, "a path with places for numbers"),
        ("data_path", "data/{chunk_index:99999999d}.parquet", "a path with places for numbers"),
        ("data_path", "data/{chunk_index.real}.parquet", "a path with places for numbers"),
        ("video_path", None, "a path, since there are videos"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    dataset: Path, field: str, value: object, expected: str
):
    _edit_json(dataset / "meta/info.json", lambda info: info.update({field: value}))
    with pytest.raises(DataError, match=rf"info\.json, {field}: expected {expected}.*, got"):
        LeRobotSource(dataset)


@pytest.mark.parametrize("shape", [None, 3, [3, "x"], ["x"]])
@pytest.mark.parametrize("key", ["action", "observation.images.image"])
def test_a_shape_that_makes_no_sense_is_refused(dataset: Path, key: str, shape: object):
    _edit_json(dataset / "meta/info.json", lambda info: info["features"][key].update(shape=shape))
    with pytest.raises(DataError, match=rf"info\.json, {key}: expected .* got shape"):
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


@pytest.mark.parametrize("as_images", [False, True])
def test_conversions_of_libero_that_claim_10_hz_are_read_as_the_20_hz_they_are(
    tmp_path: Path, as_images: bool
):
    true_spec = libero_spec(16)
    claimed = gray_memory(replace(true_spec, control_rate_hz=10.0))
    path = write_older_lerobot(tmp_path / "set", claimed, as_images=as_images)
    source = LeRobotSource(path, true_spec)
    assert source.spec.control_rate_hz == 20.0
    frames = np.stack(list(source.frames(1, "image"))).astype(int)
    np.testing.assert_allclose(frames, np.stack(list(claimed.frames(1, "image"))), atol=2)
    with pytest.raises(DataError, match=r"fps: expected the spec's control rate of 30\.0 Hz, got 10"):
        LeRobotSource(path, replace(true_spec, control_rate_hz=30.0))


def test_statistics_that_are_missing_or_lack_quantiles_are_computed(dataset: Path):
    stored = LeRobotSource(dataset).statistics()
    _edit_json(dataset / "meta/stats.json", lambda statistics: statistics["action"].pop("q99"))
    without_quantiles = LeRobotSource(dataset).statistics()
    _edit_json(dataset / "meta/stats.json", lambda statistics: statistics.pop("action"))
    without_action = LeRobotSource(dataset).statistics()
    (dataset / "meta/stats.json").unlink()
    for computed in (without_quantiles, without_action, LeRobotSource(dataset).statistics()):
        np.testing.assert_allclose(computed.action.q01, stored.action.q01)
        np.testing.assert_allclose(computed.state.q99, stored.state.q99)


@pytest.mark.parametrize("q01", [["low", 0, 0], [None, 0, 0], [9e9, 0, 0], [0, 0, 0, 0]])
def test_statistics_that_are_damaged_are_refused(dataset: Path, q01: list):
    _edit_json(dataset / "meta/stats.json", lambda statistics: statistics["action"].update(q01=q01))
    with pytest.raises(DataError, match=r"expected (numbers|finite|3 dimensions)"):
        LeRobotSource(dataset).statistics()
    for content, message in (("{", "readable JSON"), ('{"action": 3}', "names and values")):
        (dataset / "meta/stats.json").write_text(content)
        with pytest.raises(DataError, match=rf"stats\.json: expected {message}"):
            LeRobotSource(dataset).statistics()
    (dataset / "meta/stats.json").write_text("[]")
    with pytest.raises(DataError, match=r"stats\.json: expected a JSON object"):
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


def test_a_video_of_an_unknown_codec_is_named(dataset: Path):
    path = dataset / VIDEO
    path.write_bytes(path.read_bytes().replace(b"avc1", b"none"))
    with pytest.raises(
        DataError, match=r"file-000\.mp4: expected a complete video, got a stream of an unknown"
    ):
        list(LeRobotSource(dataset).frames(0, "image"))


def test_a_missing_video_is_named(dataset: Path):
    (dataset / VIDEO).unlink()
    with pytest.raises(DataError, match=r"file-000\.mp4: expected a complete video, got .*No such file"):
        list(LeRobotSource(dataset).frames(0, "image"))


def test_a_video_with_too_few_frames_is_named(dataset: Path):
    _edit_column(dataset / EPISODES, "videos/observation.images.image/from_timestamp", [0.0, 0.4, 0.8])
    with pytest.raises(DataError, match=r"got 1 of the 2 frames from 0\.800 s on: row 1 is at 0\.900"):
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
    with pytest.raises(DataError, match=r"episode 1, dataset_to_index: expected 4 \+ length 2, got 7"):
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


def test_a_damaged_episode_is_left_out_and_told_of_if_asked(dataset: Path, memory: MemorySource):
    untouched = LeRobotSource(dataset)
    actions = pq.read_table(dataset / DATA)["action"].to_pylist()
    actions[5][1] = float("nan")
    _edit_column(dataset / DATA, "action", actions)
    source = LeRobotSource(dataset, skip_damaged=True)
    assert source.skipped == [
        f"{dataset}, episode 1, action, step 1, dy: expected a finite number, got nan. "
        "Remove or record again this episode."
    ]
    assert [source.episode(index).index for index in range(source.num_episodes)] == [0, 1]
    np.testing.assert_array_equal(source.episode(1).action, memory.episode(2).action)
    assert len(list(source.frames(1, "image"))) == 2
    assert source.metadata(1) == {"seed": 2}
    assert source.fingerprint() != untouched.fingerprint()
    assert source.statistics().action.q99 != untouched.statistics().action.q99  # not those of all three


def test_a_source_of_damaged_episodes_only_is_refused(dataset: Path):
    (dataset / DATA).write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"expected at least one episode, left out 3, first: .*parquet"):
        LeRobotSource(dataset, skip_damaged=True)


@pytest.fixture
def older(memory: MemorySource, tmp_path: Path) -> Path:
    """The episodes of `memory` as a LeRobot data set of version 2.1, two episodes to a folder."""
    return write_older_lerobot(tmp_path / "older", memory)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "data/chunk-000/episode_000001.parquet",
            r"episode_000001\.parquet: expected a complete parquet file",
        ),
        ("meta/tasks.jsonl", r"tasks\.jsonl, line 2: expected JSON"),
        ("meta/episodes.jsonl", r"episodes\.jsonl, line 3: expected JSON"),
    ],
)
def test_a_truncated_file_of_an_older_data_set_is_named(older: Path, spec: Spec, file: str, message: str):
    (older / file).write_bytes((older / file).read_bytes()[:-20])
    with pytest.raises(DataError, match=message):
        LeRobotSource(older, spec)


def test_a_damaged_table_and_video_of_an_older_data_set_cost_their_episodes_only(
    older: Path, spec: Spec, memory: MemorySource
):
    table = older / "data/chunk-000/episode_000000.parquet"
    video = older / "videos/chunk-001/observation.images.image2/episode_000002.mp4"
    table.write_bytes(table.read_bytes()[:-20])
    video.write_bytes(video.read_bytes()[:-200])
    source = LeRobotSource(older, spec, skip_damaged=True)
    assert source.num_episodes == 1
    np.testing.assert_array_equal(source.episode(0).action, memory.episode(1).action)
    assert [message.split(": expected")[0] for message in source.skipped] == [str(table), str(video)]


def test_a_missing_video_of_an_older_data_set_is_named(older: Path, spec: Spec):
    (older / "videos/chunk-000/observation.images.image/episode_000001.mp4").unlink()
    with pytest.raises(
        DataError, match=r"episode_000001\.mp4: expected a complete video, got .*No such file"
    ):
        list(LeRobotSource(older, spec).frames(1, "image"))


def test_a_task_that_is_not_in_the_list_is_refused(older: Path, spec: Spec):
    (older / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "push"}\n')
    with pytest.raises(DataError, match="episode 1: expected an instruction, got none"):
        LeRobotSource(older, spec)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("episodes", {"episode": 0}, "meta: expected the fields of LeRobot v2.1, got KeyError"),
        ("episodes", {"episode_index": 0, "length": "4"}, "episode 0: expected whole numbers .* got .*'4'"),
        (
            "episodes",
            {"episode_index": 0, "length": 10**20},
            r"expected the rows 0\.\..* got 4 that do not fit",
        ),
        ("tasks", {"task_index": 0, "task": None}, "task 0: expected an instruction, got None"),
    ],
)
def test_lines_that_make_no_sense_are_refused(older: Path, spec: Spec, file: str, line: dict, message: str):
    (older / f"meta/{file}.jsonl").write_text(json.dumps(line))
    with pytest.raises(DataError, match=message):
        LeRobotSource(older, spec)


def test_numbers_that_are_too_large_are_named(older: Path, spec: Spec):
    path = older / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    actions = pa.array([[0.0, 1e300, 0.0]] * 4)
    pq.write_table(table.set_column(table.column_names.index("action"), "action", actions), path)
    with pytest.raises(DataError, match=r"action, step 0, dy: expected a finite number, got inf"):
        LeRobotSource(older, spec)


def test_vectors_of_several_widths_are_refused(older: Path, spec: Spec):
    path = older / "data/chunk-000/episode_000000.parquet"
    _edit_column(path, "action", [[0.0, 0.0], [0.0, 0.0], [0.0] * 4, [0.0] * 4])
    with pytest.raises(DataError, match="action: expected vectors of one width, got a ragged column"):
        LeRobotSource(older, spec)


def test_openpis_names_of_liberos_features_are_read_and_others_named_in_full(tmp_path: Path):
    memory = gray_memory(libero_spec(16))
    path = write_lerobot(tmp_path / "data", memory)
    (path / "meta" / "spec.json").unlink()
    names = {
        "observation.state": "state",
        "action": "actions",
        "observation.images.image": "image",
        "observation.images.image2": "wrist_image",
    }
    for folder in (path / "videos").iterdir():
        folder.rename(folder.with_name(names[folder.name]))
    for file in path.glob("**/*.parquet"):
        table = pq.read_table(file)
        renamed = [names.get(name, name) for name in table.column_names]
        for key, other in names.items():
            renamed = [str(name).replace(f"videos/{key}/", f"videos/{other}/") for name in renamed]
        pq.write_table(table.rename_columns(renamed), file)
    info = json.loads((path / "meta" / "info.json").read_text())
    info["features"] = {names.get(key, key): feature for key, feature in info["features"].items()}
    (path / "meta" / "info.json").write_text(json.dumps(info))
    source = LeRobotSource(path, libero_spec(16))
    for index in range(memory.num_episodes):
        np.testing.assert_allclose(source.episode(index).state, memory.episode(index).state, rtol=1e-6)
        for camera in ("image", "image2"):
            found, expected = (int(next(each.frames(index, camera))[8, 8, 0]) for each in (source, memory))
            assert abs(found - expected) <= 3
    other = replace(libero_spec(16), cameras=(Camera("image", 16, 16), Camera("hand", 16, 16)))
    with pytest.raises(
        DataError, match=r"camera 'hand' .* observation\.images\.hand, .* image, wrist_image: rename"
    ):
        LeRobotSource(path, other)
