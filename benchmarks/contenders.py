"""A policy of random weights, and ways to run it that are timed against each other, from observation to actions."""

import copy
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from reference_path import ReferencePath

from focusvla.config import AdapterConfig, ExperimentConfig, InferenceConfig
from focusvla.data.memory import random_source
from focusvla.data.normalization import Statistics, state_normalizer
from focusvla.model.focusvla import FocusVLA
from focusvla.model.prompt import PromptTokenizer
from focusvla.model.vision_transformer import DinoSiglipEncoder
from focusvla.policy import FocusVLAPolicy
from focusvla.presets import fitted, preset
from focusvla.suites.libero import libero_spec
from focusvla_client import Camera, Observation, Spec

Act = Callable[[Sequence[Observation]], np.ndarray]
"""Chunks of actions in physical units, one for each observation."""

NUM_TOKENS = 50
"""Of a prompt, as those of LIBERO's tasks have."""
MODES = {
    "eager": InferenceConfig(graphs=False),
    "compiled": InferenceConfig(graphs=False, compiled=True),
    "graph": InferenceConfig(graphs=True),
    "compiled graph": InferenceConfig(graphs=True, compiled=True),
}
"""A prepared policy's, by name; `plain` is the policy as it is loaded, `reference` what VLA-Adapter executes."""


class RandomPrompt(PromptTokenizer):
    """Stands in for Qwen2.5's tokenizer, whose files are not the product's: as many ids, drawn by the instruction."""

    def __init__(self, vocabulary_size: int):
        self.vocabulary_size = vocabulary_size

    def encode(self, instructions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """As the tokenizer's."""
        rows = [
            np.random.default_rng(zlib.crc32(text.encode())).integers(0, self.vocabulary_size, NUM_TOKENS)
            for text in instructions
        ]
        ids = torch.from_numpy(np.stack(rows))
        return ids, torch.ones_like(ids, dtype=torch.bool)


def sized(name: str, cameras: int = 2, kept: int | None = None, chunk: int | None = None) -> ExperimentConfig:
    """The preset of that name with adapters merged, for so many cameras, kept patches and action steps."""
    experiment = preset(name)
    experiment = fitted(experiment, spec_of(experiment.model.vision.image_size, cameras), chunk)
    head = experiment.model.policy_head
    head = replace(head, num_kept_patches=kept or head.num_kept_patches)
    language = experiment.model.language
    if language.tokenizer == "words":
        language = replace(language, vocabulary=tuple(f"word{number}" for number in range(40)))
    model = replace(experiment.model, policy_head=head, language=language, adapters=AdapterConfig())
    return replace(experiment, model=model)


def spec_of(image_size: int, cameras: int) -> Spec:
    """LIBERO's conventions with so many cameras."""
    spec = libero_spec(image_size)
    views = tuple(Camera(f"view{number}", image_size, image_size) for number in range(cameras))
    return replace(spec, cameras=views)


def build(experiment: ExperimentConfig, device: torch.device) -> FocusVLAPolicy:
    """The policy, its weights drawn at random."""
    torch.manual_seed(0)
    with device:
        model = FocusVLA(experiment.model).requires_grad_(False)
    if experiment.model.language.tokenizer != "words":
        model.tokenizer = RandomPrompt(experiment.model.language.vocabulary_size)
    spec = spec_of(experiment.model.vision.image_size, experiment.model.num_cameras)
    return FocusVLAPolicy(model, spec, statistics_of(spec), experiment)


def statistics_of(spec: Spec) -> Statistics:
    """Of random episodes."""
    small = replace(spec, cameras=())
    return Statistics.from_source(random_source(small, (64,)))


def observe(policy: FocusVLAPolicy, rng: np.random.Generator) -> Observation:
    """Noise, and an instruction of the usual length."""
    return Observation(
        images={
            each.name: rng.integers(0, 256, (each.height, each.width, 3), np.uint8)
            for each in policy.spec.cameras
        },
        state=rng.uniform(-1, 1, len(policy.spec.state)).astype(np.float32),
        instruction=" ".join(f"word{number}" for number in range(10)),
    )


def in_precision(policy: FocusVLAPolicy, dtype: torch.dtype) -> FocusVLAPolicy:
    """The plain policy with its weights in `dtype`; angles of positions and statistics stay as they are."""
    for parameter in policy.model.parameters():
        parameter.data = parameter.data.to(dtype)
    for name, buffer in policy.model.named_buffers():
        if "latent" in name:
            buffer.data = buffer.data.to(dtype)
    return policy


def contender(policy: FocusVLAPolicy, mode: str) -> tuple[FocusVLAPolicy | None, Act]:
    """`policy` run as `mode` says: the prepared copy, if it is one, and what to call."""
    if mode == "plain":
        return None, policy.infer_batch
    if mode == "reference":
        return None, _reference(policy)
    precision = "bfloat16" if policy.dtype == torch.bfloat16 else "float32"
    prepared = copy.copy(policy)
    prepared.model = copy.deepcopy(policy.model)
    prepared.prepare(replace(MODES[mode], precision=precision))
    return prepared, prepared.infer_batch


def has_reference(policy: FocusVLAPolicy) -> bool:
    """Whether VLA-Adapter's way of running applies to it."""
    return isinstance(policy.model.vision_encoder, DinoSiglipEncoder)


def _reference(policy: FocusVLAPolicy) -> Act:
    path = ReferencePath(policy.model)
    normalize = state_normalizer(policy.statistics, policy.experiment.training.state_limit).normalize

    def act(observations: Sequence[Observation]) -> np.ndarray:
        (observation,) = observations
        views = [torch.from_numpy(observation.images[each.name]) for each in policy.spec.cameras]
        state = torch.from_numpy(normalize(observation.state))[None]
        return policy.unnormalized(path(torch.stack(views)[None], observation.instruction, state))

    return act
