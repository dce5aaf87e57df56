"""Configuration values are checked where they are written, by name."""

import ast
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from focusvla import config
from focusvla.config import ExperimentConfig, config_from_dict
from focusvla.errors import ConfigurationError
from focusvla.presets import mini, mini_blind, paper, preset, tiny


def test_more_kept_patches_than_there_are_is_an_error_that_gives_the_range():
    model = mini().model
    with pytest.raises(
        ConfigurationError,
        match=r"num_kept_patches: expected 1\.\.128 \(2 camera\(s\) of 64 patches\), got 300",
    ):
        dataclasses.replace(model, policy_head=dataclasses.replace(model.policy_head, num_kept_patches=300))


def test_a_choice_that_there_is_not_is_refused_when_a_configuration_is_read_back():
    values = dataclasses.asdict(mini())
    values["model"]["policy_head"]["gate"] = "elementwise"
    with pytest.raises(
        ConfigurationError, match="gate='elementwise' is unknown; did you mean 'element_wise'"
    ):
        config_from_dict(ExperimentConfig, values)


def test_a_blind_model_differs_from_mini_in_its_encoder_only():
    seeing, blind = dataclasses.asdict(mini()), dataclasses.asdict(mini_blind())
    assert blind["model"]["vision"].pop("encoder") == "none"
    assert seeing["model"]["vision"].pop("encoder") == "efficientnet_lite0"
    assert seeing == blind


def test_mini_keeps_half_of_the_visual_tokens():
    model = mini().model
    assert model.policy_head.num_kept_patches * 2 == model.num_patches


def test_a_configuration_of_before_the_recipes_fields_reads_as_it_was_trained():
    values = dataclasses.asdict(tiny())
    for name in ("betas", "weight_decay_on", "gripper_weight", "last_frames", "state_limit"):
        del values["training"][name]
    for name in ("crop_area", "crop_offsets", "hue", "colors"):
        del values["training"]["augmentation"][name]
    read = config_from_dict(ExperimentConfig, values)
    assert read == tiny()
    assert (read.training.betas, read.training.state_limit) == ((0.9, 0.95), 1.5)


def test_training_on_crops_needs_a_policy_that_sees_the_middle_of_that_area():
    with pytest.raises(
        ConfigurationError,
        match=r"pictures.center_crop_area: expected 0.9, the training's augmentation.crop_area "
        r"\(--model.pictures.center-crop-area 0.9, or --augmentation.crop-area 1\), got 1.0",
    ):
        dataclasses.replace(mini(), training=paper().training)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"betas": (0.9, 1.0)}, "betas: expected two numbers of 0 <= beta < 1"),
        ({"max_gradient_norm": -1.0}, "max_gradient_norm: expected 0 or more"),
        ({"gripper_weight": 0.0}, "gripper_weight: expected a positive number"),
        ({"state_limit": 0.0}, "state_limit: expected a positive number"),
    ],
)
def test_values_of_a_training_are_refused_by_name(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        dataclasses.replace(tiny().training, **changes)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean 'mini'"):
        preset("minni")


def test_reading_the_configuration_imports_no_torch():
    check = "import sys, focusvla.config, focusvla.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def undescribed() -> Iterator[str]:
    for file in Path(config.__file__).parent.glob("*.py"):
        for kind in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(kind, ast.ClassDef) and "dataclass" in " ".join(
                map(ast.unparse, kind.decorator_list)
            ):
                for statement, after in zip(kind.body, [*kind.body[1:], None], strict=True):
                    is_told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    if isinstance(statement, ast.AnnAssign) and not is_told:
                        yield f"{kind.name}.{ast.unparse(statement.target)}"


def test_every_field_says_what_it_is_which_is_its_flags_help():
    assert [*undescribed()] == []
