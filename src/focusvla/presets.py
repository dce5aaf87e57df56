"""Named experiments as functions; a variant changes a line or two of another."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from focusvla.config import (
    AdapterConfig,
    Augmentation,
    ExperimentConfig,
    LanguageConfig,
    ModelConfig,
    PictureConfig,
    PolicyHeadConfig,
    TrainingConfig,
    TransformerConfig,
    VisionConfig,
    WeightsConfig,
)
from focusvla.errors import require_known
from focusvla_client import Spec


def fitted(experiment: ExperimentConfig, spec: Spec, chunk_length: int | None = None) -> ExperimentConfig:
    """The same experiment for data of `spec`: as many cameras, state and action dimensions, and perhaps a longer chunk.

    Where each action step, or each number of each, has a query of its own, it keeps one. Who keeps all patches keeps all,
    who keeps some as many as before.
    """
    model = experiment.model
    steps = chunk_length or model.chunk_length
    queries = model.num_action_queries
    if model.policy_head.latent == "action_queries":
        queries = steps * len(spec.action)
    elif queries == model.chunk_length:
        queries = steps
    patches = model.num_policy_patches // model.num_cameras * len(spec.cameras)
    keeps_all = model.policy_head.num_kept_patches == model.num_policy_patches
    kept = patches if keeps_all else min(patches, model.policy_head.num_kept_patches)
    return dataclasses.replace(
        experiment,
        model=dataclasses.replace(
            model,
            policy_head=dataclasses.replace(model.policy_head, num_kept_patches=kept),
            num_cameras=len(spec.cameras),
            state_dim=len(spec.state),
            action_dim=len(spec.action),
            chunk_length=steps,
            num_action_queries=queries,
        ),
    )


def tiny() -> ExperimentConfig:
    """Random weights, seconds: for tests, documentation and CI."""
    return ExperimentConfig(
        model=ModelConfig(
            vision=VisionConfig(encoder="patches", image_size=32, patch_size=8),
            language=LanguageConfig(
                hidden_size=32,
                num_layers=2,
                num_heads=2,
                num_key_value_heads=2,
                intermediate_size=64,
                loop="fused",
            ),
            policy_head=PolicyHeadConfig(
                num_heads=2, num_kept_patches=16, feed_forward="mlp", normalize_streams=True, latent="learned"
            ),
            position_tables=True,
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
                hidden_size=128,
                num_layers=3,
                num_heads=4,
                num_key_value_heads=4,
                intermediate_size=256,
                loop="fused",
            ),
            policy_head=PolicyHeadConfig(
                num_heads=4, num_kept_patches=64, feed_forward="mlp", normalize_streams=True, latent="learned"
            ),
            position_tables=True,
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


def mini_mixed() -> ExperimentConfig:
    """`mini` with VLA-Adapter's policy: mixed attention with a gate on the scores, over all patches' states."""
    experiment = mini()
    return with_policy_head(
        experiment,
        attention="mixed",
        gate="scalar",
        values="vlm",
        num_kept_patches=experiment.model.num_patches,
    )


def paper() -> ExperimentConfig:
    """Table 3: Qwen2.5-0.5B, DINOv2-L and SigLIP-so400m with adapters of rank 64, and FocusVLA's policy.

    Trained as VLA-Adapter's script trains, whose hyperparameters the paper takes; `paper_recommended` departs from them.
    """
    return ExperimentConfig(
        model=ModelConfig(
            vision=VisionConfig(encoder="dinov2_siglip", image_size=224, patch_size=14),
            language=LanguageConfig(
                hidden_size=896,
                num_layers=24,
                num_heads=14,
                num_key_value_heads=2,
                intermediate_size=4864,
                tokenizer="qwen2.5",
                vocabulary_size=151_936,
                rope_theta=1e6,
            ),
            policy_head=PolicyHeadConfig(
                num_heads=8, num_kept_patches=256, positions="rotary", latent="training_noise"
            ),
            num_cameras=2,
            state_dim=8,
            action_dim=7,
            chunk_length=8,
            num_action_queries=64,
            projector="mlp",
            num_tokens_before_vision=1,
            adapters=AdapterConfig(rank=64),
            pictures=PictureConfig(center_crop_area=0.9),
        ),
        training=TrainingConfig(
            steps=100_000,
            batch_size=64,
            learning_rate=2e-4,
            betas=(0.9, 0.999),
            schedule="constant",
            warmup_steps=0,
            precision="bfloat16",
            weight_decay=0.01,
            weight_decay_on="all",
            max_gradient_norm=0.0,
            gripper_weight=0.5,
            ema_decay=0.0,
            last_frames="dropped",
            validation_share=0.0,
            state_limit=1.0,
            state_noise=0.0,
            augmentation=Augmentation(
                crop_area=0.9,
                crop_offsets="diagonal",
                brightness=0.2,
                contrast=0.2,
                saturation=0.2,
                hue=0.05,
                colors="successive",
            ),
            log_every=50,
            validate_every=5000,
            checkpoint_every=5000,
        ),
        weights=WeightsConfig(
            dinov2="facebook/dinov2-with-registers-large",
            siglip="google/siglip-so400m-patch14-224",
            language="Qwen/Qwen2.5-0.5B",
            prismatic="Stanford-ILIAD/prism-qwen25-extra-dinosiglip-224px-0_5b",
            vggt="facebook/VGGT-1B",
        ),
    )


def paper_recommended() -> ExperimentConfig:
    """`paper` trained as this project would: what is unlike VLA-Adapter's script, each with its reason, is in the docs'
    page on reproduction."""
    experiment = paper()
    training = dataclasses.replace(
        experiment.training,
        betas=(0.9, 0.95),
        schedule="cosine",
        warmup_steps=1000,
        weight_decay_on="matrices",
        max_gradient_norm=1.0,
        gripper_weight=1.0,
        last_frames="padded",
        validation_share=0.05,
        state_limit=1.5,
        augmentation=dataclasses.replace(experiment.training.augmentation, crop_offsets="independent"),
    )
    return dataclasses.replace(experiment, training=training)


def paper_recipe(steps: int, evaluate_every: int, chunk_length: int = 8) -> ExperimentConfig:
    """`paper` for so many steps, with a checkpoint to evaluate every so many."""
    experiment = paper()
    training = dataclasses.replace(
        experiment.training, steps=steps, checkpoint_every=evaluate_every, validate_every=evaluate_every
    )
    model = dataclasses.replace(experiment.model, chunk_length=chunk_length)
    return dataclasses.replace(experiment, model=model, training=training)


# Table 1's policies: one for all four suites, which is `paper`, or one for each; and Table 5's.
RECIPES: dict[str, Callable[[], ExperimentConfig]] = {
    "paper_libero": partial(paper_recipe, 100_000, 10_000),
    "paper_libero_spatial": partial(paper_recipe, 25_000, 5_000),
    "paper_libero_object": partial(paper_recipe, 10_000, 5_000),
    "paper_libero_goal": partial(paper_recipe, 50_000, 5_000),
    "paper_libero_10": partial(paper_recipe, 80_000, 5_000),
    "paper_robotwin_easy": partial(paper_recipe, 20_000, 10_000, 16),
    "paper_robotwin_hard": partial(paper_recipe, 100_000, 10_000, 16),
}
"""Batch 64 on any number of devices. The paper's 4 GPUs (RoboTwin: 8) are A100s."""


def paper_tiny() -> ExperimentConfig:
    """The classes of `paper` at toy widths, from random weights: for tests."""
    experiment = paper()
    transformer = TransformerConfig(hidden_size=16, num_layers=3, num_heads=2, intermediate_size=32)
    return ExperimentConfig(
        model=dataclasses.replace(
            experiment.model,
            vision=VisionConfig(
                encoder="dinov2_siglip",
                image_size=56,
                patch_size=14,
                dinov2=transformer,
                siglip=dataclasses.replace(transformer, hidden_size=24),
                vggt=dataclasses.replace(transformer, num_layers=2),
            ),
            language=LanguageConfig(
                hidden_size=32,
                num_layers=3,
                num_heads=4,
                num_key_value_heads=2,
                intermediate_size=48,
                rope_theta=1e6,
            ),
            policy_head=dataclasses.replace(experiment.model.policy_head, num_heads=4, num_kept_patches=16),
            num_action_queries=8,
            adapters=AdapterConfig(rank=4),
            pictures=PictureConfig(),
        ),
        training=dataclasses.replace(tiny().training, state_noise=0.0),
        weights=WeightsConfig(random_frozen=True),
    )


def with_policy_head(experiment: ExperimentConfig, **changes: object) -> ExperimentConfig:
    """`experiment` with other values in its policy head."""
    head = dataclasses.replace(experiment.model.policy_head, **changes)
    return dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, policy_head=head))


# Table 2, one change after the other: attention, number of patches, gate, values. Its last row is `paper`.


MIXED: dict[str, Any] = {"attention": "mixed", "streams": "separate", "positions": "none"}
"""VLA-Adapter's Pro layout, whose maps are those that Table 3 counts; its positions are its own, without the field."""


def paper_mixed() -> ExperimentConfig:
    """Table 2, attention: mixed, all 512 patches, no gate, the language model's states."""
    return with_policy_head(paper_cascaded(), **MIXED)


def paper_cascaded() -> ExperimentConfig:
    """Table 2, attention: cascaded, all 512 patches, no gate, the language model's states."""
    return with_policy_head(paper(), num_kept_patches=512, gate="none", values="vlm")


def paper_top_128() -> ExperimentConfig:
    """Table 2, patches: 128 kept."""
    return with_policy_head(paper_cascaded(), num_kept_patches=128)


def paper_top_256() -> ExperimentConfig:
    """Table 2, patches: 256 kept."""
    return with_policy_head(paper_cascaded(), num_kept_patches=256)


def paper_top_384() -> ExperimentConfig:
    """Table 2, patches: 384 kept."""
    return with_policy_head(paper_cascaded(), num_kept_patches=384)


def paper_gate_scalar() -> ExperimentConfig:
    """Table 2, gate: one parameter."""
    return with_policy_head(paper_top_256(), gate="scalar")


def paper_gate_head_wise() -> ExperimentConfig:
    """Table 2, gate: one per head."""
    return with_policy_head(paper_top_256(), gate="head_wise")


def paper_gate_element_wise() -> ExperimentConfig:
    """Table 2, gate: one per channel."""
    return with_policy_head(paper_top_256(), gate="element_wise")


def paper_values_ds() -> ExperimentConfig:
    """Table 2, values: DINOv2 and SigLIP as keys and values."""
    return with_policy_head(paper_gate_element_wise(), values="ds")


def paper_values_vggt() -> ExperimentConfig:
    """Table 2, values: VGGT as keys and values."""
    return with_policy_head(paper_gate_element_wise(), values="vggt")


STRUCTURES: dict[str, dict[str, Any]] = {
    "mixed": MIXED,
    "pooled": MIXED | {"pooling": "2x2", "num_kept_patches": 128},
    "gated": MIXED | {"gate": "scalar"},
    "cascaded": {},
}
"""Rows of Fig. 4: what bounds the visual tokens' influence."""
NAMED_STRUCTURES = {
    ("mixed", "vlm"): "paper_mixed",
    ("gated", "vlm"): "baseline_mixed_separate",
    ("cascaded", "vlm"): "paper_cascaded",
}
"""Cells of Fig. 4 that Table 2 or a baseline names already."""


def paper_structure(structure: str, values: str) -> ExperimentConfig:
    """One cell of Fig. 4: structure `mixed`, `pooled`, `gated` or `cascaded`, with values `ds`, `vlm` or `vggt`."""
    return with_policy_head(paper_cascaded(), **STRUCTURES[structure], values=values)


def baseline_mixed() -> ExperimentConfig:
    """VLA-Adapter's base policy on the same backbone: mixed attention with a gate on the scores."""
    return with_policy_head(paper_mixed(), gate="scalar", streams="shared")


def baseline_mixed_separate() -> ExperimentConfig:
    """VLA-Adapter's Pro policy: as its base, with maps of their own for each stream, and positions."""
    return with_policy_head(baseline_mixed(), streams="separate")


def baseline_mlp() -> ExperimentConfig:
    """OpenVLA-OFT's policy: two residual layers on the action queries' last states, which never see a patch."""
    experiment = paper()
    head = dataclasses.replace(
        experiment.model.policy_head,
        attention="mlp",
        num_layers=2,
        positions="none",
        latent="action_queries",
        num_kept_patches=512,
        gate="none",
        values="vlm",
    )
    model = dataclasses.replace(experiment.model, policy_head=head, num_action_queries=56)
    return dataclasses.replace(experiment, model=model)


PRESETS: dict[str, Callable[[], ExperimentConfig]] = (
    {
        function.__name__: function
        for function in (
            tiny,
            mini,
            mini_blind,
            mini_mixed,
            paper,
            paper_recommended,
            paper_tiny,
            paper_mixed,
            paper_cascaded,
            paper_top_128,
            paper_top_256,
            paper_top_384,
            paper_gate_scalar,
            paper_gate_head_wise,
            paper_gate_element_wise,
            paper_values_ds,
            paper_values_vggt,
            baseline_mixed,
            baseline_mixed_separate,
            baseline_mlp,
        )
    }
    | RECIPES
    | {
        f"paper_{structure}_{values}": partial(paper_structure, structure, values)
        for structure in STRUCTURES
        for values in ("ds", "vlm", "vggt")
        if (structure, values) not in NAMED_STRUCTURES
    }
)


def preset(name: str) -> ExperimentConfig:
    """The preset of that name.

    Raises:
        ConfigurationError: there is none; the nearest names are given.
    """
    require_known("preset", name, PRESETS)
    return PRESETS[name]()
