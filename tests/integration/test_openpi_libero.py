"""`libero_openpi` is the loop of openpi's examples/libero/main.py, stated here over the benchmark's own environment."""

from collections import deque

import numpy as np
import pytest
from PIL import Image

from focusvla.simulation.environment import only_environment, suite_task
from focusvla.simulation.libero import CAMERAS, axis_angle
from focusvla.simulation.libero_tasks import bddl_file, benchmark_of, quietly
from focusvla.suites import protocol
from libero_harnesses import Episode, fixture_places, play, require_equal, wild_actions

pytestmark = [pytest.mark.simulator, pytest.mark.slow]

RULES = protocol("libero_openpi")
SETTLING, HOLD, REPLAN = 10, [0.0] * 6 + [-1.0], 5


def play_as_openpi(suite: str, task: int, trial: int, actions: np.ndarray, max_steps: int) -> Episode:
    """Seeded once with 7; every trial before is reset, and not played. Without pictures, which take most of the time."""
    init_states = benchmark_of(suite).get_task_init_states(task)
    played, plan, step = Episode(), deque(), 0
    with quietly():
        from libero.libero.envs.env_wrapper import ControlEnv

        environment = ControlEnv(
            bddl_file_name=bddl_file(suite_task(suite, task)),
            use_camera_obs=False,
            has_offscreen_renderer=False,
        )
        environment.seed(7)
        for state in init_states[: trial + 1]:
            environment.reset()
            observation = environment.set_init_state(state)
        played.fixtures = fixture_places(environment.env)
        while step < max_steps + SETTLING:
            if step < SETTLING:
                observation, _, _, _ = environment.step(HOLD)
                step += 1
                continue
            if not plan:
                played.states.append(_state(observation))
                plan.extend(actions[len(played.states) * REPLAN - REPLAN :][:REPLAN])
            observation, _, played.success, _ = environment.step(plan.popleft().tolist())
            played.steps += 1
            if played.success:
                break
            step += 1
        environment.close()
    return played


def _state(observation: dict[str, np.ndarray]) -> np.ndarray:
    x, y, z, w = observation["robot0_eef_quat"]
    rotation = axis_angle(np.array([w, x, y, z]))
    return np.concatenate([observation["robot0_eef_pos"], rotation, observation["robot0_gripper_qpos"]])


def test_an_episode_is_openpis():
    suite, task, trial, max_steps = "libero_goal", 0, 1, 7
    actions = wild_actions(trial, max_steps)
    ours = play(RULES, suite, task, trial, actions, size=224, chunk=REPLAN, max_steps=max_steps)
    theirs = play_as_openpi(suite, task, trial, actions, max_steps)
    assert (theirs.steps, len(theirs.states)) == (7, 2)
    require_equal(ours, theirs)

    environment = only_environment(suite, task, 256)
    environment.reset(RULES.start(suite, trial))
    for camera, drawn in environment.observe(list(CAMERAS)).images.items():
        # To 224 pixels by Pillow's bilinear filter; a square needs no padding.
        sent = Image.fromarray(drawn).resize((224, 224), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(ours.images[0][camera], sent)


def test_five_actions_of_a_chunk_are_played_within_openpis_limits():
    assert RULES.actions_per_inference == REPLAN
    assert RULES.trials_per_task == 50
    assert RULES.max_steps == {
        "libero_spatial": 220,
        "libero_object": 280,
        "libero_goal": 300,
        "libero_10": 520,
        "libero_90": 400,
    }
