"""What a user sees of a data set before training: problems first, an exit code, a page, numbers for scripts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from focusvla.cli import main
from focusvla.cli.data_tables import sparkline
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.formats.lerobot_writer import LeRobotWriter
from focusvla.presets import fitted, preset
from focusvla.suites.libero import libero_spec
from focusvla.training.trainer import train

FINGERS = slice(6, 8)
GRIPPER = 6


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a command; its exit code, and what it printed, spaces and line breaks as one space each."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        assert isinstance(stopped.value.code, int)
        shown = capsys.readouterr()
        return stopped.value.code, " ".join(shown.out.split()), " ".join(shown.err.split())

    return call


def circling(length: int = 60, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """States and actions of an arm that circles and closes its gripper halfway."""
    angle = offset + np.arange(length) / 9
    closed = np.arange(length) >= length // 2
    opening = np.clip(1.5 - np.arange(length) / length, 0, 1)
    state = np.stack([np.sin(angle + place) for place in range(8)], 1)
    state[:, FINGERS] = 0.04 * np.stack([opening, -opening], 1)
    action = np.stack([0.9 * np.cos(angle + place) for place in range(7)], 1)
    action[:, GRIPPER] = np.where(closed, 1, -1)
    return state.astype(np.float32), action.astype(np.float32)


def recorded(
    path: Path,
    change: Callable[[int, np.ndarray, np.ndarray], None] = lambda *arrays: None,
    num_episodes: int = 3,
) -> Path:
    """Sound episodes that fit the `tiny` preset as a LeRobot data set, each changed by `change`."""
    spec = libero_spec(32)
    rng = np.random.default_rng(0)
    with LeRobotWriter(path, spec, robot_type="arm") as writer:
        for index in range(num_episodes):
            state, action = circling(offset=index)
            change(index, state, action)
            frames = {c.name: list(rng.integers(0, 256, (60, 32, 32, 3), np.uint8)) for c in spec.cameras}
            writer.add_episode(frames=frames, state=state, action=action, instruction=f"lift cup {index % 2}")
    return path


@pytest.fixture(scope="module")
def sound_data(tmp_path_factory) -> Path:
    return recorded(tmp_path_factory.mktemp("sound") / "data")


@pytest.fixture
def data(sound_data, tmp_path) -> Path:
    """A copy of the sound data set, to be changed."""
    return Path(shutil.copytree(sound_data, tmp_path / "data"))


def test_a_sound_data_set_has_no_problems_and_is_described(run, sound_data):
    code, shown, _ = run("inspect", sound_data, "--preset", "tiny")
    assert code == 0
    assert shown.startswith("3 episodes, 180 steps, 0.1 minutes No problems found.")
    assert "gripper -1 opens, +1 closes" in shown
    assert "2 lift cup 0 1 lift cup 1" in shown
    assert "the same pictures in training and evaluation: mean absolute difference 0.00 of 255" in shown
    assert "action gripper -1 -1 0 1 1 0 1 as it is █ █" in shown


def test_what_is_said_of_a_usual_data_set_fits_a_screen(sound_data, capsys):
    with pytest.raises(SystemExit):
        main(["inspect", str(sound_data), "--preset", "tiny"])
    assert len(capsys.readouterr().out.splitlines()) < 45


def test_problems_come_before_the_numbers_and_a_warning_is_no_failure(run, tmp_path):
    def flip(index: int, state: np.ndarray, action: np.ndarray) -> None:
        action[:, GRIPPER] *= -1

    code, shown, _ = run("inspect", recorded(tmp_path / "data", flip), "--preset", "tiny")
    assert code == 0
    assert "1 problem(s): warning: action gripper: the sign looks flipped." in shown
    assert shown.index("Swap them in the recording") < shown.index("cameras image (32 x 32)")


def test_the_page_is_written_and_named(run, sound_data, tmp_path):
    code, shown, _ = run("inspect", sound_data, "--preset", "tiny", "--output", tmp_path / "page.html")
    assert code == 0
    assert shown.endswith(f"page: {tmp_path / 'page.html'}")
    assert "No problems found" in (tmp_path / "page.html").read_text()


def test_the_numbers_are_json_for_scripts_and_nothing_else(run, sound_data):
    code, shown, _ = run("inspect", sound_data, "--preset", "tiny", "--json")
    numbers = json.loads(shown)
    assert code == 0
    assert (numbers["num_episodes"], numbers["seconds"], numbers["problems"]) == (3, 9.0, [])
    assert (numbers["picture_difference"], numbers["state_difference"]) == (0, 0)
    assert numbers["action"][GRIPPER]["maximum"] == 1
    assert numbers["lengths"]["shortest"] == 60
    assert numbers["action"][GRIPPER]["switches"] == [0.0]
    assert numbers["training_statistics"]["action"]["q99"][GRIPPER] == 1
    assert [len(strip["moments"]) for strip in numbers["moments"]] == [8, 8, 8]
    assert set(numbers["fingerprint"]) == {"episodes", "steps", "numbers", "instructions", "pictures"}
    assert numbers["versions"]["focusvla"]


def test_a_longer_chunk_finds_episodes_too_short(run, sound_data):
    _, shown, _ = run("inspect", sound_data, "--preset", "tiny", "--chunk-length", "61")
    assert "3 of 3 episodes are shorter than a chunk of 61 steps: 0, 1, 2" in shown


def test_what_cannot_be_trained_on_is_told_by_the_exit_code_and_all_is_still_shown(run, tmp_path):
    def halve(index: int, state: np.ndarray, action: np.ndarray) -> None:
        action[:, GRIPPER] = (action[:, GRIPPER] + 1) / 2

    data = recorded(tmp_path / "data", halve)
    code, shown, errors = run("inspect", data, "--preset", "tiny", "--json")
    assert code == 2
    assert json.loads(shown)["problems"][0]["severity"] == "error"
    assert f"error: data={data}: it cannot be trained on. action gripper: from 0 to 1" in errors


def test_a_damaged_video_cannot_be_trained_on_and_the_numbers_are_still_shown(run, data):
    video = next((data / "videos").rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[:2000])
    code, shown, errors = run("inspect", data, "--preset", "tiny")
    assert code == 2
    assert "error: " in shown
    assert "The pictures cannot be read: see the problems." in shown
    assert "state x" in shown
    assert video.name in errors


def test_a_number_that_is_not_finite_is_refused_and_named(run, data):
    file = next((data / "data").rglob("*.parquet"))
    table = pq.read_table(file)
    values = np.array(table["action"].to_pylist(), np.float32)
    values[70, 2] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 7)
    pq.write_table(table.set_column(table.column_names.index("action"), "action", column), file)
    code, _, errors = run("inspect", data, "--preset", "tiny")
    assert code == 2
    assert "episode 1, action, step 10, z: expected a finite number, got nan" in errors


@pytest.mark.slow
def test_a_checkpoint_of_the_same_data_sees_in_evaluation_what_it_was_trained_on(run, sound_data, tmp_path):
    source = LeRobotSource(sound_data)
    experiment = fitted(preset("tiny"), source.spec)
    train(experiment, source, tmp_path / "run", cache_folder=tmp_path / "cache")
    code, shown, _ = run("inspect", sound_data, "--checkpoint", tmp_path / "run")
    assert code == 0
    assert "No problems found." in shown
    assert "mean absolute difference 0.00 of 255" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "nowhere"), "nowhere: expected a"),
        (("inspect", "nowhere", "--preset", "tinny"), "did you mean 'tiny'"),
        (("inspect", "nowhere", "--spec", "nowhere.json"), "spec='nowhere.json': expected a JSON file"),
        (("convert", "nowhere", "--output", "o"), "nowhere: expected a"),
    ],
)
def test_a_users_error_is_one_message_and_exit_code_2(run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run(*arguments)
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_converted_data_set_has_the_same_numbers_and_says_where_it_is(run, sound_data, tmp_path):
    output = tmp_path / "converted"
    code, shown, _ = run("convert", sound_data, "--output", output)
    assert (code, shown) == (0, f"3 episodes in {output}")
    ours, theirs = LeRobotSource(output), LeRobotSource(sound_data)
    for index in range(3):
        np.testing.assert_array_equal(ours.episode(index).action, theirs.episode(index).action)
    assert run("convert", sound_data, "--output", output)[0] == 0  # finished already
    code, _, errors = run("convert", output, "--output", sound_data)
    assert code == 2
    assert "exists already and is made of something else" in errors


@pytest.mark.slow
def test_statistics_that_are_wrong_are_right_after_converting(run, data, tmp_path):
    file = data / "meta" / "stats.json"
    values = json.loads(file.read_text())
    values["observation.state"] |= {"q01": [-9.0] * 8, "q99": [-8.0] * 8}
    file.write_text(json.dumps(values))
    _, shown, _ = run("inspect", data, "--preset", "tiny")
    assert "state: the stored statistics are not of this data in x, y, z," in shown
    assert "Training uses ranges computed from these numbers; `focusvla convert` stores them." in shown
    run("convert", data, "--output", tmp_path / "converted")
    assert "No problems found." in run("inspect", tmp_path / "converted", "--preset", "tiny")[1]


def test_a_histogram_is_a_row_of_blocks_as_high_as_its_counts():
    assert sparkline([1, 0, 4], 3) == "▂ █"
    assert sparkline([0, 8, 4, 4, 0, 0], 3) == "██ "
    assert sparkline([0, 0], 2) == "  "
