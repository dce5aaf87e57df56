"""A policy that knows nothing, for tests of what happens around it."""

import dataclasses
from pathlib import Path

import pytest

from focusvla.data.memory import random_source
from focusvla.presets import fitted, preset
from focusvla.simulation.aloha import aloha_spec
from focusvla.training.trainer import train


@pytest.fixture(scope="session")
def blind_checkpoint(tmp_path_factory) -> Path:
    """A `tiny` policy for two arms, without eyes, so that an episode costs no drawing."""
    folder = tmp_path_factory.mktemp("blind")
    source = random_source(aloha_spec(32), (12, 12))
    experiment = fitted(preset("tiny"), source.spec)
    blind = dataclasses.replace(experiment.model.vision, encoder="none")
    head = dataclasses.replace(experiment.model.policy_head, num_kept_patches=3)
    experiment = dataclasses.replace(
        experiment,
        model=dataclasses.replace(experiment.model, vision=blind, policy_head=head),
        training=dataclasses.replace(experiment.training, steps=2),
    )
    return train(experiment, source, folder / "run", cache_folder=folder / "cache")
