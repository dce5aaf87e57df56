# pyright: reportMissingImports=false
"""LeRobot finds the plugin, trains and plays its policy with its own commands, and is told what does not fit."""

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from focusvla.data.samples import build_samples
from focusvla.data.transforms import resize
from focusvla.errors import CheckpointError, ConfigurationError, DataError
from focusvla.model.focusvla import absolute_errors
from focusvla.presets import tiny
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec
from focusvla.training.optimization import learning_rate
from focusvla.types import ModelInputs
from focusvla_client import Camera, SpecMismatchError
from lerobot_policies import (
    ARM,
    ARM_LENGTHS,
    NEEDS_PLUGIN,
    PLUGIN,
    in_lerobot,
    metadata,
    new_policy,
    random_observation,
    without_hub,
    write_arm_data,
)
from written_datasets import gray_memory, write_lerobot, write_with_lerobot

pytestmark = NEEDS_PLUGIN

TOP = dataclasses.replace(aloha_spec(64), cameras=(Camera("top", 480, 640),))
"""As lerobot's ALOHA environment shows it."""


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with without_hub(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture(scope="module")
def arm_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_arm_data(tmp_path_factory.mktemp("arm") / "dataset")


def test_lerobot_finds_the_policy_by_the_name_in_its_metadata():
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class
    from lerobot.utils.import_utils import register_third_party_plugins

    assert importlib.metadata.distribution(PLUGIN).metadata["Name"] == PLUGIN
    register_third_party_plugins()
    assert "focusvla" in PreTrainedConfig.get_known_choices()
    assert get_policy_class("focusvla").__name__ == "FocusVLAPolicy"


def command(name: str, *options: str) -> str:
    """The output of one of lerobot's commands."""
    from focusvla.simulation.rendering import select_rendering_back_end

    select_rendering_back_end()
    done = subprocess.run(
        [str(Path(sys.executable).with_name(name)), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_lerobots_commands_train_resume_and_evaluate(tmp_path: Path):
    data = write_lerobot(tmp_path / "data", gray_memory(TOP, lengths=(12, 9)))
    run = tmp_path / "run"
    output = command(
        "lerobot-train",
        *(
            "--policy.type=focusvla",
            "--policy.preset=tiny",
            "--policy.push_to_hub=false",
            "--policy.device=cpu",
        ),
        *("--dataset.repo_id=me/aloha", f"--dataset.root={data}", "--dataset.video_backend=pyav"),
        *(f"--output_dir={run}", "--steps=2", "--batch_size=4", "--num_workers=0", "--log_freq=1"),
    )
    assert re.findall(r"step:(\d+) .*loss:\d+\.\d+", output) == ["1", "2"]
    last = run / "checkpoints" / "last" / "pretrained_model"
    output = command(
        "lerobot-train", f"--config_path={last / 'train_config.json'}", "--resume=true", "--steps=3"
    )
    assert re.findall(r"step:(\d+) .*loss:\d+\.\d+", output) == ["3"]
    assert json.loads((last.parent / "training_state" / "training_step.json").read_text())["step"] == 3
    command(
        "lerobot-eval",
        *(f"--policy.path={last}", "--policy.n_action_steps=2", "--env.type=aloha", "--env.episode_length=3"),
        *("--eval.n_episodes=1", "--eval.batch_size=1", f"--output_dir={tmp_path / 'evaluation'}"),
    )
    result = json.loads((tmp_path / "evaluation" / "eval_info.json").read_text())
    assert result["overall"]["n_episodes"] == 1


def test_the_loss_is_that_of_focusvlas_own_training(arm_data: Path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    policy, before, _ = new_policy(arm_data, state_noise=0.0)
    times = [index / 20 for index in policy.config.action_delta_indices]
    dataset = LeRobotDataset("focusvla/test", root=arm_data, delta_timestamps={"action": times})
    items = [dataset[index] for index in range(len(dataset))]  # every step, the last ones of episodes too
    batch = torch.utils.data.default_collate(items)
    loss, logged = policy.forward(before(batch))

    source = gray_memory(ARM, ARM_LENGTHS)
    samples = build_samples(source, statistics=source.statistics(), state_limit=1.5, chunk_length=4)
    images = [
        torch.from_numpy(np.concatenate([np.stack(list(source.frames(i, name))) for i in range(3)]))
        for name in ("image", "image2")
    ]
    ids, mask = policy.model.tokenize([samples.instructions[i] for i in samples.instruction_ids.tolist()])
    inputs = ModelInputs(
        images=torch.stack([resize(camera, 32) for camera in images], 1),
        features=None,
        token_ids=ids,
        token_mask=mask,
        state=samples.states,
    )
    actions, is_inside = samples.action_chunks(torch.arange(28))
    errors = absolute_errors(policy.model(inputs), actions, is_inside)
    assert loss.item() == pytest.approx((errors.sum() / (7 * is_inside.sum())).item(), rel=1e-5)
    assert logged == {"l1_loss": loss.item()}

    shares, logged = policy.forward(before(batch), reduction="none")
    expected = errors.sum((1, 2)) / (
        7 * is_inside.sum() / 28
    )  # the sample at an end counts as its one action
    torch.testing.assert_close(shares, expected, rtol=1e-5, atol=0)
    assert logged == {"l1_loss": pytest.approx(loss.item())}
    with pytest.raises(ConfigurationError, match="reduction='sum' is unknown"):
        policy.forward(before(batch), reduction="sum")


def test_weights_that_several_devices_gathered_are_saved_and_read(arm_data: Path, tmp_path: Path):
    policy, *_ = new_policy(arm_data)
    if not hasattr(policy, "supports_rtc"):
        pytest.skip("lerobot gathers weights from 0.6 on")
    assert not policy.supports_rtc()  # which would want chunks that go on from the one being played
    gathered = {name: value + 1 for name, value in policy.state_dict().items()}
    policy.save_pretrained(tmp_path, state_dict=gathered)
    for name, value in type(policy).from_pretrained(tmp_path).state_dict().items():
        torch.testing.assert_close(value, gathered[name])


def test_fsdp_is_told_which_layers_to_gather_at_once(arm_data: Path):
    policy, *_ = new_policy(arm_data)
    named = {module for module in policy.modules() if type(module).__name__ in policy._no_split_modules}
    assert named == set(policy.model.blocks())


def test_states_are_noisy_in_training_alone(arm_data: Path):
    policy, before, _ = new_policy(arm_data, state_noise=0.5)
    batch = before(torch.utils.data.default_collate([in_lerobot(random_observation(0))]))
    batch |= {"action": torch.zeros(1, 4, 7), "action_is_pad": torch.zeros(1, 4, dtype=torch.bool)}
    policy.forward(batch)  # which standardizes features
    for training in (True, False):
        losses = {policy.train(training).forward(batch)[0].item() for _ in range(2)}
        assert len(losses) == 1 + training


def test_a_frozen_encoders_features_are_standardized_by_the_first_batch(arm_data: Path):
    policy, before, _ = new_policy(arm_data)
    targets = {"action": torch.zeros(8, 4, 7), "action_is_pad": torch.zeros(8, 4, dtype=torch.bool)}
    batches = [
        before(torch.utils.data.default_collate([in_lerobot(random_observation(seed)) for seed in seeds]))
        | targets
        for seeds in (range(8), range(8, 16))
    ]
    policy.forward(batches[0])
    images = [
        resize((batches[0][f"observation.images.{camera.name}"] * 255).byte().permute(0, 2, 3, 1), 32)
        for camera in ARM.cameras
    ]
    features = policy.model.encode_images(torch.stack(images, 1)).flatten(0, 1)
    torch.testing.assert_close(policy.model.feature_mean, features.mean(0))
    kept = policy.model.feature_mean.clone()
    policy.forward(batches[1])
    assert policy.model.feature_mean.equal(kept)


def test_optimizer_and_schedule_are_focusvlas(arm_data: Path):
    policy, *_ = new_policy(arm_data, optimizer_lr=0.01)
    optimizer = policy.config.get_optimizer_preset().build(policy.get_optim_params())
    scheduler = policy.config.get_scheduler_preset().build(optimizer, num_training_steps=10)
    config = dataclasses.replace(tiny().training, steps=10, learning_rate=0.01)
    for step in range(10):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(learning_rate(config, step))
        optimizer.step()
        scheduler.step()
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0]
    assert all(parameter.ndim > 1 for parameter in optimizer.param_groups[0]["params"])


def test_actions_are_played_from_a_queue_until_n_action_steps_are_spent(arm_data: Path):
    policy, before, _ = new_policy(arm_data, n_action_steps=2)
    first, second = (before(in_lerobot(random_observation(seed))) for seed in range(2))
    chunks = [policy.predict_action_chunk(batch) for batch in (first, second)]
    played = [policy.select_action(batch) for batch in (first, second, second)]
    for action, expected in zip(played, (chunks[0][:, 0], chunks[0][:, 1], chunks[1][:, 0]), strict=True):
        torch.testing.assert_close(action, expected)
    policy.reset()
    torch.testing.assert_close(policy.select_action(first), chunks[0][:, 0])


def test_values_that_are_set_change_the_preset_and_stay_with_the_policy(arm_data: Path, tmp_path: Path):
    policy, *_ = new_policy(arm_data, chunk_size=6, num_kept_patches=5, gate="scalar", values="vlm")
    policy.save_pretrained(tmp_path)
    from lerobot_policy_focusvla import FocusVLAPolicy

    model = FocusVLAPolicy.from_pretrained(tmp_path).config.experiment.model
    head = model.policy_head
    assert (model.chunk_length, head.num_kept_patches, head.gate, head.values) == (6, 5, "scalar", "vlm")
    assert model.language.vocabulary == ("pull", "push")


def changed_weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("model.action_queries"), "missing: model.action_queries"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), "unexpected: extra"),
        (lambda tensors: tensors.update({"model.feature_mean": torch.ones(3)}), "model.feature_mean"),
    ],
)
def test_weights_of_another_model_are_refused_and_named(change, told, arm_data, tmp_path):
    policy, *_ = new_policy(arm_data)
    policy.save_pretrained(tmp_path)
    changed_weights(tmp_path, change)
    with pytest.raises(CheckpointError, match=told):
        type(policy).from_pretrained(tmp_path)


def test_processors_without_statistics_can_be_made_and_refuse_to_pass_anything(arm_data: Path):
    from lerobot.policies.factory import make_pre_post_processors

    policy, before, after = new_policy(arm_data)
    empty_before, empty_after = make_pre_post_processors(policy.config)
    with pytest.raises(DataError, match="pass dataset_stats"):
        empty_before(in_lerobot(random_observation(0)))
    with pytest.raises(DataError, match="pass dataset_stats"):
        empty_after(torch.zeros(1, 7))
    for empty, full in ((empty_before, before), (empty_after, after)):
        empty.steps[0 if full is after else 2].load_state_dict(
            full.steps[0 if full is after else 2].state_dict()
        )
    torch.testing.assert_close(empty_after(torch.ones(1, 7)), after(torch.ones(1, 7)))


def without(dataset: Path, copy: Path, name: str) -> Path:
    shutil.copytree(dataset, copy)
    (copy / name).unlink()
    return copy


def test_a_data_set_without_conventions_needs_a_spec_and_takes_one(arm_data: Path, tmp_path: Path):
    foreign = without(arm_data, tmp_path / "foreign", "meta/spec.json")
    with pytest.raises(ConfigurationError, match=r"--policy.spec=NAME, which is one of aloha, libero"):
        new_policy(foreign)
    assert new_policy(foreign, spec=ARM)[0].config.spec == ARM
    with pytest.raises(DataError, match="32x32"):
        new_policy(foreign, spec=libero_spec(32))


def test_a_spec_is_named_on_the_command_line():
    import draccus

    from lerobot_policy_focusvla import FocusVLAConfig

    parsed = draccus.parse(FocusVLAConfig, args=["--spec=libero:64", "--device=cpu"])
    assert parsed.spec == ARM


def test_normalization_is_by_the_quantiles_of_all_steps_where_lerobot_has_the_mean_of_episodes(
    tmp_path: Path,
):
    data = write_with_lerobot(tmp_path / "theirs", gray_memory(ARM, ARM_LENGTHS))
    _, before, after = new_policy(data, spec=ARM)
    source = gray_memory(ARM, ARM_LENGTHS)
    actions = np.concatenate([source.episode(index).action for index in range(3)])
    for step in (before.steps[2], after.steps[0]):
        np.testing.assert_allclose(step.statistics.action.q99, np.quantile(actions, 0.99, axis=0), rtol=1e-6)
    stated = metadata(data).stats["action"]["q99"]
    assert np.abs(stated - before.steps[2].statistics.action.q99).max() > 0.01  # else nothing is shown here


def test_statistics_without_quantiles_are_refused_with_the_command_that_adds_them(arm_data: Path):
    from lerobot_policy_focusvla import make_focusvla_pre_post_processors

    policy, *_ = new_policy(arm_data)
    policy.config.statistics_of_all_steps = None
    stats = metadata(arm_data).stats
    lacking = stats | {"action": {name: value for name, value in stats["action"].items() if name != "q99"}}
    with pytest.raises(DataError, match="augment_dataset_quantile_stats") as told:
        make_focusvla_pre_post_processors(policy.config, lacking)
    (module,) = re.findall(r"python -m (\S+)", str(told.value))
    assert importlib.util.find_spec(module)


def test_training_goes_on_only_with_data_of_the_same_conventions(arm_data: Path, tmp_path: Path, caplog):
    from lerobot_policy_focusvla import FocusVLAPolicy

    policy, *_ = new_policy(arm_data)
    policy.save_pretrained(tmp_path / "policy")
    upright = write_lerobot(
        tmp_path / "upright", gray_memory(dataclasses.replace(ARM, image_orientation="upright"))
    )
    with pytest.raises(SpecMismatchError, match="image_orientation"):
        FocusVLAPolicy.from_pretrained(tmp_path / "policy", dataset_meta=metadata(upright))
    poured = write_lerobot(tmp_path / "poured", gray_memory(ARM, instructions=("push", "pour")))
    FocusVLAPolicy.from_pretrained(tmp_path / "policy", dataset_meta=metadata(poured))
    assert "without the words pour" in caplog.text


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"n_action_steps": 5}, "n_action_steps: expected 1 to 4"),
        ({"n_action_steps": 0}, "n_action_steps: expected 1 to 4"),
        ({"num_kept_patches": 99}, "num_kept_patches"),
        ({"preset": "minni"}, "did you mean 'mini'"),
        ({"gate": "elementwise"}, "policy.gate='elementwise' is unknown; did you mean 'element_wise'"),
        ({"n_obs_steps": 2}, "n_obs_steps: expected 1"),
    ],
)
def test_a_value_that_does_not_fit_is_named(values: Mapping[str, Any], told: str, arm_data: Path):
    with pytest.raises(ConfigurationError, match=told):
        new_policy(arm_data, **values)


def test_a_batch_that_does_not_fit_is_told_what_is_missing(arm_data: Path):
    policy, before, _ = new_policy(arm_data)
    batch = before(in_lerobot(random_observation(0)))
    with pytest.raises(ConfigurationError, match=r"env\.observation_height"):
        policy.select_action(batch | {"observation.images.image2": torch.zeros(1, 3, 32, 32)})
    with pytest.raises(ConfigurationError, match=r"observation.images.image: .* got none"):
        policy.select_action(
            {key: value for key, value in batch.items() if key != "observation.images.image"}
        )
    stateless = {key: value for key, value in in_lerobot(random_observation(0)).items() if "state" not in key}
    with pytest.raises(ConfigurationError, match="pixels_agent_pos"):
        before(stateless)
    with pytest.raises(ConfigurationError, match="'task'"):
        policy.select_action({key: value for key, value in batch.items() if key != "task"})


def test_an_environment_of_another_robot_is_refused(arm_data: Path):
    from lerobot.envs.configs import AlohaEnv
    from lerobot.policies.factory import make_policy

    policy, *_ = new_policy(arm_data)
    with pytest.raises(ConfigurationError, match=r"action: expected a feature of shape \(7,\).* got \(14,\)"):
        make_policy(policy.config, env_cfg=AlohaEnv())
