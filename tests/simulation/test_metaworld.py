"""MetaWorld's tasks are played as its own environment plays them, and drawn as LeRobot draws them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="needs the simulator: pip install --no-deps metaworld")

from focusvla.demonstrations.metaworld_experts import MetaWorldExpert
from focusvla.errors import ConfigurationError
from focusvla.simulation.environment import only_environment, suite_tasks
from focusvla.simulation.metaworld import MetaWorldEnvironment
from focusvla.suites import Start, protocol, suites
from focusvla.suites.metaworld import INSTRUCTIONS, MAX_STEPS
from focusvla_client import rollout

pytestmark = [pytest.mark.simulator, pytest.mark.filterwarnings("ignore:Constant")]
RULES = protocol("metaworld_lerobot")

# As lerobot 0.6.1 plays a task (envs/metaworld.py), in a process of its own: drawing contexts of two libraries clash.
AS_LEROBOT = """
import sys
import metaworld
import numpy as np
name, seed, actions, output = sys.argv[1], int(sys.argv[2]), np.load(sys.argv[3]), sys.argv[4]
tasks = metaworld.MT1(name, seed=42)
env = tasks.train_classes[name](render_mode="rgb_array", camera_name="corner2")
env.set_task(tasks.train_tasks[0])
env.model.cam_pos[2] = [0.75, 0.075, 0.7]
env.reset()
env._freeze_rand_vec, env.seeded_rand_vec = False, True
env.seed(seed)
observed, pictures = [env.reset(seed=seed)[0]], [np.flip(env.render(), (0, 1))]
for action in actions:
    observed.append(env.step(action)[0])
pictures.append(np.flip(env.render(), (0, 1)))
np.savez(output, observed=observed, pictures=pictures)
"""


def play(
    suite: str, task: int, trial: int
) -> tuple[MetaWorldEnvironment, list[np.ndarray], list[np.ndarray]]:
    """The expert's actions, and what the simulator observed, from the start on."""
    environment = only_environment(suite, task, 480)
    assert isinstance(environment, MetaWorldEnvironment)
    environment.reset(RULES.start(suite, trial))
    expert, actions, observed = MetaWorldExpert(environment), [], [environment.observed]
    while len(actions) < 60 and len(chunk := expert.infer(environment.observe(()))):
        environment.apply(chunk[0])
        actions.append(chunk[0])
        observed.append(environment.observed)
    return environment, actions, observed


def test_the_suites_have_every_task_of_mt50_once():
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    tasks = [task for suite in INSTRUCTIONS for task in suite_tasks(suite)]
    assert sorted(task.name for task in tasks) == sorted(ALL_V3_ENVIRONMENTS)
    assert len({task.instruction for task in tasks}) == 50
    assert [len(suite_tasks(suite)) for suite in INSTRUCTIONS] == [28, 11, 6, 5]


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "task"), [("metaworld_medium", 5), ("metaworld_easy", 8)])
def test_an_episode_is_lerobots_to_the_last_bit_and_pixel(suite: str, task: int, tmp_path: Path):
    only_environment(suite, task, 480).reset(Start(init_state=None, seed=5))  # whatever was played before
    environment, actions, observed = play(suite, task, 3)
    after = environment.observe(["image"]).images["image"]
    environment.reset(RULES.start(suite, 3))
    before = environment.observe(["image"]).images["image"]
    np.save(tmp_path / "actions.npy", np.stack(actions))
    command = [sys.executable, "-c", AS_LEROBOT, environment.task.name, "1003", "actions.npy", "theirs.npz"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    theirs = np.load(tmp_path / "theirs.npz")
    np.testing.assert_array_equal(np.stack(observed), theirs["observed"])
    np.testing.assert_array_equal(np.stack([before, after]), theirs["pictures"])


def test_a_start_is_a_function_of_its_seed_and_what_is_drawn_later_is_what_was_seen():
    suite, task = "metaworld_hard", 3
    environment, actions, observed = play(suite, task, 1)
    snapshot, seen = environment.snapshot(), environment.observe(["image"]).images["image"]
    play(suite, task, 2)
    again, same, equal = play(suite, task, 1)
    np.testing.assert_array_equal(actions, same)
    np.testing.assert_array_equal(observed, equal)
    environment.reset(RULES.start(suite, 1))
    np.testing.assert_array_equal(again.replay_images(snapshot)["image"], seen)


@pytest.mark.parametrize("suite", INSTRUCTIONS)
def test_the_simulators_own_policies_solve_a_task_of_each_level(suite: str):
    task = suites()[suite].expert_solves["metaworld_lerobot"].index((10, 10))
    environment = only_environment(suite, task, 480)
    assert isinstance(environment, MetaWorldEnvironment)
    start = RULES.start(suite, 0)
    played = rollout(
        environment, MetaWorldExpert(environment), start, max_steps=MAX_STEPS, actions_per_inference=1
    )
    assert played.success


def test_what_metaworld_does_not_have_is_refused():
    environment = only_environment("metaworld_easy", 0, 480)
    with pytest.raises(ConfigurationError, match=r"displacement_meters=0\.1: expected 0\.0 with suite"):
        environment.reset(Start(init_state=None, seed=0, displacement_meters=0.1))
    with pytest.raises(ConfigurationError, match="init_state=3: expected None"):
        environment.reset(Start(init_state=3, seed=0))
    environment.reset(RULES.start("metaworld_easy", 0))
    for action in (np.zeros(3), np.array([np.nan, 0, 0, 0])):
        with pytest.raises(ConfigurationError, match="expected 4 finite numbers"):
            environment.apply(action)
    with pytest.raises(ConfigurationError, match="camera"):
        environment.observe(["wrist"])
    for _ in range(MAX_STEPS):
        environment.apply(np.zeros(4))
    with pytest.raises(ConfigurationError, match=f"max_steps: expected at most {MAX_STEPS}"):
        environment.apply(np.zeros(4))
