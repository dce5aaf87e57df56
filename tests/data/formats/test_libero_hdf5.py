"""What LIBERO's original files mean, and how unusable ones are refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.formats.libero_hdf5 import (
    LiberoHDF5Source,
    chosen_after,
    find_demos,
    rotated_180,
    seen_before,
)
from focusvla.data.formats.opening import open_source, remarks
from focusvla.data.memory import MemorySource
from focusvla.errors import DataError
from focusvla.suites.libero import libero_spec
from written_datasets import gray_memory, write_libero_hdf5

h5py = pytest.importorskip("h5py", reason="needs the extra `hdf5`")


@pytest.fixture
def libero() -> MemorySource:
    return gray_memory(libero_spec(16), instructions=("push",))


@pytest.fixture
def file(libero: MemorySource, tmp_path: Path) -> Path:
    return write_libero_hdf5(tmp_path / "suite/push_demo.hdf5", libero)


def _edit(path: Path, edit: Callable) -> None:
    with h5py.File(path, "r+") as file:
        edit(file["data"])


def _replace(group, name: str, values: np.ndarray) -> None:
    del group[name]
    group[name] = values


def test_an_action_comes_with_what_was_seen_before_it():
    rows = np.array([[0.0], [1.0], [2.0]])
    np.testing.assert_array_equal(seen_before(rows), [[0], [1]])
    np.testing.assert_array_equal(chosen_after(rows), [[1], [2]])


def test_pictures_are_turned_by_180_degrees(file: Path):
    stored = np.zeros((5, 16, 16, 3), np.uint8)
    stored[:, 0, 0] = 1, 2, 3
    _edit(file, lambda data: _replace(data, "demo_0/obs/agentview_rgb", stored))
    frame = next(LiberoHDF5Source(file).frames(0, "image"))
    np.testing.assert_array_equal(frame[15, 15], [1, 2, 3])
    assert frame.sum() == 6
    np.testing.assert_array_equal(rotated_180(frame), stored[0])


def test_a_state_is_position_and_rotation_and_fingers(file: Path, libero: MemorySource):
    with h5py.File(file) as content:
        demo = content["data/demo_0/obs"]
        state = np.concatenate([demo["ee_states"][0], demo["gripper_states"][0]])
    assert libero.spec.state[3:] == (
        *("axis_angle_x", "axis_angle_y", "axis_angle_z"),
        *("finger_left", "finger_right"),
    )
    np.testing.assert_allclose(LiberoHDF5Source(file).episode(0).state[0], state, rtol=1e-6)


def test_demonstrations_are_in_the_order_of_their_numbers(tmp_path: Path):
    file = write_libero_hdf5(tmp_path / "push_demo.hdf5", gray_memory(libero_spec(16), tuple(range(1, 13))))
    lengths = [len(LiberoHDF5Source(file).episode(index)) for index in range(12)]
    assert lengths == list(range(1, 13))
    assert [demo.key for demo in find_demos(file)][9:] == ["demo_9", "demo_10", "demo_11"]


def test_a_folder_of_files_or_of_suites_is_one_data_set(file: Path, libero: MemorySource):
    write_libero_hdf5(file.with_name("pull_demo.hdf5"), libero, instruction="pull")
    for path in (file.parent, file.parent.parent):
        source = open_source(path)
        instructions = [source.episode(index).instruction for index in range(source.num_episodes)]
        assert instructions == ["pull"] * 3 + ["push"] * 3
    assert open_source(file).num_episodes == 3


def test_an_instruction_loses_its_quotation_marks(libero: MemorySource, tmp_path: Path):
    file = write_libero_hdf5(tmp_path / "push_demo.hdf5", libero, instruction='"push"')
    assert LiberoHDF5Source(file).episode(0).instruction == "push"


def test_another_spec_than_liberos_is_refused(file: Path):
    assert open_source(file, spec=libero_spec(16)).num_episodes == 3
    with pytest.raises(
        DataError, match=r"expected the spec that was passed, got gripper: 'absolute' against"
    ):
        open_source(file, spec=replace(libero_spec(16), gripper="absolute"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda demo: _replace(demo, "actions", np.full((4, 7), np.nan)),
            "action, step 0, x: expected a finite",
        ),
        (
            lambda demo: _replace(demo, "actions", np.full((4, 7), 1e300)),
            "action, step 0, x: expected a finite number, got inf",
        ),
        (lambda demo: _replace(demo, "actions", np.zeros((4, 6))), "action: expected 7 dimensions .* got 6"),
        (lambda demo: _replace(demo, "actions", np.zeros((9, 7))), "expected as many states as actions"),
        (
            lambda demo: _replace(demo, "actions", np.array([b"no"])),
            "actions: expected numbers for each step",
        ),
        (lambda demo: demo.__delitem__("actions"), r"/actions: expected an array, got .*obs"),
        (
            lambda demo: (demo.__delitem__("actions"), demo.create_group(b"\xff\xfe")),
            r"/actions: expected an array, got .*obs",
        ),
        (lambda demo: demo.__delitem__("obs/gripper_states"), r"obs/gripper_states: expected an array"),
        (
            lambda demo: _replace(demo, "obs/gripper_states", np.zeros((2, 2))),
            r"gripper_states: expected a table of 4 rows, as many as obs/ee_states has, got .* \(2, 2\)",
        ),
        (lambda demo: demo.__delitem__("obs/agentview_rgb"), r"obs/agentview_rgb: expected an array"),
    ],
)
def test_a_demonstration_that_cannot_be_used_is_named_and_left_out_if_asked(
    file: Path, edit: Callable, message: str
):
    _edit(file, lambda data: edit(data["demo_1"]))
    with pytest.raises(DataError, match=rf"push_demo\.hdf5.*demo_1.*{message}"):
        LiberoHDF5Source(file)
    source = LiberoHDF5Source(file, skip_damaged=True)
    assert [len(source.episode(index)) for index in range(source.num_episodes)] == [4, 2]
    assert len(source.skipped) == 1


def test_a_demonstration_of_one_row_has_no_step(file: Path):
    for name, width in (("actions", 7), ("obs/ee_states", 6), ("obs/gripper_states", 2)):
        _edit(file, lambda data, name=name, width=width: _replace(data["demo_1"], name, np.zeros((1, width))))
    with pytest.raises(DataError, match="demo_1: expected at least one step, got an empty episode"):
        LiberoHDF5Source(file)


def test_a_missing_camera_and_one_of_another_length_are_named_when_it_is_asked_for(file: Path):
    _edit(file, lambda data: data["demo_1"].__delitem__("obs/eye_in_hand_rgb"))
    with pytest.raises(DataError, match=r"demo_1/obs/eye_in_hand_rgb: expected an array, got agentview_rgb"):
        list(LiberoHDF5Source(file).frames(1, "image2"))
    images = np.zeros((3, 16, 16, 3), np.uint8)
    _edit(file, lambda data: _replace(data["demo_2"], "obs/eye_in_hand_rgb", images[:2]))
    with pytest.raises(DataError, match="demo_2, camera 'image2': expected 2 frames, one per action, got 1"):
        list(LiberoHDF5Source(file).frames(2, "image2"))
    assert LiberoHDF5Source(file, skip_damaged=True).num_episodes == 1


def test_pictures_that_are_not_one_per_row_are_named(file: Path):
    _edit(file, lambda data: _replace(data["demo_0"], "obs/agentview_rgb", np.zeros((16, 16, 3), np.uint8)))
    with pytest.raises(
        DataError, match=r"demo_0/obs/agentview_rgb: expected an image .* got uint8 \(16, 16, 3\)"
    ):
        LiberoHDF5Source(file)


@pytest.mark.parametrize("problem_info", [None, "{", "{}", '{"language_instruction": 3}'])
def test_a_file_without_instruction_is_named(file: Path, problem_info: str | None):
    def edit(data) -> None:
        del data.attrs["problem_info"]
        if problem_info is not None:
            data.attrs["problem_info"] = problem_info

    _edit(file, edit)
    with pytest.raises(DataError, match="attribute problem_info: expected JSON with a language_instruction"):
        LiberoHDF5Source(file)


def test_a_truncated_file_is_named_and_left_out_if_asked(file: Path, libero: MemorySource):
    whole = write_libero_hdf5(file.with_name("pull_demo.hdf5"), libero, instruction="pull")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"push_demo\.hdf5: expected a complete HDF5 file, got"):
        open_source(file.parent)
    source = open_source(file.parent, skip_damaged=True)
    assert source.num_episodes == 3
    whole.write_bytes(b"")
    with pytest.raises(DataError, match=r"expected at least one episode, left out 2, first: .*pull_demo"):
        open_source(file.parent, skip_damaged=True)


def test_numbers_of_a_type_that_cannot_be_read_are_named(file: Path):
    def store_as_huge_floats(data) -> None:
        kind = h5py.h5t.IEEE_F64LE.copy()
        kind.set_ebias(2**20)
        del data["demo_1/actions"]
        h5py.h5d.create(data["demo_1"].id, b"actions", kind, h5py.h5s.create_simple((4, 7)))

    _edit(file, store_as_huge_floats)
    with pytest.raises(DataError, match=r"push_demo\.hdf5: expected a complete HDF5 file, got .*precision"):
        LiberoHDF5Source(file)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (b"SNOD", r"push_demo\.hdf5: expected a complete HDF5 file, got"),
        (b"HEAP", r"push_demo\.hdf5: expected a complete HDF5 file, got"),
        (b"\x34\x0b\0\x34\xff\x03", r"push_demo\.hdf5: .* got Insufficient precision"),  # a type of numbers
        (b"\x34\x0b\0\x34", r"demo_0/actions: expected an array, got one that cannot be read"),
        (b"action", r"demo_0/actions: expected an array, got b'actio\\xffs', obs, states"),
    ],
)
def test_damage_inside_a_file_is_told_of_like_a_missing_end(file: Path, found: bytes, message: str):
    content = bytearray(file.read_bytes())
    content[content.index(found) + len(found) - 1] = 0xFF
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        LiberoHDF5Source(file)


def test_a_number_too_large_for_32_bits_is_named(file: Path):
    _edit(file, lambda data: data["demo_1/actions"].__setitem__((2, 3), 1e300))
    with pytest.raises(
        DataError, match=r"demo_1, action, step 1, axis_angle_x: expected a finite .* got inf"
    ):
        LiberoHDF5Source(file)


def test_a_blank_instruction_is_none(libero: MemorySource, tmp_path: Path):
    file = write_libero_hdf5(tmp_path / "push_demo.hdf5", libero, instruction=' "" ')
    with pytest.raises(DataError, match="demo_0: expected an instruction, got none"):
        LiberoHDF5Source(file)


def test_a_file_of_another_kind_is_named(tmp_path: Path):
    path = tmp_path / "other_demo.hdf5"
    with h5py.File(path, "w") as file:
        file["mask"] = [1]
    with pytest.raises(
        DataError, match=r"other_demo\.hdf5: expected demonstrations data/demo_0, .* got mask"
    ):
        open_source(path)
    with h5py.File(path, "r+") as file:
        file["data"] = 1
    with pytest.raises(DataError, match=r"expected demonstrations data/demo_0, .* got data, mask"):
        open_source(path)


def _as_regenerated(file: Path, *, seen: str = "before", moves: bool = True) -> None:
    """Make of a file what openvla's script writes: no attributes, and joints beside the simulator's states."""

    def edit(data) -> None:
        for name in list(data.attrs):
            del data.attrs[name]
        for number, demo in enumerate(data.values()):
            rows = len(demo["actions"])
            angles = np.arange(rows + 1)[:, None] * np.linspace(0.01, 0.07, 7) * moves
            _replace(
                demo, "states", np.hstack([np.zeros((rows, 1)), angles[:-1], np.full((rows, 3), number)])
            )
            demo["obs/joint_states"] = angles[:-1] if seen == "before" else angles[1:]

    _edit(file, edit)


def test_a_regenerated_file_pairs_each_row_with_itself_and_is_named_by_its_file(
    libero: MemorySource, tmp_path
):
    name = "KITCHEN_SCENE3_turn_on_the_stove_and_put_the_moka_pot_on_it_demo.hdf5"
    file = write_libero_hdf5(tmp_path / name, libero)
    own = LiberoHDF5Source(file)
    _as_regenerated(file)
    source = open_source(tmp_path)
    with h5py.File(file) as content:
        rows = [np.asarray(content[f"data/demo_0/{name}"]) for name in ("actions", "obs/ee_states")]
        top = content["data/demo_0/obs/agentview_rgb"][0]
    episode = source.episode(0)
    assert episode.instruction == "turn on the stove and put the moka pot on it"
    assert len(episode) == len(rows[0]) == len(own.episode(0)) + 1
    np.testing.assert_allclose(episode.action, rows[0], rtol=1e-6)
    np.testing.assert_allclose(episode.state[:, :6], rows[1], rtol=1e-6)
    frames = list(source.frames(0, "image"))
    assert len(frames) == len(rows[0])
    np.testing.assert_array_equal(rotated_180(frames[0]), top)


@pytest.mark.parametrize(("seen", "more"), [("after", 0), ("before", 1)])
def test_the_arm_s_joints_tell_which_recorder_wrote_a_file_whatever_its_attributes_say(
    seen: str, more: int, file: Path
):
    """A file whose attributes were lost, and one to which an instruction was added."""
    _as_regenerated(file, seen=seen)
    if seen == "before":
        _edit(file, lambda data: data.attrs.__setitem__("problem_info", '{"language_instruction": "pull"}'))
    source = LiberoHDF5Source(file)
    with h5py.File(file) as content:
        assert len(source.episode(0)) == len(content["data/demo_0/actions"]) - 1 + more
    assert source.episode(0).instruction == ("pull" if seen == "before" else "push")


def test_a_still_regenerated_file_with_an_instruction_added_is_refused(file: Path):
    _as_regenerated(file, moves=False)
    assert {demo.seen for demo in find_demos(file)} == {"before"}
    _edit(file, lambda data: data.attrs.__setitem__("problem_info", '{"language_instruction": "pull"}'))
    with pytest.raises(
        DataError, match=r"push_demo\.hdf5, data: expected the attributes .* got problem_info alone"
    ):
        find_demos(file)
    _edit(file, lambda data: data.attrs.__setitem__("num_demos", 3))
    assert {demo.seen for demo in find_demos(file)} == {"after"}


def test_a_file_that_counts_other_demonstrations_than_it_holds_is_told_of(file: Path):
    _edit(file, lambda data: data.attrs.update(num_demos=len(data)))
    assert LiberoHDF5Source(file).notes == []
    _edit(file, lambda data: data.attrs.update(num_demos=50))
    (note,) = remarks(LiberoHDF5Source(file))[:1]
    assert note.endswith("holds 3 demonstrations, its attribute num_demos says 50.")


def test_a_demonstration_that_was_cut_is_refused_or_left_out(file: Path):
    _edit(file, lambda data: data["demo_1"].attrs.update(num_samples=100))
    with pytest.raises(DataError, match=r"demo_1, actions: expected 100 rows, .* num_samples says, got \d+"):
        LiberoHDF5Source(file)
    left = LiberoHDF5Source(file, skip_damaged=True)
    assert (left.num_episodes, len(left.skipped)) == (2, 1)
