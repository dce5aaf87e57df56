"""A run folder of VLA-Adapter's, named as a checkpoint, acts as its own evaluation does, or is refused in a sentence."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from focusvla.checkpoint import open_checkpoint
from focusvla.config import GivenPictures, InferenceConfig
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.model.prompt import PROMPT
from focusvla.policy import load_policy
from focusvla.suites.libero import libero_spec
from focusvla_client import Observation
from vla_adapter_reference import Reference, command, seen
from vla_adapter_runs import LETTERS, STATISTICS, write_toy_run

STATE = np.array(
    [-0.1, 0.1, 1.0, 9.0, 0.2, -0.5, 0.02, -0.04], np.float32
)  # one beyond the range, one constant


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {variant: write_toy_run(folder / variant, variant) for variant in ("base", "pro")}


@pytest.fixture
def run(runs, tmp_path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(runs["pro"], tmp_path / "run")


@pytest.fixture(scope="module")
def observation() -> Observation:
    """Smooth colors, so that JPEG and resizing have something to keep."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    primary, wrist = np.repeat(np.repeat(coarse, 32, axis=1), 32, axis=2)
    primary[100:120, 40:200] = rng.integers(0, 256, (20, 160, 3))
    return Observation({"image": primary, "image2": wrist}, STATE, "Put both moka pots on the stove")


def reference(run: Path, variant: str) -> Reference:
    def read(values):
        return {name.removeprefix("module.").removeprefix("model."): t.double().numpy() for name, t in values}

    return Reference(
        merged={name: t.double().numpy() for name, t in load_file(run / "model.safetensors").items()},
        head=read(torch.load(run / "action_head--checkpoint.pt").items()),
        proprioception=read(torch.load(run / "proprio_projector--checkpoint.pt").items()),
        variant=variant,
        statistics=STATISTICS,
        encoder_layers=3,
        encoder_heads=16,
        language_layers=3,
        language_heads=4,
        key_heads=2,
        chunk_length=8,
    )


def token_ids(instruction: str) -> list[int]:
    prompt = PROMPT.format(instruction=instruction.lower())
    return [LETTERS.get(letter, LETTERS["?"]) for letter in prompt]


@pytest.mark.parametrize("variant", ["base", "pro"])
def test_its_commands_are_those_that_the_reference_executes(variant, runs, observation):
    policy = load_policy(runs[variant])
    pictures = [seen(observation.images[camera], 56) for camera in ("image", "image2")]
    shown = policy.model_inputs(observation).images
    assert shown is not None
    np.testing.assert_array_equal(shown[0].numpy(), np.stack(pictures))
    normalized = reference(runs[variant], variant).normalized_actions(
        pictures, token_ids(observation.instruction), observation.state.astype(np.float64)
    )
    expected = command(normalized.astype(np.float32), STATISTICS["action"])
    answered = policy.infer(observation)
    np.testing.assert_allclose(answered, expected, atol=2e-6)
    np.testing.assert_array_equal(answered[:, 6], expected[:, 6])
    assert variant == "base" or set(answered[:, 6]) == {-1.0, 1.0}


def test_what_a_policy_trained_otherwise_would_have_seen_or_answered_is_far_from_it(runs, observation):
    """The tolerance of the test above tells these steps apart."""
    policy = load_policy(runs["pro"])
    answered = policy.infer(observation)
    uncropped = load_policy(runs["pro"], pictures=GivenPictures(center_crop_area=1.0))
    raw = load_policy(runs["pro"], pictures=GivenPictures(jpeg_quality=0))
    for other in (uncropped, raw):
        assert np.abs(other.infer(observation) - answered).max() > 1e-4
    policy.model.config = dataclasses.replace(policy.model.config, alignment="exact")
    assert np.abs(policy.infer(observation) - answered).max() > 1e-3


def test_in_bfloat16_it_answers_about_the_same(runs, observation):
    plain = load_policy(runs["pro"])
    rounded = load_policy(runs["pro"]).prepare(InferenceConfig(precision="bfloat16"))
    assert (plain.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    found, expected = (
        policy.infer(observation)[:, :6] for policy in (rounded, plain)
    )  # a gripper's may turn over
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_sizes_and_the_variant_are_read_from_its_weights(runs):
    base, pro = (load_policy(runs[variant]).experiment.model for variant in ("base", "pro"))
    assert (base.policy_head.streams, pro.policy_head.streams) == ("shared", "separate")
    assert (pro.vision.image_size, pro.num_patches, pro.num_action_queries) == (56, 32, 6)
    assert (pro.language.num_heads, pro.language.num_key_value_heads) == (4, 2)
    assert (pro.state_dim, pro.action_dim, pro.chunk_length) == (8, 7, 8)
    assert load_policy(runs["pro"]).spec == libero_spec(256)


def test_shards_are_one_model_and_the_steps_are_in_the_name_of_the_head(run, observation):
    expected = load_policy(run).infer(observation)
    tensors = load_file(run / "model.safetensors")
    (run / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, run / file)
    places = {name: file for file, held in shards.items() for name in held}
    (run / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (run / "action_head--checkpoint.pt").rename(run / "action_head--150000_checkpoint.pt")
    policy = load_policy(run)
    np.testing.assert_array_equal(policy.infer(observation), expected)
    assert policy.experiment.training.steps == 150_000


def test_every_file_that_answers_depend_on_is_in_its_digest(run):
    digests = {open_checkpoint(run).digest}
    head = torch.load(run / "action_head--checkpoint.pt")
    head["module.model.fc2.bias"] += 1
    torch.save(head, run / "action_head--checkpoint.pt")
    digests.add(open_checkpoint(run).digest)
    statistics = {
        "libero_spatial_no_noops": STATISTICS | {"action": STATISTICS["action"] | {"q99": [1.0] * 7}}
    }
    (run / "dataset_statistics.json").write_text(json.dumps(statistics))
    digests.add(open_checkpoint(run).digest)
    (run / "README.md").write_text("not one of them")
    digests.add(open_checkpoint(run).digest)
    assert len(digests) == 3


def test_of_a_mixture_the_data_set_is_named(tmp_path, observation):
    other = json.loads(json.dumps(STATISTICS))
    other["action"]["q01"] = [-9.0] * 7
    run = write_toy_run(
        tmp_path / "run", "base", {"libero_spatial_no_noops": STATISTICS, "libero_goal_no_noops": other}
    )
    with pytest.raises(
        ConfigurationError,
        match="one of 'libero_spatial_no_noops', 'libero_goal_no_noops', whose numbers differ",
    ):
        load_policy(run)
    with pytest.raises(ConfigurationError, match=r"statistics='libero_object'.*did you mean"):
        load_policy(run, statistics="libero_object")
    goal = load_policy(run, statistics="libero_goal_no_noops")
    assert (
        goal.infer(observation)[:, 0].max()
        < load_policy(run, statistics="libero_spatial_no_noops").infer(observation)[:, 0].min()
    )


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("config.json", r"without config\.json"),
        ("model.safetensors", r"without model\*\.safetensors"),
        ("action_head--checkpoint.pt", r"without action_head--\*\.pt"),
        ("proprio_projector--checkpoint.pt", r"without proprio_projector--\*\.pt"),
        ("dataset_statistics.json", r"without dataset_statistics\.json"),
        ("tokenizer.json", "expected Qwen2.5's tokenizer files"),
    ],
)
def test_a_missing_file_is_named(missing, named, run):
    (run / missing).unlink()
    with pytest.raises(CheckpointError, match=named):
        load_policy(run)


def test_adapters_that_are_not_merged_are_told_from_a_lost_file(run):
    (run / "model.safetensors").unlink()
    (run / "lora_adapter").mkdir()
    with pytest.raises(CheckpointError, match=r"without model\*\.safetensors\. Merge its adapters first"):
        load_policy(run)


def test_of_several_heads_one_is_to_be_kept(run):
    shutil.copy(run / "action_head--checkpoint.pt", run / "action_head--5000_checkpoint.pt")
    with pytest.raises(
        CheckpointError, match=r"expected one file action_head--\*\.pt, got .*5000.*, .*Keep the one"
    ):
        load_policy(run)


def test_a_policy_of_another_robot_or_of_other_pixels_is_refused(run):
    (run / "dataset_statistics.json").write_text(json.dumps({"calvin_abc_rlds": STATISTICS}))
    with pytest.raises(CheckpointError, match="expected data sets of LIBERO alone, got calvin_abc_rlds"):
        load_policy(run)
    unmasked = {"libero_goal": STATISTICS | {"action": STATISTICS["action"] | {"mask": [True] * 7}}}
    (run / "dataset_statistics.json").write_text(json.dumps(unmasked))
    with pytest.raises(CheckpointError, match="expected 6 times true, then false for the gripper"):
        load_policy(run)
    (run / "dataset_statistics.json").write_text(
        json.dumps({"libero_goal": {"action": STATISTICS["action"]}})
    )
    with pytest.raises(CheckpointError, match=r"q01 and q99 of 'proprio', got KeyError\('proprio'\)"):
        load_policy(run)
    (run / "preprocessor_config.json").write_text(
        json.dumps({"tvf_normalize_params": [{"mean": [0.5] * 3, "std": [0.5] * 3}] * 2})
    )
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: expected pixels normalized by"):
        load_policy(run)


def test_weights_of_something_else_are_refused_with_their_names(run):
    save_file({"embedding.weight": torch.zeros(2, 2)}, run / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"expected the weights of a VLA-Adapter policy, got none called"
    ):
        load_policy(run)
