"""A checkpoint becomes a policy strictly, and a policy answers in physical units or says what is wrong."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from focusvla.config import InferenceConfig
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.memory import random_source
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.policy import load_policy
from focusvla.presets import tiny
from focusvla.suites.libero import libero_spec
from focusvla.training.trainer import train
from focusvla_client import Observation


@pytest.fixture(scope="module")
def run(tmp_path_factory, arm_source):
    folder = tmp_path_factory.mktemp("policy")
    experiment = tiny()
    experiment = dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, steps=2))
    train(experiment, arm_source(), folder / "run", cache_folder=folder)
    return folder / "run"


@pytest.fixture
def checkpoint(run, tmp_path):
    """A copy that a test may damage."""
    import shutil

    return shutil.copytree(run / "checkpoints" / "step-00000002", tmp_path / "checkpoint")


def observation(**changes) -> Observation:
    images = {name: np.full((32, 32, 3), 100, np.uint8) for name in ("image", "image2")}
    return dataclasses.replace(
        Observation(images=images, state=np.zeros(8, np.float32), instruction="lift the cup"), **changes
    )


def test_a_run_and_its_checkpoint_give_the_same_policy(run):
    one, other = load_policy(run), load_policy(run / "checkpoints" / "step-00000002")
    np.testing.assert_array_equal(one.infer(observation()), other.infer(observation()))


def test_the_answer_is_a_chunk_in_physical_units(run):
    policy = load_policy(run)
    chunk = policy.infer(observation())
    assert chunk.shape == (4, 7)
    assert chunk.dtype == np.float32
    normalized = policy.model(policy.model_inputs(observation()))[0].detach().numpy()
    statistics = json.loads((run / "checkpoints" / "step-00000002" / "statistics.json").read_text())["action"]
    low, high = np.array(statistics["q01"]), np.array(statistics["q99"])
    expected = (normalized + 1) / 2 * (high - low) + low
    np.testing.assert_allclose(chunk[:, :6], expected[:, :6], atol=1e-5)
    np.testing.assert_allclose(chunk[:, 6], normalized[:, 6], atol=1e-6)


def varied_observations() -> list[Observation]:
    rng = np.random.default_rng(0)
    return [
        observation(
            images={name: rng.integers(0, 256, (32, 32, 3), np.uint8) for name in ("image", "image2")},
            instruction=instruction,
        )
        for instruction in ("lift the cup", "push", "push the bowl behind the cup")
    ]


def test_a_prepared_policy_answers_as_before(run):
    plain, prepared = load_policy(run), load_policy(run).prepare(InferenceConfig())
    assert prepared.dtype == torch.float32  # on a CPU
    for asked in (varied_observations(), varied_observations()[:1]):
        np.testing.assert_allclose(prepared.infer_batch(asked), plain.infer_batch(asked), atol=1e-5)
    with pytest.raises(ConfigurationError, match=r"observation\.images: expected camera 'image2', got image"):
        prepared.infer(observation(images={"image": np.zeros((32, 32, 3), np.uint8)}))


def test_a_policy_can_be_told_to_compute_in_bfloat16(run):
    plain, rounded = load_policy(run), load_policy(run).prepare(InferenceConfig(precision="bfloat16"))
    assert rounded.dtype == torch.bfloat16
    expected, answers = (policy.infer_batch(varied_observations()) for policy in (plain, rounded))
    assert not np.array_equal(answers, expected)
    np.testing.assert_allclose(answers, expected, atol=0.1)


def test_a_policy_is_prepared_once(run):
    policy = load_policy(run).prepare(InferenceConfig())
    assert not policy.replays_graphs  # on a CPU
    with pytest.raises(ConfigurationError, match="prepare: expected a policy that was not prepared before"):
        policy.prepare(InferenceConfig())


def test_without_a_compiler_compiling_is_refused(run, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigurationError, match=r"inference\.compiled: expected a C\+\+ compiler"):
        load_policy(run).prepare(InferenceConfig(compiled=True))


def test_only_a_large_policy_has_several_threads(run, monkeypatch):
    policy = load_policy(run)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2})
    assert policy.num_fitting_threads == 1
    monkeypatch.setattr("focusvla.policy.MIN_WEIGHTS_FOR_THREADS", 1000)
    assert policy.num_fitting_threads == 3


def test_a_policy_sees_pictures_of_another_size_as_they_were_trained_on(tmp_path):
    source = random_source(libero_spec(48), (3, 3))
    experiment = dataclasses.replace(tiny(), training=dataclasses.replace(tiny().training, steps=1))
    train(experiment, source, tmp_path / "run", cache_folder=tmp_path)
    cached = open_frame_cache(source, tmp_path, size=32).images[0]
    images = {name: next(source.frames(0, name)) for name in ("image", "image2")}
    seen = load_policy(tmp_path / "run").model_inputs(observation(images=images)).images
    assert seen is not None
    np.testing.assert_array_equal(seen[0].numpy(), cached)


def test_statistics_of_another_robot_are_refused(checkpoint):
    file = checkpoint / "statistics.json"
    statistics = json.loads(file.read_text())
    for bound in ("q01", "q99"):
        statistics["action"][bound].append(1.0)
    file.write_text(json.dumps(statistics))
    with pytest.raises(CheckpointError, match=r"statistics.action: expected 7 dimensions .*, got 8"):
        load_policy(checkpoint)


def test_a_missing_camera_is_named(run):
    with pytest.raises(ConfigurationError, match="expected camera 'image2', got image"):
        load_policy(run).infer(observation(images={"image": np.zeros((32, 32, 3), np.uint8)}))


def test_an_image_of_another_type_or_size_is_named(run):
    for wrong in (np.zeros((32, 32, 3), np.float32), np.zeros((3, 32, 32), np.uint8)):
        with pytest.raises(ConfigurationError, match=r"\['image'\]: expected \(32, 32, 3\) uint8, got"):
            load_policy(run).infer(observation(images={"image": wrong, "image2": wrong}))


def test_a_state_of_another_width_is_named(run):
    with pytest.raises(ConfigurationError, match=r"state: expected 8 numbers .* got shape \(7,\)"):
        load_policy(run).infer(observation(state=np.zeros(7, np.float32)))


def test_missing_and_unexpected_weights_are_listed(checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["surprise"] = tensors.pop("action_queries")
    save_file(tensors, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing: action_queries; unexpected: surprise\. Nothing"):
        load_policy(checkpoint)


def test_a_truncated_file_is_called_damaged(checkpoint):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="half-written or damaged"):
        load_policy(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "spec.json", "statistics.json"])
def test_a_missing_file_is_named(name, checkpoint):
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_policy(checkpoint)


def test_an_unknown_field_in_the_configuration_is_named(checkpoint):
    values = json.loads((checkpoint / "config.json").read_text())
    values["model"]["vision"]["zoom"] = 2
    (checkpoint / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="zoom"):
        load_policy(checkpoint)


def test_a_folder_that_is_no_checkpoint_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match="Train one with `focusvla train`"):
        load_policy(tmp_path)


def test_an_adapter_that_was_not_merged_is_called_so(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"got an adapter that was not merged .* Merge it first"):
        load_policy(tmp_path)
