"""Checkpoints that know nothing, and the means to ask what serves them."""

import dataclasses
from pathlib import Path

import pytest

from focusvla.data.memory import random_source
from focusvla.policy import FocusVLAPolicy, load_policy
from focusvla.presets import fitted, tiny
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec
from focusvla.training.trainer import train
from focusvla_client import Spec


def _trained_for_a_step(folder: Path, spec: Spec) -> Path:
    experiment = fitted(tiny(), spec)
    experiment = dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, steps=1))
    return train(experiment, random_source(spec, (9, 7, 8)), folder / "run", cache_folder=folder / "cache")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A `tiny` policy for LIBERO, with two 32-pixel cameras, that read "lift the cup" and "push the bowl"."""
    return _trained_for_a_step(tmp_path_factory.mktemp("libero"), libero_spec(32))


@pytest.fixture(scope="session")
def policy(checkpoint) -> FocusVLAPolicy:
    """The policy in `checkpoint`."""
    return load_policy(checkpoint)


@pytest.fixture(scope="session")
def two_armed_checkpoint(tmp_path_factory) -> Path:
    """A `tiny` policy for two arms of 14 joints, with three 32-pixel cameras."""
    return _trained_for_a_step(tmp_path_factory.mktemp("aloha"), aloha_spec(32))


@pytest.fixture(scope="session")
def two_armed_policy(two_armed_checkpoint) -> FocusVLAPolicy:
    """The policy in `two_armed_checkpoint`."""
    return load_policy(two_armed_checkpoint)
