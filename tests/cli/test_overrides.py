"""Every field of an experiment is a flag of `focusvla train`, and replaces the preset's value and nothing else."""

import dataclasses
import re
from typing import Any, get_type_hints

import pytest

from focusvla.checkpoint import open_checkpoint
from focusvla.cli import main
from focusvla.cli.compare import compare
from focusvla.cli.overrides import changed
from focusvla.cli.parsing import parse
from focusvla.cli.training import train
from focusvla.config import ExperimentConfig
from focusvla.errors import ConfigurationError
from focusvla.policy import load_policy
from focusvla.presets import paper, tiny
from written_datasets import write_lerobot

DATA = ("--data", "d", "--output", "o")
CROPPED = ("--augmentation.crop-area", "0.8", "--augmentation.colors", "successive")


def flags(kind: type, prefix: str = "") -> list[str]:
    """One a field, as the documentation promises them."""
    found = []
    for name, field in get_type_hints(kind).items():
        part = "" if name in ("training", "execution") else f"{prefix}{name.replace('_', '-')}"
        if dataclasses.is_dataclass(field):
            found += flags(field, f"{part}." if part else "")  # type: ignore[arg-type]
        else:
            found.append(f"--{part}")
    return found


def given(*values: str) -> dict[str, Any]:
    """What `train` would be called with as its overrides."""
    return parse("train", train, ["paper", *DATA, *values]).keywords["overrides"]  # type: ignore[attr-defined]


@pytest.fixture
def data_set(arm_source, tmp_path):
    return write_lerobot(tmp_path / "data", arm_source())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    code = stopped.value.code
    assert isinstance(code, int)
    return code


def test_every_field_of_model_and_training_is_a_flag_with_the_presets_value_as_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert run("train", "paper", "--help-all") == 0
    shown = capsys.readouterr().out
    names = set(re.findall(r"(--[\w.-]+)", shown))
    assert set(flags(ExperimentConfig)) <= names
    assert len(flags(ExperimentConfig)) > 90
    text = " ".join(shown.replace("│", " ").split())
    for flag, default in (
        ("--betas FLOAT FLOAT", "0.9 0.999"),
        ("--augmentation.crop-area FLOAT", "0.9"),
        ("--model.policy-head.num-kept-patches INT", "256"),
        ("--weights.siglip STR", "google/siglip-so400m-patch14-224"),
    ):
        assert re.search(rf"{re.escape(flag)} (?:(?!--).)*\(default: {re.escape(default)}\)", text), flag


def test_without_a_preset_help_says_whose_the_defaults_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert run("train", "--help") == 0
    assert "--steps INT Optimizer steps. (default: the preset's)" in " ".join(capsys.readouterr().out.split())


def test_only_what_is_given_is_replaced_also_if_it_is_what_the_preset_has():
    values = given("--batch-size", "64", "--betas", "0.8", "0.9", "--model.vision.trainable", "--steps", "3")
    assert values["training"] == {"batch_size": 64, "betas": (0.8, 0.9), "steps": 3, "augmentation": {}}
    assert values["model"]["vision"] == {"trainable": True, "dinov2": {}, "siglip": {}, "vggt": {}}
    training = dataclasses.replace(paper().training, betas=(0.8, 0.9), steps=3)
    vision = dataclasses.replace(paper().model.vision, trainable=True)
    model = dataclasses.replace(paper().model, vision=vision)
    assert changed(paper(), values) == dataclasses.replace(paper(), training=training, model=model)
    assert changed(tiny(), given()) == tiny()


def test_a_chunks_length_has_a_short_name():
    assert given("--chunk-length", "9")["model"]["chunk_length"] == 9
    assert given("--model.chunk-length", "9")["model"]["chunk_length"] == 9


def test_values_that_fit_each_other_are_given_together():
    found = changed(paper(), given(*CROPPED, "--model.pictures.center-crop-area", "0.8"))
    assert (found.training.augmentation.crop_area, found.model.pictures.center_crop_area) == (0.8, 0.8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*DATA, "--betas", "0.9", "1"), "betas: expected two numbers of 0 <= beta < 1, got (0.9, 1.0)"),
        ((*DATA, "--augmentation.hue", "0.1"), "augmentation.colors: expected successive with crop_area=1 and hue=0.1"),
        ((*DATA, "--augmentation.crop-aera", "1"), "--augmentation.crop-area FLOAT"),
        ((*DATA, "--last-frames", "kept"), "invalid choice 'kept'"),
    ],
)  # fmt: skip
def test_what_is_refused_before_the_data_are_opened(arguments, message, capsys):
    assert run("train", "tiny", *arguments) == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split())
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model.num-cameras", "3"), "model.num_cameras: expected 2, as many as the data have, got 3. Leave it out"),
        (("--model.action-dim", "14"), "model.action_dim: expected 7, as many as the data have, got 14"),
        (("--model.policy-head.num-kept-patches", "33"), "num_kept_patches: expected 1..32"),
        (("--model.language.vocabulary", "cup"), "model.language.vocabulary: expected none"),
        (CROPPED, "model.pictures.center_crop_area: expected 0.8, the training's augmentation.crop_area"),
        (("--model.pictures.center-crop-area", "0.8"), "augmentation.crop_area: expected 0.8"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_data_or_the_model_is_one_message(
    arguments, message, data_set, tmp_path, capsys
):
    output = tmp_path / "run"
    assert run("train", "tiny", "--data", str(data_set), "--output", str(output), *arguments) == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split())
    assert "Traceback" not in said
    assert not output.exists()


def test_a_preset_is_trained_with_other_values_of_every_part(data_set, tmp_path, capsys):
    output = tmp_path / "run"
    values = "--steps 1 --validation-share 0 --last-frames dropped --state-limit 1 --model.num-cameras 2 --chunk-length 3"
    others = "--model.policy-head.num-kept-patches 9 --model.vision.trainable --model.pictures.center-crop-area 0.8"
    command = ("train", "tiny", "--data", str(data_set), "--output", str(output))
    assert run(*command, *values.split(), *others.split(), *CROPPED) == 0
    assert "the best by" not in capsys.readouterr().out  # nothing was measured
    found = open_checkpoint(output).experiment
    assert (found.training.last_frames, found.training.validation_share) == ("dropped", 0)
    assert (found.model.chunk_length, found.model.num_action_queries) == (3, 3)
    assert (found.model.policy_head.num_kept_patches, found.model.vision.trainable) == (9, True)
    assert load_policy(output).experiment == found


def test_presets_that_hold_nothing_out_are_compared_by_evaluations_alone(tmp_path):
    call = parse("compare", compare, ["paper", "tiny", "--data", "d", "--output", str(tmp_path / "o")])
    with pytest.raises(
        ConfigurationError, match=r"something to measure of paper, .* --validation-share 0.05"
    ):
        call()
