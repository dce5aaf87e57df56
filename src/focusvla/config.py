"""Every configuration value and nothing else. Imports no torch, so that `focusvla --help` answers at once.

Sources: the paper's Table 3 and equations 6 to 11; where a reading of the paper is a choice, it is a field here.
"""

from dataclasses import dataclass
from typing import Literal

from focusvla.errors import ConfigurationError


def _require(condition: bool, field: str, expected: str, got: object) -> None:
    if not condition:
        raise ConfigurationError(f"{field}: expected {expected}, got {got!r}.")


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The encoder that turns images into patch features."""

    encoder: Literal["none", "patches", "efficientnet_lite0"]
    """`none` sees nothing (the vision-blind baseline), `patches` is one random-weight convolution for tests,
    `efficientnet_lite0` has ImageNet weights from a package (extra `mini`)."""
    image_size: int
    """Side in pixels to which images are resized."""
    patch_size: int = 16
    """Side of a patch in pixels; an image has (image_size / patch_size)^2 of them."""
    trainable: bool = False
    """Whether the encoder learns; if not, its features are computed once before training."""

    def __post_init__(self):
        _require(self.image_size > 0, "vision.image_size", "a positive number of pixels", self.image_size)
        _require(
            self.patch_size > 0 and self.image_size % self.patch_size == 0,
            "vision.patch_size",
            f"a divisor of image_size={self.image_size}",
            self.patch_size,
        )

    @property
    def patches_per_camera(self) -> int:
        """Visual tokens of one camera."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """A Qwen2 body: the language model that reads vision tokens, instruction and action queries."""

    hidden_size: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    intermediate_size: int
    """Width of the gated feed-forward network."""
    vocabulary: tuple[str, ...] = ()
    """The words it knows, filled from the training data's instructions."""

    def __post_init__(self):
        _require(
            self.hidden_size % self.num_heads == 0,
            "language.num_heads",
            f"a divisor of hidden_size={self.hidden_size}",
            self.num_heads,
        )
        _require(
            self.num_heads % self.num_key_value_heads == 0,
            "language.num_key_value_heads",
            f"a divisor of num_heads={self.num_heads}",
            self.num_key_value_heads,
        )


@dataclass(frozen=True, kw_only=True)
class PolicyHeadConfig:
    """The policy that attends from the action latent to the language model's states. One layer per language layer."""

    num_heads: int
    attention: Literal["cascaded"] = "cascaded"
    """`cascaded`: a softmax of its own for each modality (equation 6)."""
    cascade: Literal["parallel", "sequential"] = "parallel"
    """Whether all three attentions share the latent's query, or each output is the next one's query."""
    num_kept_patches: int
    """K of equation 9; the number of patches means no selection."""
    selection: Literal["per_query", "shared"] = "per_query"
    """Whether each head and action step keeps its own K patches, or a layer ranks them once by summed score."""
    gate: Literal["none", "scalar", "head_wise", "element_wise"] = "element_wise"
    """The gate on the vision attention's output (equation 11)."""
    values: Literal["vlm", "ds", "vlm_ds"] = "vlm_ds"
    """Vision keys and values: language-model states, raw encoder features, or keys from one and values from the other."""
    feed_forward: Literal["linear", "mlp"] = "linear"
    """`linear`: LayerNorm, Linear, ReLU as in VLA-Adapter; `mlp`: a pre-norm residual network of 4 times the width."""
    normalize_streams: bool = False
    """Whether each stream passes a LayerNorm before its projections, which training from random weights needs."""
    latent: Literal["zeros", "learned"] = "zeros"
    """The first layer's input: VLA-Adapter's constant, or one learned row per action step."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole model."""

    vision: VisionConfig
    language: LanguageConfig
    policy_head: PolicyHeadConfig
    num_cameras: int
    state_dim: int
    """Proprioception dimensions."""
    action_dim: int
    chunk_length: int
    """Actions predicted at once."""
    num_action_queries: int

    def __post_init__(self):
        _require(
            self.language.hidden_size % self.policy_head.num_heads == 0,
            "policy_head.num_heads",
            f"a divisor of language.hidden_size={self.language.hidden_size}",
            self.policy_head.num_heads,
        )
        for field in ("num_cameras", "state_dim", "action_dim", "chunk_length", "num_action_queries"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        if self.vision.encoder != "none":
            _require(
                1 <= self.policy_head.num_kept_patches <= self.num_patches,
                "policy_head.num_kept_patches",
                f"1..{self.num_patches} ({self.num_cameras} camera(s) of {self.vision.patches_per_camera} patches)",
                self.policy_head.num_kept_patches,
            )

    @property
    def num_patches(self) -> int:
        """Visual tokens of all cameras; a vision-blind model has one empty token per camera."""
        return self.num_cameras * (1 if self.vision.encoder == "none" else self.vision.patches_per_camera)
