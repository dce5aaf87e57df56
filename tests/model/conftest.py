"""A model small enough to build in every test."""

from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import torch

from focusvla.config import LanguageConfig, ModelConfig, PolicyHeadConfig, VisionConfig
from focusvla.model.focusvla import FocusVLA
from focusvla.types import ModelInputs

WORDS = ("bowl", "cup", "lift", "push", "the")


@pytest.fixture
def tiny_config() -> ModelConfig:
    """Two cameras of four patches, two layers, three of eight patches kept."""
    return ModelConfig(
        vision=VisionConfig(encoder="patches", image_size=16, patch_size=8),
        language=LanguageConfig(
            hidden_size=16,
            num_layers=2,
            num_heads=4,
            num_key_value_heads=2,
            intermediate_size=24,
            vocabulary=WORDS,
            loop="fused",
        ),
        policy_head=PolicyHeadConfig(
            num_heads=4, num_kept_patches=3, latent="learned", normalize_streams=True
        ),
        position_tables=True,
        num_cameras=2,
        state_dim=3,
        action_dim=4,
        chunk_length=5,
        num_action_queries=2,
    )


@pytest.fixture
def build() -> Callable[[ModelConfig], FocusVLA]:
    def build_seeded(config: ModelConfig) -> FocusVLA:
        torch.manual_seed(0)
        return FocusVLA(config)

    return build_seeded


@pytest.fixture
def make_inputs() -> Callable[..., ModelInputs]:
    def make(model: FocusVLA, *instructions: str) -> ModelInputs:
        generator = torch.Generator().manual_seed(1)
        config = model.config
        batch, size = len(instructions), config.vision.image_size
        token_ids, token_mask = model.tokenize(instructions)
        shape = (batch, config.num_cameras, size, size, 3)
        return ModelInputs(
            images=torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
            features=None,
            token_ids=token_ids,
            token_mask=token_mask,
            state=torch.randn(batch, config.state_dim, generator=generator),
        )

    return make


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """For tests that hand over what the annotations forbid."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
