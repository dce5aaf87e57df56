"""`libero_openpi` is the loop of openpi's examples/libero/main.py, stated here over the benchmark's own environment."""

from collections import deque

import numpy as np
import pytest
from PIL import Image

from focusvla.evaluation.protocol import protocol
from focusvla.simulation.libero import CAMERAS, _benchmark, _quietly, axis_angle, libero_task
from libero_harnesses import Episode, play, require_equal, wild_actions

pytestmark = [pytest.mark.simulator, pytest.mark.slow]

RULES = protocol("libero_openpi")
SETTLING, HOLD, REPLAN = 10, [0.0] * 6 + [-1.0], 5


def play_as_openpi(suite: str, task: int, trial: int, actions: np.ndarray, max_steps: int) -> Episode:
    """Seeded once with 7; every trial before is reset, and not played."""
    init_states = _benchmark(suite).get_task_init_states(task)
    played, plan, step = Episode(), deque(), 0
    with _quietly():
        from libero.libero.envs import OffScreenRenderEnv

        environment = OffScreenRenderEnv(
            bddl_file_name=libero_task(suite, task).bddl_file, camera_heights=256, camera_widths=256
        )
        environment.seed(7)
        for state in init_states[: trial + 1]:
            environment.reset()
            observation = environment.set_init_state(state)
        while step < max_steps + SETTLING:
            if step < SETTLING:
                observation, _, _, _ = environment.step(HOLD)
                step += 1
                continue
            if not plan:
                played.images.append({ours: _sent(observation, theirs) for ours, theirs in CAMERAS.items()})
                played.states.append(_state(observation))
                plan.extend(actions[len(played.states) * REPLAN - REPLAN :][:REPLAN])
            observation, _, played.success, _ = environment.step(plan.popleft().tolist())
            played.steps += 1
            if played.success:
                break
            step += 1
        environment.close()
    return played


def _sent(observation: dict[str, np.ndarray], camera: str) -> np.ndarray:
    """Turned around and brought to 224 pixels; a square needs no padding."""
    turned = Image.fromarray(np.ascontiguousarray(observation[f"{camera}_image"][::-1, ::-1]))
    return np.asarray(turned.resize((224, 224), Image.Resampling.BILINEAR))


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
