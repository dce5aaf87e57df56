"""What openvla's RLDS data sets mean, and how unusable ones are refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.formats.opening import remarks
from focusvla.data.formats.rlds import RLDSSource
from focusvla.data.memory import MemorySource
from focusvla.errors import DataError
from focusvla.suites.libero import libero_spec
from focusvla_client.spec import GRIPPER_OPEN_NEGATIVE, IMAGE_BOTTOM_UP_ROTATED_180
from written_datasets import encoded, example_record, gray_memory, write_records, write_rlds

pytest.importorskip("google_crc32c", reason="needs the extra `rlds`")

FIRST = "libero_test_no_noops-train.tfrecord-00000-of-00002"
SECOND = "libero_test_no_noops-train.tfrecord-00001-of-00002"


@pytest.fixture
def libero() -> MemorySource:
    """Three episodes of 4, 3 and 2 steps with LIBERO's conventions."""
    return gray_memory(libero_spec(16))


@pytest.fixture
def folder(libero: MemorySource, tmp_path: Path) -> Path:
    """The same as an RLDS data set, two episodes in its first file and one in its second."""
    return write_rlds(tmp_path / "libero_test_no_noops" / "1.0.0", libero)


def _steps(**changes: object) -> dict:
    """The features of an episode of two steps."""
    return {
        "steps/action": np.zeros(14, np.float32),
        "steps/observation/state": np.zeros(16, np.float32),
        "steps/language_instruction": [b"push"] * 2,
        "steps/observation/image": [encoded(np.zeros((16, 16, 3), np.uint8))] * 2,
        "steps/observation/wrist_image": [encoded(np.zeros((16, 16, 3), np.uint8))] * 2,
    } | changes


def _overwrite(folder: Path, features: dict) -> None:
    write_records(folder / SECOND, [example_record(features)])


def test_pictures_are_turned_already_and_minus_one_opens(folder: Path):
    corner = np.zeros((16, 16, 3), np.uint8)
    corner[:8, :8, 0] = 200
    action = np.zeros((2, 7), np.float32)
    action[:, 6] = [-1, 1]
    images = {"steps/observation/image": [encoded(corner)] * 2}
    _overwrite(folder, _steps(**images, **{"steps/action": action.reshape(-1)}))
    source = RLDSSource(folder)
    assert source.spec.image_orientation == IMAGE_BOTTOM_UP_ROTATED_180
    assert source.spec.gripper == GRIPPER_OPEN_NEGATIVE
    np.testing.assert_array_equal(source.episode(2).action[:, 6], [-1, 1])
    frame = next(source.frames(2, "image")).astype(int)
    np.testing.assert_allclose(frame[[4, 4, 12], [4, 12, 4]], [[200, 0, 0], [0, 0, 0], [0, 0, 0]], atol=4)


def test_other_data_sets_need_a_spec_whose_cameras_are_their_own(libero: MemorySource, tmp_path: Path):
    path = write_rlds(tmp_path / "other", libero, name="bridge")
    with pytest.raises(
        DataError, match=r"expected a data set with known conventions, got 'bridge'\. Pass a spec"
    ):
        RLDSSource(path)
    camera = replace(libero.spec.cameras[0], name="wrist_image")
    source = RLDSSource(path, replace(libero.spec, cameras=(camera,)))
    assert next(source.frames(0, "wrist_image")).mean() == pytest.approx(40, abs=2)


def test_a_changed_byte_is_named_with_its_record(folder: Path):
    content = bytearray((folder / FIRST).read_bytes())
    content[-100] ^= 1
    (folder / FIRST).write_bytes(content)
    with pytest.raises(DataError, match=rf"{FIRST}, record 1: expected a complete record"):
        RLDSSource(folder)
    source = RLDSSource(folder, skip_damaged=True)
    assert [len(source.episode(index)) for index in range(source.num_episodes)] == [4, 2]
    assert len(source.skipped) == 1
    assert f"{FIRST}, record 1" in source.skipped[0]


def test_a_missing_file_is_named(folder: Path):
    (folder / SECOND).unlink()
    with pytest.raises(DataError, match=rf"{SECOND}: expected a file of records, got .*No such file"):
        RLDSSource(folder)
    assert RLDSSource(folder, skip_damaged=True).num_episodes == 2


def test_a_file_with_fewer_records_than_announced_is_named(folder: Path):
    write_records(folder / FIRST, [example_record(_steps())])
    with pytest.raises(DataError, match=rf"{FIRST}: expected 2 records as dataset_info\.json says, got 1"):
        RLDSSource(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps/action": np.full(14, np.nan, np.float32)}, "record 0, action, step 0, x: expected a finite"),
        ({"steps/action": np.zeros(12, np.float32)}, "record 0, action: expected 7 dimensions .* got 6"),
        ({"steps/action": np.zeros(13, np.float32)}, "steps/action: expected numbers for each of 2 steps"),
        ({"steps/action": [b"no"] * 2}, "steps/action: expected numbers for each of 2 steps"),
        ({"steps/language_instruction": []}, "record 0: expected at least one step, got an empty episode"),
        ({"steps/language_instruction": [b"a", b"b"]}, "record 0: expected one instruction, got several"),
        ({"steps/language_instruction": [b"", b""]}, "record 0: expected an instruction, got none"),
    ],
)
def test_numbers_and_words_that_cannot_be_used_are_named(folder: Path, changes: dict, message: str):
    _overwrite(folder, _steps(**changes))
    with pytest.raises(DataError, match=message):
        RLDSSource(folder)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, r"expected the feature steps/observation/image, got .*steps/observation/wrist_image"),
        ([b"no jpeg"] * 2, "steps/observation/image, frame 0: expected an encoded image"),
        (
            [encoded(np.zeros((8, 8, 3), np.uint8))] * 2,
            r"frame 0, camera 'image': expected uint8 \(16, 16, 3\), got .* 8x8",
        ),
        (
            [encoded(np.zeros((16, 16, 3), np.uint8))],
            "camera 'image': expected 2 frames, one per action, got 1",
        ),
    ],
)
def test_pictures_that_cannot_be_used_are_named(folder: Path, images: list | None, message: str):
    features = _steps(**{"steps/observation/image": images})
    _overwrite(folder, {name: values for name, values in features.items() if values is not None})
    with pytest.raises(DataError, match=message):
        list(RLDSSource(folder).frames(2, "image"))
    assert RLDSSource(folder, skip_damaged=True).num_episodes == 2


def test_a_record_that_is_no_example_is_named(folder: Path):
    write_records(folder / SECOND, [b"\x0b"])
    with pytest.raises(DataError, match=r"record 0: expected a tf\.train\.Example, got a field of kind 3"):
        RLDSSource(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dataset_info.json", "{", r"dataset_info\.json: expected readable JSON"),
        ("dataset_info.json", json.dumps({"name": "libero", "splits": [{"name": "train"}]}), "got KeyError"),
        ("dataset_info.json", "[]", r"dataset_info\.json: expected a JSON object, got list"),
        ("dataset_info.json", json.dumps({"name": "libero", "splits": 3}), "got TypeError"),
        ("dataset_info.json", json.dumps({"name": "libero", "splits": []}), "at least one episode, got none"),
        ("features.json", "{}", r"features\.json: expected the shape of steps/observation/image"),
    ],
)
def test_a_damaged_description_is_named(folder: Path, file: str, content: str, message: str):
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        RLDSSource(folder)


def test_a_split_that_is_listed_twice_is_refused_and_a_file_that_is_not_listed_is_told_of(folder: Path):
    (folder / "libero_test_no_noops-val.tfrecord-00000-of-00001").write_bytes(b"")
    assert any(
        "no split of libero_test_no_noops-val.tfrecord-00000" in text for text in remarks(RLDSSource(folder))
    )
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"splits": info["splits"] * 2}))
    with pytest.raises(
        DataError, match=r"dataset_info\.json, splits: expected each name once, got train, train"
    ):
        RLDSSource(folder)


@pytest.mark.parametrize(
    ("key", "marks"), [("is_first", [1, 1]), ("is_first", [0, 1]), ("is_last", [1, 0]), ("is_last", [1])]
)
def test_a_record_that_marks_other_steps_than_its_ends_is_refused(folder: Path, key: str, marks: list[int]):
    _overwrite(folder, _steps(**{f"steps/{key}": np.array(marks, np.float32)}))
    with pytest.raises(DataError, match=rf"record 0, steps/{key}: expected step \d of 2 alone"):
        RLDSSource(folder)


def test_a_picture_of_16_bits_is_refused(folder: Path):
    deep = encoded(np.full((16, 16), 20000, np.uint16), "PNG")
    _overwrite(folder, _steps(**{"steps/observation/image": [deep] * 2}))
    with pytest.raises(DataError, match=r"steps/observation/image, frame 0: expected an image of 8 bits"):
        list(RLDSSource(folder).frames(2, "image"))
