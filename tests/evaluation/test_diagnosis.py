"""What is kept from a policy is kept from it, on both sides of the table, and nothing else changes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from focusvla.config import AS_STORED, Augmentation, EvaluationConfig, GivenPictures, InferenceConfig
from focusvla.data.memory import random_source
from focusvla.data.samples import build_samples
from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.agenda import axis_of, plan_episodes
from focusvla.evaluation.diagnosis import ActionErrors, Diagnosis, measure_action_errors, samples_of_others
from focusvla.evaluation.episodes import PlannedEpisode, Question
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.policies import SILENCED, CheckpointPolicy
from focusvla.evaluation.results import EpisodeResult
from focusvla.model.taps import without_stream
from focusvla.policy import load_policy
from focusvla.presets import tiny, with_policy_head
from focusvla.suites import protocol
from focusvla.suites.libero import libero_spec
from focusvla.training.metrics import read_metrics
from focusvla.training.trainer import train
from focusvla_client import Observation, SpecMismatchError

ALL = {"", "language_blind", "vision_blind", "vision_silenced", "action_queries_silenced"}


@pytest.fixture(scope="module")
def source():
    return random_source(libero_spec(32), (9, 7, 8, 6, 9, 8))


@pytest.fixture(scope="module")
def train_tiny(tmp_path_factory, source):
    """Train a variant of `tiny` for two steps, half of the episodes held out, and return its run."""

    def train_variant(name: str, experiment=None, data=source, **training) -> Path:
        experiment = experiment or tiny()
        options = {"steps": 2, "validation_share": 0.5, "validate_every": 2, "frame_stride": 1} | training
        experiment = dataclasses.replace(
            experiment, training=dataclasses.replace(experiment.training, **options)
        )
        folder = tmp_path_factory.mktemp(name)
        train(experiment, data, folder / "run", cache_folder=folder / "cache")
        return folder / "run"

    return train_variant


@pytest.fixture(scope="module")
def run(train_tiny) -> Path:
    return train_tiny("cascaded")


@pytest.mark.parametrize("crop_area", [1.0, 0.5])
def test_with_nothing_kept_from_it_the_error_is_the_training_s_validation_loss(train_tiny, source, crop_area):
    pictures = dataclasses.replace(tiny().model.pictures, center_crop_area=crop_area)
    model = dataclasses.replace(tiny().model, pictures=pictures)
    augmentation = Augmentation(colors="successive", crop_area=crop_area)
    run = train_tiny("cropping", dataclasses.replace(tiny(), model=model), augmentation=augmentation)
    found = measure_action_errors(load_policy(run), source)
    losses = [
        line["validation_loss"] for line in read_metrics(run / "metrics.jsonl") if "validation_loss" in line
    ]
    assert found.mean("").mean == pytest.approx(losses[-1], rel=1e-3)  # which is of features kept in 16 bits
    assert (found.mean("").episodes, set(found.errors)) == (3, ALL)


def test_each_control_takes_its_own_path_and_leaves_the_policy_as_it_was(run, source):
    policy = load_policy(run)
    found = measure_action_errors(policy, source)
    errors = [tuple(found.errors[control].round(6)) for control in ALL]
    assert len(set(errors)) == len(ALL)
    again = measure_action_errors(policy, source)
    for control in ALL:
        np.testing.assert_array_equal(found.errors[control], again.errors[control])


def test_a_policy_without_eyes_does_not_miss_its_pictures(train_tiny, source):
    experiment = with_policy_head(tiny(), num_kept_patches=2)
    vision = dataclasses.replace(experiment.model.vision, encoder="none")
    blind = dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, vision=vision))
    found = measure_action_errors(load_policy(train_tiny("blind", blind)), source)
    assert found.difference("vision_blind").interval == (0.0, 0.0)
    assert found.difference("language_blind").mean != 0


def test_a_head_that_does_not_attend_has_no_streams_to_silence(train_tiny, source):
    model = dataclasses.replace(tiny().model, num_action_queries=28)
    mlp = with_policy_head(
        dataclasses.replace(tiny(), model=model), attention="mlp", latent="action_queries", num_kept_patches=32
    )  # fmt: skip
    found = measure_action_errors(load_policy(train_tiny("mlp", mlp)), source)
    assert set(found.errors) == {"", "language_blind", "vision_blind"}


def test_what_a_data_set_does_not_allow_is_left_out_or_said(train_tiny, source):
    one_instruction = random_source(libero_spec(32), (9, 7), ("lift the cup",))
    policy = load_policy(train_tiny("one_instruction", data=one_instruction))
    assert set(measure_action_errors(policy, one_instruction).errors) == ALL - {
        "language_blind",
        "vision_blind",
    }
    with pytest.raises(SpecMismatchError):
        measure_action_errors(policy, random_source(libero_spec(64), (9, 7)))
    with pytest.raises(DataError, match="expected episodes that training held out, got none"):
        measure_action_errors(load_policy(train_tiny("all", validation_share=0.0)), source)


def test_other_data_than_it_was_trained_on_is_refused_though_it_means_the_same(run, source):
    other = random_source(libero_spec(32), (9, 7, 8, 6, 9, 9))
    with pytest.raises(
        DataError, match="expected the data set that the policy was trained on, got one with other"
    ):
        measure_action_errors(load_policy(run), other)


def test_pictures_that_had_to_come_from_another_task_are_counted_and_the_table_says_so(run, source):
    found = measure_action_errors(load_policy(run), source)
    assert [source.episode(int(index)).instruction for index in dict.fromkeys(found.episodes)] == [
        *("lift the cup", "push the bowl", "push the bowl")
    ]
    assert found.num_of_other_tasks == found.episodes.count("2") == 8
    note = "8 samples were shown another task's pictures"
    assert note in Diagnosis(found).to_markdown()
    assert "pictures, since" not in Diagnosis(dataclasses.replace(found, num_of_other_tasks=0)).to_markdown()


def test_pictures_come_from_the_next_episode_with_the_same_instruction():
    source = random_source(libero_spec(32), (3, 2, 4), ("lift the cup", "push the bowl"))
    samples = build_samples(source, statistics=source.statistics(), state_limit=1.5, chunk_length=2)
    owners = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    # Episodes 0 and 2 share an instruction; 1 has no other and takes the next at all.
    assert samples_of_others(samples, owners).tolist() == [5, 6, 7, 5, 6, 0, 1, 2, 2]


def test_results_of_another_precision_are_told_apart(run):
    identities = [
        CheckpointPolicy(
            run / "checkpoints" / "step-00000002", "cpu", inference=InferenceConfig(precision=precision)
        )
        .traits()
        .identity
        for precision in ("auto", "float32", "bfloat16")
    ]
    assert identities[0] == identities[1]
    assert str(identities[2]) == f"{identities[0]}-bfloat16"


def test_a_batch_of_several_conditions_is_answered_as_each_alone(run):
    checkpoint = CheckpointPolicy(run / "checkpoints" / "step-00000002", "cpu")
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (32, 32, 3), np.uint8) for name in ("image", "image2")}
    observation = Observation(images, np.zeros(8, np.float32), "lift the cup")
    conditions = ["vision_silenced", "", "action_queries_silenced", "vision_blind", "vision_silenced"]
    requests = [Question(PlannedEpisode("libero_object", 0, 0, c), 0, observation) for c in conditions]
    together = checkpoint.infer(requests)
    policy = load_policy(run)
    expected = {"": policy.infer(observation), "vision_blind": policy.infer(observation)}
    for condition, stream in SILENCED.items():
        with without_stream(policy.model, stream):
            expected[condition] = policy.infer(observation)
        assert np.abs(expected[condition] - expected[""]).max() > 1e-4
    for condition, chunk in zip(conditions, together, strict=True):
        np.testing.assert_allclose(chunk, expected[condition], atol=1e-5)
    assert checkpoint.traits().attends


def test_controls_are_planned_beside_the_clean_episodes_each_once():
    config = EvaluationConfig(
        suites=("aloha",), tasks=(1,), trials=2, protocol="aloha_gym", controls=("vision_silenced", "language_blind")
    )  # fmt: skip
    planned = plan_episodes(config, protocol("aloha_gym"))
    assert [(p.condition, p.trial) for p in planned] == [
        ("", 0), ("", 1), ("vision_silenced", 0), ("vision_silenced", 1), ("language_blind", 0), ("language_blind", 1),
    ]  # fmt: skip
    assert axis_of("aloha", "vision_silenced") == "vision stream silenced"
    with pytest.raises(ConfigurationError, match="controls: expected each control once"):
        EvaluationConfig(controls=("vision_silenced", "vision_silenced"))


def result(condition: str, trial: int, success: bool) -> EpisodeResult:
    return EpisodeResult(
        suite="libero_object", task=3, instruction="lift the cup", trial=trial, condition=condition, seed=0,
        success=success, steps=9, inferences=2, seconds=0.1, protocol="libero_wide", policy=PolicyIdentity(weights="x"),
        actions_per_inference=8, error="", versions={},
    )  # fmt: skip


def test_the_table_has_a_row_per_control_with_both_sides_and_what_each_loses():
    errors = ActionErrors(
        {"": np.array([0.1, 0.1, 0.3]), "vision_silenced": np.array([0.2, 0.2, 0.8])},
        steps=np.array([2.0, 2.0, 4.0]),
        episodes=["4", "4", "7"],
    )
    results = [result("", trial, True) for trial in range(4)]
    results += [result("language_blind", trial, trial == 0) for trial in range(4)]
    shown = Diagnosis(errors, results).to_markdown().splitlines()
    assert shown[2] == "| nothing | 0.2000 (0.1000 to 0.3000) |  | 4/4 = 100.0 % (51.0 to 100.0) |  |"
    assert (
        shown[3]
        == "| another task's instruction | - | - | 1/4 = 25.0 % (4.6 to 69.9) | -75.0 (-95.4 to -8.5) |"
    )
    assert (
        shown[4]
        == "| vision stream silenced | 0.5000 (0.2000 to 0.8000) | 0.3000 (0.1000 to 0.5000) | - | - |"
    )
    assert "3 samples of 2 held-out episode(s)" in shown[-1]
    numbers = Diagnosis(errors).to_dict()
    assert numbers["vision_silenced"]["l1_difference"]["mean"] == pytest.approx(0.3)
    assert set(numbers) == {"", "vision_silenced"}
    assert "success" not in Diagnosis(errors).to_markdown().lower()


@pytest.mark.simulator
@pytest.mark.slow
def test_a_diagnosis_from_the_command_line_goes_on_where_it_stopped(blind_checkpoint, tmp_path, capsys):
    from focusvla.cli import main

    output = tmp_path / "results"
    command = [
        *("diagnose", str(blind_checkpoint), "--output", str(output), "--suites", "reach", "--tasks", "0"),
        *("--actions-per-inference", "4", "--workers", "1", "--trials"),
    ]
    for trials, episodes in ((2, 10), (3, 15)):
        with pytest.raises(SystemExit) as stopped:
            main([*command, str(trials), "--json"])
        assert stopped.value.code == 0
        numbers = json.loads(capsys.readouterr().out)
        assert set(numbers) == ALL
        assert {each["success"]["episodes"] for each in numbers.values()} == {trials}
        lines = (output / "results.jsonl").read_text().splitlines()
        assert len(lines) == episodes
        assert not any(json.loads(line)["error"] for line in lines)


def test_a_policy_s_picture_steps_are_in_what_is_measured_and_in_what_results_call_it(run, source):
    cropped = GivenPictures(center_crop_area=0.5)
    plain = measure_action_errors(load_policy(run), source)
    found = measure_action_errors(load_policy(run, pictures=cropped), source)
    assert (found.errors[""] != plain.errors[""]).any()
    checkpoint = run / "checkpoints" / "step-00000002"
    identities = [
        CheckpointPolicy(checkpoint, "cpu", pictures=given).traits().identity
        for given in (AS_STORED, cropped)
    ]
    assert str(identities[1]) == f"{identities[0]}-crop0.5"
