"""LIBERO's original demonstrations are played again without their no-ops."""

import json
from pathlib import Path

import numpy as np
import pytest

from focusvla.config import RegenerationConfig
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.formats.no_ops import moving_steps
from focusvla.data.formats.opening import open_source
from focusvla.demonstrations.experts import ScriptedExpert
from focusvla.demonstrations.regenerate import regenerate_demonstrations
from focusvla.errors import ConfigurationError, DataError, StorageError
from focusvla.simulation.environment import suite_task
from focusvla.simulation.libero import LiberoEnvironment
from focusvla.suites import Start
from focusvla_client import Observer, rollout

h5py = pytest.importorskip("h5py", reason="needs the extra `hdf5`")
pytestmark = [pytest.mark.simulator, pytest.mark.slow]

CONFIG = RegenerationConfig(suite="libero_object", image_size=64, mesh_cell_meters=0.008, workers=1)
FILE = "pick_up_the_salad_dressing_and_place_it_in_the_basket_demo.hdf5"


class _Notes(Observer):
    """The simulator's state before each action, as LIBERO's recorder stores it, what the arm showed, and the actions."""

    def __init__(self):
        self.states: list[np.ndarray] = []
        self.seen: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []

    def on_action(self, environment: LiberoEnvironment, action: np.ndarray) -> None:
        data = environment.scene.data
        self.states.append(np.concatenate([[data.time], data.qpos, data.qvel]))
        self.seen.append(environment.observe(()).state)
        self.actions.append(action)


def _with_pauses(actions: np.ndarray) -> np.ndarray:
    """Three steps of standing still before the first action and after every tenth, the gripper as before."""
    rows = [np.zeros(7)] * 3
    rows[0][6] = actions[0, 6]
    for step, action in enumerate(actions):
        rows.append(action)
        if step % 10 == 9:
            rows += [np.array([*np.zeros(6), action[6]])] * 3
    return np.stack(rows)


@pytest.fixture(scope="module")
def solved() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First simulator state and actions of an expert's success, and what the arm showed first."""
    environment, notes = LiberoEnvironment(suite_task("libero_object", 2), 64), _Notes()
    result = rollout(
        environment,
        ScriptedExpert(environment),
        Start(init_state=None, seed=1),
        max_steps=280,
        actions_per_inference=1,
        stop_on_success=False,
        observers=[notes],
    )
    environment.close()
    assert result.success
    return notes.states[0], np.stack(notes.actions), notes.seen[0]


@pytest.fixture(scope="module")
def folder(
    solved: tuple[np.ndarray, np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Four demonstrations: with pauses, cut off, without any movement, and damaged."""
    state, actions, _ = solved
    paused, folder = _with_pauses(actions), tmp_path_factory.mktemp("original")
    with h5py.File(folder / FILE, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": "pick it up"})
        for number, rows in enumerate((paused, paused[:30], paused[:3], paused * np.nan)):
            data[f"demo_{number}/actions"] = rows
            data[f"demo_{number}/states"] = np.repeat(state[None], len(rows), axis=0)
    return folder


@pytest.fixture(scope="module")
def regenerated(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The data set of an undisturbed run, and its summary."""
    output = tmp_path_factory.mktemp("regenerated") / "data"
    return output, regenerate_demonstrations(CONFIG, folder, output)


def test_what_succeeds_without_its_pauses_is_recorded_anew(
    regenerated: tuple[Path, dict], solved: tuple[np.ndarray, np.ndarray, np.ndarray]
):
    output, summary = regenerated
    source = open_source(output)
    assert source.num_episodes == 1
    episode = source.episode(0)
    moving = moving_steps(solved[1])
    np.testing.assert_array_equal(episode.action, solved[1][moving].astype(np.float32))
    np.testing.assert_array_equal(moving_steps(episode.action), np.arange(len(episode)))
    np.testing.assert_allclose(episode.state[0], solved[2], atol=2e-3)  # held still for another ten steps
    assert episode.instruction == "pick up the salad dressing and place it in the basket"
    for camera in ("image", "image2"):
        frames = np.stack(list(source.frames(0, camera)))
        assert frames.shape == (len(episode), 64, 64, 3)
        assert frames[0].std() > 10
        assert abs(frames[0].astype(int) - frames[-1]).mean() > 1
    moved = np.linalg.norm(np.diff(episode.state[:, :3], axis=0), axis=1)
    assert moved.max() < 0.03  # meters in a step: no jump where a pause was
    assert summary["kept"] == [
        {
            "suite": "libero_object",
            "task": 2,
            "file": FILE,
            "demo": "demo_0",
            "no_ops": summary["kept"][0]["no_ops"],
        }
    ]
    assert summary["kept"][0]["no_ops"] >= 3 + 3 * (len(solved[1]) // 10)
    reasons = {record["demo"]: record["reason"] for record in summary["rejected"]}
    assert reasons["demo_1"] == "not solved"
    assert reasons["demo_2"] == "no action moves"
    assert "demo_3: expected finite states and actions" in reasons["demo_3"]


def test_an_interrupted_regeneration_goes_on_and_ends_as_an_undisturbed_one(
    folder: Path, regenerated: tuple[Path, dict], tmp_path: Path
):
    class Stopped(Exception):
        pass

    def stop(done: int, total: int, line: str) -> None:
        if done:
            raise Stopped

    with pytest.raises(Stopped):
        regenerate_demonstrations(CONFIG, folder, tmp_path / "new", stop)
    assert not (tmp_path / "new").exists()
    progress: list[int] = []
    summary = regenerate_demonstrations(
        CONFIG, folder, tmp_path / "new", lambda done, total, line: progress.append(done)
    )
    assert progress == [1, 2, 3, 4]
    assert len(summary["rejected"]) == 3
    assert not (tmp_path / "new.recording").exists()
    assert regenerate_demonstrations(CONFIG, folder, tmp_path / "new", stop) == summary  # nothing is played
    output, undisturbed = regenerated
    assert summary["kept"] == undisturbed["kept"]
    states = [LeRobotSource(path).episode(0).state.tobytes() for path in (tmp_path / "new", output)]
    assert states[0] == states[1]


def test_what_cannot_be_regenerated_is_named(folder: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"expected files called TASK_demo\.hdf5, got none"):
        regenerate_demonstrations(CONFIG, tmp_path, tmp_path / "new")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="exists already and is made of something else"):
        regenerate_demonstrations(CONFIG, folder, tmp_path / "taken")
    other = tmp_path / FILE.replace("salad", "soup")
    other.write_bytes((folder / FILE).read_bytes())
    with pytest.raises(
        ConfigurationError, match=r"soup_dressing.* is unknown; did you mean 'pick_up_the_salad"
    ):
        regenerate_demonstrations(CONFIG, other, tmp_path / "new")


def test_an_episode_from_a_state_is_that_of_the_init_state_it_was_taken_from():
    environment = LiberoEnvironment(suite_task("libero_object", 2), 64)
    environment.reset(Start(init_state=3, settle_steps=0))
    data = environment.scene.data
    state = np.concatenate([[data.time], data.qpos, data.qvel])
    environment.reset(Start(init_state=3, settle_steps=2))
    expected = environment.snapshot()
    environment.reset(Start(init_state=7))
    environment.reset_to(state, settle_steps=2)
    np.testing.assert_array_equal(environment.snapshot(), expected)
    with pytest.raises(
        ConfigurationError, match=r"state: expected \d+ finite numbers for 'pick_up_the_salad"
    ):
        environment.reset_to(np.zeros(5), settle_steps=0)
    environment.close()
