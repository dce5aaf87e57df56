# pyright: reportMissingImports=false
"""`libero_lerobot` is what lerobot's own evaluation does: its environment, its processors and its `rollout`.

Beside the simulator that `focusvla[libero]` brings, lerobot needs an environment of its own: pip install lerobot
packages/focusvla-client '.[libero]' pytest, then pytest -m lerobot; with 0.6.1 tests/environments/lerobot_0_6.sh does.
"""

import importlib.util

import numpy as np
import pytest

from focusvla.simulation.rendering import select_rendering_back_end
from focusvla.suites import protocol
from lerobot_policies import Recorded
from libero_harnesses import (
    TASKS,
    TRIALS,
    Episode,
    known_limits,
    play,
    require_equal,
    solving_actions,
    wild_actions,
)

pytestmark = [
    pytest.mark.lerobot,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("lerobot", "libero"))),
        reason="needs lerobot in an environment of its own: pip install lerobot "
        "packages/focusvla-client '.[libero]' pytest",
    ),
    # Warnings of the library and of what it pins are not ours to fix.
    pytest.mark.filterwarnings("default"),
]

RULES = protocol("libero_lerobot")


@pytest.fixture(autouse=True)
def init_states_of_the_benchmark(monkeypatch) -> None:
    """The simulator's package stores init states in files of another form than lerobot reads; it reads them itself."""
    select_rendering_back_end()
    import lerobot.envs.libero

    monkeypatch.setattr(
        lerobot.envs.libero,
        "get_task_init_states",
        lambda suite, task, **newer: suite.get_task_init_states(task),
    )


def play_in_lerobot(
    suite: str, task: int, trial: int, actions: np.ndarray, max_steps: int | None = None
) -> Episode:
    """Of a batch of as many environments as there are trials, the one that plays `trial`."""
    from gymnasium.vector import SyncVectorEnv
    from lerobot.envs.configs import LiberoEnv
    from lerobot.envs.factory import make_env_pre_post_processors
    from lerobot.envs.libero import create_libero_envs
    from lerobot.scripts.lerobot_eval import rollout
    from lerobot.utils.random_utils import set_seed

    set_seed(1000)  # as `lerobot-eval` does; a drawn reset that fails is one scene more
    size = RULES.drawn_size  # the default of 0.4.4; that of 0.6 is 360
    config = LiberoEnv(task=suite, task_ids=[task], observation_height=size, observation_width=size)
    environment = create_libero_envs(
        task=suite,
        n_envs=RULES.trials_per_task,
        gym_kwargs=config.gym_kwargs,
        env_cls=lambda factories: SyncVectorEnv([factories[trial]]),
        episode_length=max_steps,
    )[suite][task]
    before, after = make_env_pre_post_processors(config, None)
    policy = Recorded(actions)
    # 1000 is the default of `lerobot-eval`, which adds the episode's number.
    data = rollout(environment, policy, before, after, dict, lambda action: action, seeds=[1000 + trial])
    environment.close()
    policy.played.success = bool(data["success"].any())
    policy.played.steps = data["action"].shape[1]
    return policy.played


@pytest.mark.parametrize(("suite", "task"), TASKS)
def test_an_episode_is_lerobots_whichever_was_played_before(suite, task):
    ours = {
        trial: play(RULES, suite, task, trial, wild_actions(trial, 6), size=RULES.drawn_size, max_steps=6)
        for trial in TRIALS
    }
    for trial, episode in ours.items():
        theirs = play_in_lerobot(suite, task, trial, wild_actions(trial, 6), max_steps=6)
        # lerobot rounds quaternions before it turns them into angles.
        require_equal(episode, theirs, atol=2e-6)
        assert episode.steps == 6


def test_success_comes_at_the_same_step():
    suite, task, trial = "libero_object", 0, 3
    actions = solving_actions(suite, task, RULES.start(suite, trial))
    ours = play(RULES, suite, task, trial, actions, size=RULES.drawn_size)
    assert ours.success
    require_equal(ours, play_in_lerobot(suite, task, trial, actions), atol=2e-6)


def test_steps_are_limited_as_there():
    from lerobot.envs.libero import TASK_SUITE_MAX_STEPS

    assert known_limits(RULES, TASK_SUITE_MAX_STEPS) == RULES.max_steps
