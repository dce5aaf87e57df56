"""What RoboTwin's files mean in both layouts, and how unusable ones are refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.formats.opening import open_source
from focusvla.data.formats.robotwin import RoboTwinSource
from focusvla.data.memory import MemorySource
from focusvla.errors import DataError
from focusvla_client.bimanual import robotwin_spec
from focusvla_client.spec import ACTION_JOINT_POSITION, GRIPPER_ABSOLUTE, IMAGE_UPRIGHT
from written_datasets import encoded, gray_memory, robotwin_image, write_robotwin

h5py = pytest.importorskip("h5py", reason="needs the extra `hdf5`")

OLDER, NEWER = "episode1.hdf5", "episode_0000001.hdf5"


@pytest.fixture
def robotwin() -> MemorySource:
    return gray_memory(robotwin_spec(16, 24))


@pytest.fixture(params=["older", "newer"])
def folder(request: pytest.FixtureRequest, robotwin: MemorySource, tmp_path: Path) -> Path:
    """Three episodes in one of the layouts."""
    return write_robotwin(tmp_path / "beat_block/demo", robotwin, older=request.param == "older")


def _second(folder: Path) -> Path:
    return sorted((folder / "data").iterdir())[1]


def _edit(path: Path, edit: Callable) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)


def _replace(file, name: str, values: object) -> None:
    if name in file:
        del file[name]
    file[name] = values


def _camera(file, name: str) -> str:
    place = {"head": "cam_head", "left": "cam_left_wrist", "right": "cam_right_wrist"}[name]
    return f"observation/{name}_camera/rgb" if "joint_action" in file else f"vision/{place}/colors"


def _rows(file) -> int:
    return len(file[_camera(file, "left")])


def test_conventions_and_rate_are_robotwins(folder: Path):
    spec = RoboTwinSource(folder).spec
    assert (spec.action_space, spec.gripper) == (ACTION_JOINT_POSITION, GRIPPER_ABSOLUTE)
    assert spec.image_orientation == IMAGE_UPRIGHT
    assert [(c.name, c.height, c.width) for c in spec.cameras] == [
        *(("head", 16, 24), ("left", 16, 24), ("right", 16, 24)),
    ]
    assert [index for index, name in enumerate(spec.action) if name.endswith("gripper")] == [6, 13]
    assert spec.control_rate_hz == pytest.approx(250 / 15)


def test_an_action_is_where_the_joints_are_at_the_next_row(folder: Path, robotwin: MemorySource):
    episode = RoboTwinSource(folder).episode(0)
    assert len(episode) == 4
    np.testing.assert_array_equal(episode.action[:-1], episode.state[1:])
    np.testing.assert_array_equal(episode.action[-1], robotwin.episode(0).action[-1])


@pytest.mark.parametrize("standard_colors", [False, True])
def test_red_stays_red_however_the_image_was_encoded(folder: Path, standard_colors: bool):
    red = np.zeros((16, 24, 3), np.uint8)
    red[..., 0] = 200

    def edit(file) -> None:
        images = [robotwin_image(red, standard_colors)] * len(file[_camera(file, "left")])
        _replace(file, _camera(file, "left"), np.array(images))

    _edit(_second(folder), edit)
    frame = next(RoboTwinSource(folder).frames(1, "left")).astype(int)
    np.testing.assert_allclose(frame.mean((0, 1)), [200, 0, 0], atol=3)


def test_images_that_were_not_encoded_are_taken_as_they_are(folder: Path):
    def edit(file) -> None:
        count = len(file[_camera(file, "head")])
        _replace(file, _camera(file, "head"), np.full((count, 16, 24, 3), [1, 2, 3], np.uint8))

    _edit(_second(folder), edit)
    np.testing.assert_array_equal(next(RoboTwinSource(folder).frames(1, "head"))[0, 0], [1, 2, 3])


def test_instructions_differ_from_episode_to_episode(tmp_path: Path, robotwin: MemorySource):
    folder = write_robotwin(tmp_path, robotwin, older=True)
    for index in range(3):
        words = {"seen": ["lift it", "raise it"], "unseen": ["hoist it"]}
        (folder / f"instructions/episode{index}.json").write_text(json.dumps(words))
    source = RoboTwinSource(folder)
    assert [source.episode(index).instruction for index in range(3)] == ["lift it", "raise it", "lift it"]


@pytest.mark.parametrize(
    "words", [json.dumps(["lift it", "raise it"]), np.array(["lift it", "raise it"], object)]
)
def test_several_instructions_in_a_file_are_a_list_or_json(
    tmp_path: Path, robotwin: MemorySource, words: object
):
    folder = write_robotwin(tmp_path, robotwin, older=False)

    def edit(file) -> None:
        del file["instruction"]
        file.create_dataset("instructions", data=words, dtype=h5py.string_dtype())

    _edit(folder / "data" / NEWER, edit)
    assert RoboTwinSource(folder).episode(1).instruction == "raise it"


def test_a_rate_is_in_hertz_unless_robotwins_own_conversion_wrote_it(tmp_path: Path, robotwin: MemorySource):
    folder = write_robotwin(tmp_path, robotwin, older=False)
    for path in (folder / "data").iterdir():
        _edit(path, lambda file: (_replace(file, "additional_info/frequency", 25), file.attrs.clear()))
    assert RoboTwinSource(folder).spec.control_rate_hz == 25.0
    _edit(folder / "data" / NEWER, lambda file: _replace(file, "additional_info/frequency", 30))
    with pytest.raises(
        DataError, match=rf"{NEWER}: expected the data set's spec, got control_rate_hz: 25.0 against"
    ):
        RoboTwinSource(folder)


def test_all_tasks_below_a_folder_are_one_data_set_in_the_order_of_their_numbers(tmp_path: Path):
    for task in ("lift_pot", "beat_block"):
        lengths = tuple(range(1, 12)) if task == "lift_pot" else (12,)
        write_robotwin(tmp_path / task / "demo", gray_memory(robotwin_spec(16, 24), lengths), older=True)
    source = open_source(tmp_path)
    assert [len(source.episode(index)) for index in range(12)] == [12, *range(1, 12)]


def test_another_spec_than_robotwins_is_refused(folder: Path):
    with pytest.raises(DataError, match=r"expected the spec that was passed, got gripper: 'none' against"):
        open_source(folder, spec=replace(robotwin_spec(16, 24), gripper="none"))


def _joints(file, values: np.ndarray) -> None:
    if "joint_action" in file:
        _replace(file, "joint_action/vector", values)
    else:
        for kind in ("state", "action"):
            _replace(file, f"{kind}/left_arm_joint_states", values[:, :-8])
            for part in ("left_ee", "right_ee"):
                _replace(file, f"{kind}/{part}_joint_states", values[:, 0])
            _replace(file, f"{kind}/right_arm_joint_states", values[:, :6])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda file: _joints(file, np.full((_rows(file), 14), np.nan)),
            "step 0, left_joint_1: expected a finite number",
        ),
        (lambda file: _joints(file, np.zeros((_rows(file), 16))), "expected 14 dimensions .* got 16"),
        (lambda file: file.__delitem__(_camera(file, "right")), "expected an array, got"),
        (lambda file: _replace(file, _camera(file, "head"), 3), "expected an image for each step, got int64"),
        (
            lambda file: _replace(file, _camera(file, "right"), 3),
            "expected an image for each step, got int64",
        ),
        (
            lambda file: _replace(file, _camera(file, "right"), np.array([b"no"] * _rows(file))),
            "an encoded image",
        ),
        (
            lambda file: _replace(
                file, _camera(file, "right"), np.array([encoded(np.zeros((4, 4, 3), "u1"))] * _rows(file))
            ),
            r"expected uint8 \(16, 24, 3\), got uint8 \(4, 4, 3\)",
        ),
        (
            lambda file: _replace(file, _camera(file, "head"), np.zeros((0, 16, 24, 3), "u1")),
            "an empty episode",
        ),
    ],
)
def test_an_episode_that_cannot_be_used_is_named_and_left_out_if_asked(
    folder: Path, edit: Callable, message: str
):
    path = _second(folder)
    _edit(path, edit)
    with pytest.raises(DataError, match=rf"{path.name}.*{message}"):
        list(RoboTwinSource(folder).frames(1, "right"))
    source = RoboTwinSource(folder, skip_damaged=True)
    assert [len(source.episode(index)) for index in range(source.num_episodes)] == [4, 2]
    assert len(source.skipped) == 1


def test_a_truncated_file_is_named_and_left_out_if_asked(folder: Path):
    path = _second(folder)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=rf"{path.name}: expected a complete HDF5 file"):
        open_source(folder)
    assert open_source(folder, skip_damaged=True).num_episodes == 2


@pytest.mark.parametrize("content", [None, "{", '{"unseen": ["a"]}', '{"seen": []}', '{"seen": [1]}', "[]"])
def test_missing_instructions_are_named(tmp_path: Path, robotwin: MemorySource, content: str | None):
    folder = write_robotwin(tmp_path, robotwin, older=True)
    path = folder / "instructions/episode1.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"instructions/episode1\.json"):
        RoboTwinSource(folder)


def test_a_part_of_other_rows_is_named(tmp_path: Path, robotwin: MemorySource):
    folder = write_robotwin(tmp_path, robotwin, older=False)
    _edit(folder / "data" / NEWER, lambda file: _replace(file, "action/right_ee_joint_states", np.zeros(2)))
    with pytest.raises(
        DataError, match=r"right_ee_joint_states: expected a table of 3 rows, as many as action/left_arm"
    ):
        RoboTwinSource(folder)


@pytest.mark.parametrize("frequency", [0, -15, np.nan, [25, 25], b"often"])
def test_a_frequency_that_makes_no_sense_is_refused(
    tmp_path: Path, robotwin: MemorySource, frequency: object
):
    folder = write_robotwin(tmp_path, robotwin, older=False)
    _edit(folder / "data" / NEWER, lambda file: _replace(file, "additional_info/frequency", frequency))
    with pytest.raises(DataError, match="frequency: expected a positive number, got"):
        RoboTwinSource(folder)


def test_an_instruction_that_is_no_text_is_refused(tmp_path: Path, robotwin: MemorySource):
    folder = write_robotwin(tmp_path, robotwin, older=False)
    _edit(folder / "data" / NEWER, lambda file: _replace(file, "instruction", 3))
    with pytest.raises(DataError, match=rf"{NEWER}, instruction: expected text"):
        RoboTwinSource(folder)


def test_joints_that_are_stored_twice_and_differ_are_refused(tmp_path: Path, robotwin: MemorySource):
    folder = write_robotwin(tmp_path, robotwin, older=True)

    def edit(file, shift: float) -> None:
        parts = np.split(file["joint_action/vector"][()], [6, 7, 13], axis=1)
        names = ("left_arm", "left_gripper", "right_arm", "right_gripper")
        for name, values in zip(names, parts, strict=True):
            _replace(file, f"joint_action/{name}", values + shift)

    _edit(folder / "data" / OLDER, lambda file: edit(file, 0))
    assert RoboTwinSource(folder).num_episodes == 3
    _edit(folder / "data" / OLDER, lambda file: edit(file, 0.1))
    with pytest.raises(
        DataError, match=rf"{OLDER}, joint_action/vector: expected the joints of joint_action/left"
    ):
        RoboTwinSource(folder)


def test_a_camera_with_more_images_than_rows_is_refused_when_the_file_is_opened(folder: Path):
    def edit(file) -> None:
        images = file[_camera(file, "left")][()]
        _replace(file, _camera(file, "left"), np.concatenate([images, images[-1:]]))

    _edit(_second(folder), edit)
    with pytest.raises(DataError, match=r"expected \d images, as there are rows of joints, got \d"):
        RoboTwinSource(folder)
