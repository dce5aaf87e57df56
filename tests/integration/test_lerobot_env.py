# pyright: reportMissingImports=false
"""LeRobot plays our protocols with anybody's policy, in the scenes and pictures of `focusvla evaluate`.

In an environment of its own: tests/environments/lerobot_0_6.sh.
"""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focusvla.errors import ConfigurationError
from focusvla.simulation.rendering import select_rendering_back_end
from focusvla.suites import protocol
from lerobot_policies import Recorded
from libero_harnesses import Episode, play, require_equal, solving_actions, wild_actions

pytestmark = [
    pytest.mark.lerobot,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("lerobot", "libero", "lerobot_env_focusvla"))),
        reason="needs lerobot 0.6 in an environment of its own: tests/environments/lerobot_0_6.sh",
    ),
    # Warnings of the library and of what it pins are not ours to fix.
    pytest.mark.filterwarnings("default"),
]


def make_config(**values: Any) -> Any:
    from lerobot_env_focusvla import FocusVLAEnvConfig

    return FocusVLAEnvConfig(**values)


def test_lerobot_finds_the_environment_by_the_name_in_its_metadata():
    from lerobot.envs.configs import EnvConfig
    from lerobot.utils.import_utils import register_third_party_plugins

    register_third_party_plugins()
    assert EnvConfig.get_choice_class("focusvla").__module__.startswith("lerobot_env_focusvla")


def play_in_lerobot(config: Any, vector: Any, actions: list[np.ndarray]) -> list[Episode]:
    """One trial after the other, as `lerobot-eval` does with a batch of one."""
    from lerobot.envs.factory import make_env_pre_post_processors
    from lerobot.scripts.lerobot_eval import rollout

    before, after = make_env_pre_post_processors(config, None)
    episodes: list[Episode] = []
    for each in actions:
        policy = Recorded(each)
        data = rollout(vector, policy, before, after, dict, lambda action: action, seeds=[1000])
        policy.played.success = bool(data["success"].any())
        policy.played.steps = data["action"].shape[1]
        episodes.append(policy.played)
    vector.close()
    return episodes


@pytest.mark.parametrize("name", ["libero_wide", "libero_openpi"])
def test_a_policy_sees_what_it_sees_in_focusvlas_evaluation(name: str):
    """`libero_openpi` draws at one size and shows another."""
    suite, task, config = "libero_object", 3, make_config(protocol=name)
    rules = dataclasses.replace(protocol(name), max_steps={suite: 6})
    actions = [wild_actions(trial, 6) for trial in range(2)]
    theirs = play_in_lerobot(config, config.vector(rules, suite, task, 1), actions)
    for trial, episode in enumerate(theirs):
        ours = play(rules, suite, task, trial, actions[trial], size=256)
        # lerobot rounds quaternions before it turns them into angles.
        require_equal(ours, episode, atol=2e-6)
        assert episode.steps == 6


def test_success_ends_an_episode_and_a_disturbance_comes_as_in_focusvlas_evaluation():
    suite, task = "libero_object", 0
    actions = solving_actions(suite, task, protocol("libero_openvla").start(suite, 0))
    for name in ("libero_openvla", "libero_disturbed"):  # the same starts
        ours = play(protocol(name), suite, task, 0, actions, size=256, max_steps=len(actions))
        config = make_config(task=suite, protocol=name, task_ids=[task])
        rules = dataclasses.replace(protocol(name), max_steps={suite: len(actions)})
        (theirs,) = play_in_lerobot(config, config.vector(rules, suite, task, 1), [actions])
        require_equal(ours, theirs, atol=2e-6)
        assert theirs.success == (name == "libero_openvla")


def test_observations_are_those_of_lerobots_own_environment(monkeypatch):
    select_rendering_back_end()
    import lerobot.envs.libero
    from lerobot.envs.configs import LiberoEnv
    from lerobot.envs.factory import make_env
    from lerobot.envs.utils import NEW_ROLLOUT_OPTION

    monkeypatch.setattr(
        lerobot.envs.libero, "get_task_init_states", lambda suite, task, **_: suite.get_task_init_states(task)
    )
    values = {"task": "libero_goal", "task_ids": [0], "observation_height": 256, "observation_width": 256}
    configs = make_config(protocol="libero_lerobot", **values), LiberoEnv(**values)
    seen: list[list[Any]] = []
    for config in configs:
        vector = make_env(config)["libero_goal"][0]
        seen.append([vector.reset(seed=[1000], options={NEW_ROLLOUT_OPTION: True})[0]])
        seen[-1] += [vector.step(action[None])[0] for action in wild_actions(0, 4)]
        vector.close()
    for ours, theirs in zip(*seen, strict=True):
        for camera in ("image", "image2"):
            np.testing.assert_array_equal(ours["pixels"][camera], theirs["pixels"][camera])
        mine, other = ours["robot_state"], theirs["robot_state"]
        for part, values in mine.items():
            for name in values:
                # The controller's rotation is of a later moment than the pictures.
                atol = 0.05 if name == "mat" else 1e-9
                np.testing.assert_allclose(values[name], other[part][name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"task": "libero_objct"}, "did you mean 'libero_object'"),
        ({"task": "aloha"}, "expected a suite of LIBERO's"),
        ({"protocol": "libero_wild"}, "did you mean 'libero_wide'"),
        ({"task_ids": [10]}, r"task_ids: expected some of 0\.\.9"),
        ({"observation_width": 128}, "squares"),
        ({"fps": 10}, "fps: expected 20"),
        ({"max_parallel_tasks": 2}, "max_parallel_tasks: expected 1"),
    ],
)
def test_a_value_that_does_not_fit_is_named(values, told):
    with pytest.raises(ConfigurationError, match=told):
        make_config(**values).create_envs(1)


def test_several_scenes_in_one_process_are_refused():
    with pytest.raises(ConfigurationError, match="use_async_envs"):
        make_config().create_envs(2, use_async_envs=False)


def test_there_are_no_more_trials_than_the_protocol_has():
    from lerobot.envs.utils import NEW_ROLLOUT_OPTION

    from lerobot_env_focusvla import LiberoEpisodes

    episodes = LiberoEpisodes(protocol("libero_wide"), "libero_object", 0, 64, first=50)
    with pytest.raises(ConfigurationError, match="expected at most 50"):
        episodes.reset(options={NEW_ROLLOUT_OPTION: True})
    with pytest.raises(ConfigurationError, match="a trial would be skipped"):
        episodes.reset()


def random_act(folder: Path) -> Path:
    """ACT, which knows nothing of focusvla, as `lerobot-train` saves it, untrained."""
    import torch
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    pictures = {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, 64, 64))
        for name in ("image", "image2")
    }
    config = ACTConfig(
        input_features=pictures | {"observation.state": PolicyFeature(FeatureType.STATE, (8,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (7,))},
        device="cpu", push_to_hub=False, pretrained_backbone_weights=None, chunk_size=50, n_action_steps=50,
        dim_model=32, n_heads=2, dim_feedforward=64, n_encoder_layers=1, use_vae=False,
    )  # fmt: skip
    ACTPolicy(config).save_pretrained(folder)
    stats = {
        key: {"mean": torch.zeros(feature.shape), "std": torch.ones(feature.shape)}
        for key, feature in (config.input_features | config.output_features).items()
    }
    for pipeline in make_pre_post_processors(config, dataset_stats=stats):
        pipeline.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("name", "batch"), [("libero_wide", 1), ("libero_disturbed", 2)])
def test_lerobot_eval_plays_a_policy_of_its_own(name: str, batch: int, tmp_path: Path):
    select_rendering_back_end()
    done = subprocess.run(
        [
            *(
                str(Path(sys.executable).with_name("lerobot-eval")),
                f"--policy.path={random_act(tmp_path / 'act')}",
            ),
            *(
                "--env.type=focusvla",
                "--env.task=libero_spatial",
                f"--env.protocol={name}",
                "--env.task_ids=[2]",
            ),
            *("--env.observation_height=64", "--env.observation_width=64"),
            *(f"--eval.n_episodes={batch}", f"--eval.batch_size={batch}", f"--output_dir={tmp_path / 'out'}"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "out" / "eval_info.json").read_text())
    assert result["overall"]["n_episodes"] == batch
    assert result["overall"]["pc_success"] == 0.0
