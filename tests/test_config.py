"""Configuration values are checked where they are written, by name."""

import dataclasses
import subprocess
import sys

import pytest

from focusvla.config import ExperimentConfig, config_from_dict
from focusvla.errors import ConfigurationError
from focusvla.presets import mini, mini_blind, preset


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


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean 'mini'"):
        preset("minni")


def test_reading_the_configuration_imports_no_torch():
    check = "import sys, focusvla.config, focusvla.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
