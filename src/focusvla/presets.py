"""Named experiments as functions; a variant changes a line or two of another."""

import dataclasses
from collections.abc import Callable

from focusvla.config import (
    Augmentation,
    ExperimentConfig,
    LanguageConfig,
    ModelConfig,
    PolicyHeadConfig,
    TrainingConfig,
    VisionConfig,
)
from focusvla.errors import require_known


def tiny() -> ExperimentConfig:
    """Random weights, seconds: for tests, documentation and CI."""
    return ExperimentConfig(
        model=ModelConfig(
            vision=VisionConfig(encoder="patches", image_size=32, patch_size=8),
            language=LanguageConfig(
                hidden_size=32, num_layers=2, num_heads=2, num_key_value_heads=2, intermediate_size=64
            ),
            policy_head=PolicyHeadConfig(
                num_heads=2, num_kept_patches=16, feed_forward="mlp", normalize_streams=True, latent="learned"
            ),
            num_cameras=2,
            state_dim=8,
            action_dim=7,
            chunk_length=4,
            num_action_queries=4,
        ),
        training=TrainingConfig(
            steps=20,
            batch_size=4,
            warmup_steps=2,
            log_every=1,
            validate_every=10,
            checkpoint_every=10,
            augmented_copies=1,
            augmentation=Augmentation(shift_pixels=1),
        ),
    )


def mini() -> ExperimentConfig:
    """The paper's mechanism at a size that learns in minutes on two cores; downloads nothing."""
    return ExperimentConfig(
        model=ModelConfig(
            vision=VisionConfig(encoder="efficientnet_lite0", image_size=128, patch_size=16),
            language=LanguageConfig(
                hidden_size=128, num_layers=3, num_heads=4, num_key_value_heads=4, intermediate_size=256
            ),
            policy_head=PolicyHeadConfig(
                num_heads=4, num_kept_patches=64, feed_forward="mlp", normalize_streams=True, latent="learned"
            ),
            num_cameras=2,
            state_dim=8,
            action_dim=7,
            chunk_length=8,
            num_action_queries=8,
        ),
        training=TrainingConfig(steps=1200, batch_size=32, frame_stride=2, augmented_copies=0),
    )


def mini_blind() -> ExperimentConfig:
    """`mini` without eyes: the baseline that tells whether a score needs looking at all."""
    experiment = mini()
    blind = dataclasses.replace(experiment.model.vision, encoder="none")
    return dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, vision=blind))


PRESETS: dict[str, Callable[[], ExperimentConfig]] = {"tiny": tiny, "mini": mini, "mini_blind": mini_blind}


def preset(name: str) -> ExperimentConfig:
    """The preset of that name.

    Raises:
        ConfigurationError: there is none; the nearest names are given.
    """
    require_known("preset", name, PRESETS)
    return PRESETS[name]()
