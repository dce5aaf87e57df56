"""Policies that know nothing, for tests of what happens around them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from reach.suite import reach_spec

from focusvla.config import ExperimentConfig
from focusvla.data.memory import MemorySource, random_source
from focusvla.data.mixture import MixturePart, MixtureSource
from focusvla.presets import fitted, preset
from focusvla.suites.libero import libero_spec
from focusvla.training.trainer import train


def _blind(experiment: ExperimentConfig) -> ExperimentConfig:
    """Two steps of `experiment` without eyes, so that an episode costs no drawing."""
    blind = dataclasses.replace(experiment.model.vision, encoder="none")
    head = dataclasses.replace(experiment.model.policy_head, num_kept_patches=3)
    return dataclasses.replace(
        experiment,
        model=dataclasses.replace(experiment.model, vision=blind, policy_head=head),
        training=dataclasses.replace(experiment.training, steps=2),
    )


@pytest.fixture(scope="session")
def blind_checkpoint(tmp_path_factory) -> Path:
    """A `tiny` policy for the small world of `tests/reach`."""
    folder = tmp_path_factory.mktemp("blind")
    source = random_source(reach_spec(32), (12, 12))
    experiment = _blind(fitted(preset("tiny"), source.spec))
    return train(experiment, source, folder / "run", cache_folder=folder / "cache")


@pytest.fixture(scope="session")
def two_suites() -> MixtureSource:
    """Recordings in two suites of LIBERO, of which the second's arm is elsewhere and moves a twentieth as far."""
    near = random_source(libero_spec(32), (12, 9))
    slow = [
        dataclasses.replace(
            near.episode(i), state=near.episode(i).state + 5, action=near.episode(i).action / 20
        )
        for i in range(2)
    ]
    pictures = [{c.name: np.stack(list(near.frames(i, c.name))) for c in near.spec.cameras} for i in range(2)]
    return MixtureSource(
        [
            MixturePart(name="libero_object", source=near),
            MixturePart(name="libero_goal_no_noops", source=MemorySource(near.spec, slow, pictures)),
        ]
    )


@pytest.fixture(scope="session")
def checkpoint_of_two_suites(tmp_path_factory, two_suites) -> Path:
    """A `tiny` policy of that mixture."""
    folder = tmp_path_factory.mktemp("mixture")
    return train(_blind(preset("tiny")), two_suites, folder / "run", cache_folder=folder / "cache")
