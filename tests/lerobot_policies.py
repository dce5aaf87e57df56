# pyright: reportMissingImports=false
"""FocusVLA policies as LeRobot makes, saves and feeds them, for tests of the plugin.

LeRobot's pins are not those of `constraints.txt`, so it has an environment of its own, and is imported where it is used.
"""

import dataclasses
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from focusvla.checkpoint import write_checkpoint as save_checkpoint
from focusvla.config import ExperimentConfig
from focusvla.data.normalization import Quantiles, Statistics, StatisticsByPart
from focusvla.model.focusvla import FocusVLA
from focusvla.model.prompt import PromptTokenizer
from focusvla.suites.libero import libero_spec
from focusvla_client import Observation
from libero_harnesses import Episode
from written_datasets import gray_memory, store_images_in_tables, write_lerobot

PLUGIN = "lerobot_policy_focusvla"


def _has(*modules: str) -> bool:
    """Whether all are there, each the next one's parent."""
    return all(map(importlib.util.find_spec, modules))


NEEDS_LEROBOT = [
    pytest.mark.lerobot,
    pytest.mark.skipif(
        importlib.util.find_spec("lerobot") is None,
        reason="needs lerobot in an environment of its own: pip install lerobot packages/focusvla-client . pytest",
    ),
    # Warnings of the library and of what it pins are not ours to fix.
    pytest.mark.filterwarnings("default"),
]
NEEDS_DEPTH = [
    *NEEDS_LEROBOT,
    pytest.mark.skipif(
        not _has("lerobot", "lerobot.datasets", "lerobot.datasets.depth_utils"),
        reason="lerobot has depth cameras from 0.6 on",
    ),
]
NEEDS_PLUGIN = [
    pytest.mark.lerobot,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("lerobot", PLUGIN))),
        reason="needs lerobot in an environment of its own: "
        f"pip install 'lerobot[aloha]' packages/focusvla-client '.[mini]' packages/{PLUGIN} pytest",
    ),
    # Warnings of the library and of what it pins are not ours to fix.
    pytest.mark.filterwarnings("default"),
]

ARM = libero_spec(64)
ARM_LENGTHS = (12, 9, 7)
"""Of the episodes of `write_arm_data`."""
STATISTICS = Statistics(
    # One dimension of each never moves.
    action=Quantiles(q01=(-0.5,) * 5 + (0.25, -0.9), q99=(0.5,) * 5 + (0.25, 0.9)),
    state=Quantiles(q01=(-1.0,) * 7 + (0.5,), q99=(1.0,) * 7 + (0.5,)),
)
WORDS = "lift the red cup"


@contextmanager
def without_hub(cache: Path) -> Iterator[None]:
    """Nothing is fetched, and what LeRobot caches lies in `cache`; it has to be imported inside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(cache))
        yield


def write_arm_data(path: Path) -> Path:
    """A data set that focusvla wrote, its images unchanged by any codec."""
    source = gray_memory(ARM, ARM_LENGTHS)
    return store_images_in_tables(write_lerobot(path, source), source)


CAMERAS = {"image": "observation.images.image", "image2": "observation.images.image2"}
"""Ours, as LeRobot calls them."""


class Recorded(torch.nn.Module):
    """A policy of lerobot's that answers with recorded actions and keeps what it is shown."""

    def __init__(self, actions: np.ndarray):
        super().__init__()
        self._actions, self.played = actions, Episode()

    def reset(self) -> None:
        self.played = Episode()

    def select_action(self, observation: dict[str, Any]) -> torch.Tensor:
        played = self.played
        # float32 of 0 to 1, channels first
        pixels = {ours: observation[theirs][0] * 255 for ours, theirs in CAMERAS.items()}
        played.images.append({name: p.round().byte().permute(1, 2, 0).numpy() for name, p in pixels.items()})
        played.states.append(observation["observation.state"][0].numpy())
        return torch.from_numpy(self._actions[len(played.states) - 1])[None]


def metadata(dataset: Path):
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

    return LeRobotDatasetMetadata("focusvla/test", root=dataset)


def new_policy(dataset: Path, **values: Any):
    """Policy and processors as `lerobot-train` makes them."""
    from lerobot.policies.factory import make_policy, make_pre_post_processors

    from lerobot_policy_focusvla import FocusVLAConfig

    config = FocusVLAConfig(**{"preset": "tiny", "device": "cpu"} | values)
    policy = make_policy(config, ds_meta=metadata(dataset))
    return policy, *make_pre_post_processors(config, dataset_stats=metadata(dataset).stats)


def saved_policy(folder: Path):
    """Policy and processors as `lerobot-eval` loads them."""
    from lerobot.policies.factory import make_pre_post_processors

    from lerobot_policy_focusvla import FocusVLAPolicy

    policy = FocusVLAPolicy.from_pretrained(folder)
    return policy, *make_pre_post_processors(policy.config, str(folder))


def write_checkpoint(
    folder: Path, experiment: ExperimentConfig, tokenizer: PromptTokenizer | None = None
) -> Path:
    """A checkpoint of focusvla with random weights, adapters and feature statistics included."""
    torch.manual_seed(0)
    words = dataclasses.replace(experiment.model.language, vocabulary=tuple(sorted(WORDS.split())))
    if tokenizer is None:
        experiment = dataclasses.replace(
            experiment, model=dataclasses.replace(experiment.model, language=words)
        )
    model = FocusVLA(experiment.model)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    width = len(model.feature_mean)
    model.set_feature_statistics(torch.rand(width), 0.5 + torch.rand(width))
    save_checkpoint(
        folder,
        experiment=experiment,
        weights=model.state_dict(),
        tokenizer=tokenizer or model.tokenizer,
        spec=ARM,
        statistics=StatisticsByPart({"": STATISTICS}),
        origin="Written by a test.",
    )
    return folder


def random_observation(seed: int) -> Observation:
    rng = np.random.default_rng(seed)
    return Observation(
        images={camera.name: rng.integers(0, 256, (64, 64, 3), np.uint8) for camera in ARM.cameras},
        state=rng.normal(size=8).astype(np.float32),  # beyond the quantiles at times
        instruction=WORDS,
    )


def in_lerobot(observation: Observation) -> dict[str, Any]:
    """As lerobot's environments hand it over."""
    images = {
        f"observation.images.{name}": torch.from_numpy(image).permute(2, 0, 1).float() / 255
        for name, image in observation.images.items()
    }
    return images | {
        "observation.state": torch.from_numpy(observation.state),
        "task": observation.instruction,
    }


def chunk_of(loaded: tuple[Any, Any, Any], observation: Observation) -> np.ndarray:
    policy, before, after = loaded
    return after(policy.predict_action_chunk(before(in_lerobot(observation))))[0].numpy()
