"""What a file that LIBERO's recorder wrote shows is what a policy is shown in evaluation, to the last bit."""

import json
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.formats.opening import open_source
from focusvla.simulation.environment import suite_task
from focusvla.simulation.libero import CAMERAS, LiberoEnvironment
from focusvla.simulation.libero_tasks import bddl_file, quietly
from focusvla.suites import Start

h5py = pytest.importorskip("h5py", reason="needs the extra `hdf5`")
pytestmark = pytest.mark.simulator

SIZE = 64
ACTIONS = [np.array([0.6, -0.3, -0.5, 0.1, 0.0, 0.4, gripper]) for gripper in (-1, -1, 1, 1, 1, -1)]


@pytest.fixture(scope="module")
def environment():
    built = LiberoEnvironment(suite_task("libero_object", 2), image_size=SIZE)
    yield built
    built.close()


@pytest.fixture
def recorded(environment: LiberoEnvironment, tmp_path: Path) -> Path:
    """`ACTIONS` from init state 1, written in the order of LIBERO's recorder: step first, then store what is seen."""
    from robosuite.utils.transform_utils import quat2axisangle

    task = suite_task("libero_object", 2)
    with quietly():
        from libero.libero.envs import OffScreenRenderEnv

        benchmark = OffScreenRenderEnv(
            bddl_file_name=bddl_file(task), camera_heights=SIZE, camera_widths=SIZE
        )
        benchmark.seed(0)
        benchmark.reset()
        benchmark.set_init_state(environment._init_states[1])
        rows = [benchmark.step(action.tolist())[0] for action in ACTIONS]
        benchmark.close()
    path = tmp_path / f"{task.name}_demo.hdf5"
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["problem_info"] = json.dumps(
            {"language_instruction": [task.instruction]}
        )
        demo = file.create_group("data/demo_0")
        demo["actions"] = np.stack(ACTIONS)
        demo["obs/agentview_rgb"] = np.stack([row["agentview_image"] for row in rows])
        demo["obs/eye_in_hand_rgb"] = np.stack([row["robot0_eye_in_hand_image"] for row in rows])
        demo["obs/gripper_states"] = np.stack([row["robot0_gripper_qpos"] for row in rows])
        demo["obs/ee_states"] = np.stack(
            [
                np.hstack([row["robot0_eef_pos"], quat2axisangle(row["robot0_eef_quat"].copy())])
                for row in rows
            ]
        )
    return path


def test_a_recorded_step_is_what_a_policy_sees_and_does_in_evaluation(
    environment: LiberoEnvironment, recorded: Path
):
    source = open_source(recorded)
    episode = source.episode(0)
    assert source.spec == environment.spec
    assert episode.instruction == environment.task.instruction
    frames = {camera: list(source.frames(0, camera)) for camera in CAMERAS}
    environment.reset(Start(init_state=1, settle_steps=0))
    environment.apply(ACTIONS[0])
    for step, action in enumerate(ACTIONS[1:]):
        seen = environment.observe(list(CAMERAS))
        np.testing.assert_array_equal(episode.state[step], seen.state, err_msg=f"step {step}")
        np.testing.assert_array_equal(episode.action[step], action.astype(np.float32))
        for camera in CAMERAS:
            np.testing.assert_array_equal(frames[camera][step], seen.images[camera], err_msg=f"step {step}")
        environment.apply(action)
    assert len(episode) == len(ACTIONS) - 1
