"""What a model is made of.

Sources: the paper's Table 3 and equations 6 to 11; where a reading of the paper is a choice, it is a field here.
"""

from dataclasses import dataclass, replace
from typing import Literal

from focusvla.config.checks import require as _require
from focusvla.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of a vision transformer."""

    hidden_size: int
    """Width of a token."""
    num_layers: int
    """Of the published network."""
    num_heads: int
    """Of its attention; a divisor of the width."""
    intermediate_size: int
    """Width of the feed-forward network."""


DINOV2_LARGE = TransformerConfig(hidden_size=1024, num_layers=24, num_heads=16, intermediate_size=4096)
"""DINOv2-L/14 with 4 registers."""
SIGLIP_SO400M = TransformerConfig(hidden_size=1152, num_layers=27, num_heads=16, intermediate_size=4304)
"""The vision tower of SigLIP-so400m/14."""
VGGT_1B = TransformerConfig(hidden_size=1024, num_layers=24, num_heads=16, intermediate_size=4096)
"""VGGT-1B's aggregator: as many layers within frames as across them, behind an encoder of the same sizes."""


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The encoder that turns images into patch features."""

    encoder: Literal["none", "patches", "efficientnet_lite0", "dinov2_siglip"]
    """`none` sees nothing (the vision-blind baseline), `patches` is one random-weight convolution for tests,
    `efficientnet_lite0` begins with ImageNet weights of a package (extra `mini`), `dinov2_siglip` is the paper's pair."""
    image_size: int
    """Side in pixels to which images are resized."""
    patch_size: int = 16
    """Side of a patch in pixels; an image has (image_size / patch_size)^2 of them. `efficientnet_lite0` has multiples of
    16, and a patch of 32 holds all that four of 16 do."""
    trainable: bool = False
    """Whether the encoder learns; if not, and without adapters, its features are computed once before training."""
    frozen_blocks: int = 0
    """With a `trainable` `efficientnet_lite0`: how many of its 11 blocks do not learn, from the pictures on, with the
    stem. The first 3, at a half and a quarter of the size, take a third of a step's time."""
    dinov2: TransformerConfig = DINOV2_LARGE
    """Of `dinov2_siglip`. The features are those after the second-to-last layer; the last one is not built."""
    siglip: TransformerConfig = SIGLIP_SO400M
    """Of `dinov2_siglip`, likewise."""
    vggt: TransformerConfig = VGGT_1B
    """Of the second encoder that `policy_head.values="vggt"` asks for."""

    def __post_init__(self):
        _require(self.image_size > 0, "vision.image_size", "a positive number of pixels", self.image_size)
        _require(
            self.patch_size > 0 and self.image_size % self.patch_size == 0,
            "vision.patch_size",
            f"a divisor of image_size={self.image_size}",
            self.patch_size,
        )
        _require(
            self.frozen_blocks == 0
            or (self.trainable and self.encoder == "efficientnet_lite0" and 0 < self.frozen_blocks < 11),
            "vision.frozen_blocks",
            "0, or 1 to 10 with trainable=True and encoder='efficientnet_lite0'",
            self.frozen_blocks,
        )

    @property
    def patches_per_camera(self) -> int:
        """Visual tokens of one camera."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """A Qwen2 body: the language model that reads vision tokens, instruction and action queries."""

    hidden_size: int
    """Width of a token's state, and of the policy."""
    num_layers: int
    """Of the language model, and of the policy, whose layers read one each."""
    num_heads: int
    """Of queries; a divisor of the width."""
    num_key_value_heads: int
    """Which groups of query heads share; a divisor of their number."""
    intermediate_size: int
    """Width of the gated feed-forward network."""
    tokenizer: Literal["words", "qwen2.5"] = "words"
    """`words`: the training data's own; `qwen2.5`: the published one, with the prompt that VLA-Adapter trained on."""
    vocabulary: tuple[str, ...] = ()
    """With `words`: those it knows, filled from the training data's instructions."""
    vocabulary_size: int = 0
    """With `qwen2.5`: rows of the embedding."""
    rope_theta: float = 10_000.0
    """Base of the rotary positions' wavelengths."""
    loop: Literal["transformers", "fused"] = "transformers"
    """Who runs the layers: transformers, or our loop, which is faster at small widths on a CPU and knows no
    adapters."""

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
    """The policy that attends from the action latent to the language model's states. One layer per language
    layer."""

    num_heads: int
    """Of each attention; a divisor of the language model's width."""
    attention: Literal["cascaded", "mixed", "mlp"] = "cascaded"
    """`cascaded`: a softmax of its own for each modality (equation 6); `mixed`: one for all (VLA-Adapter); `mlp`: no
    attention, the action queries' last states alone (OpenVLA-OFT)."""
    num_layers: int = 0
    """With `mlp`: how many layers; 0 means one per layer of the language model, as the others have."""
    streams: Literal["shared", "separate"] = "shared"
    """With `mixed`: one key and one value map for all tokens, without positions (VLA-Adapter's base), or one each per
    modality, with positions (its Pro)."""
    position_precision: Literal["computed", "bfloat16"] = "computed"
    """Of the angles of these positions: that of the computation, or bfloat16 in any, for weights trained in it: from
    position 256 on it cannot tell neighbors apart."""
    cascade: Literal["parallel", "sequential", "sequential_residual"] = "parallel"
    """With `cascaded`: whether all three attentions share the latent's query, each output is the next one's query, or
    each output is added to what asked for it, and the sum asks next."""
    positions: Literal["none", "rotary"] = "none"
    """With `cascaded`: whether queries and keys are turned by their place, each stream counting from 0, for which every
    patch must be projected. `mixed` has VLA-Adapter's own positions with `streams="separate"`."""
    pooling: Literal["none", "2x2"] = "none"
    """Whether the policy sees the mean of each 2 x 2 patches instead of the patches (Fig. 4 b)."""
    num_kept_patches: int
    """K of equation 9; the number of patches means no selection, which is all that `mixed` and `mlp` can."""
    selection: Literal["per_query", "shared", "action_queries", "random"] = "per_query"
    """Whether each head and action step keeps its own K patches, or a layer ranks them once: by their scores summed over
    heads and steps, or by the attention that the action queries would pay them. `random` is the control: each head and
    step has K patches of its own that were drawn once for all."""
    gate: Literal["none", "scalar", "head_wise", "element_wise"] = "element_wise"
    """The gate on the vision attention's output (equation 11)."""
    initial_gate: float = 0.0
    """With `scalar`: what the gate multiplies by before training, between -1 and 1. At VLA-Adapter's 0 a cascaded layer
    sees nothing, and its vision values learn nothing, until the gate has moved."""
    values: Literal["vlm", "ds", "vlm_ds", "vggt"] = "vlm_ds"
    """Vision keys and values: language-model states, raw encoder features, keys from one and values from the other, or
    features of VGGT."""
    feed_forward: Literal["linear", "mlp"] = "linear"
    """`linear`: LayerNorm, Linear, ReLU as in VLA-Adapter; `mlp`: a pre-norm residual network of 4 times the
    width."""
    normalize_streams: bool = False
    """Whether each stream passes a LayerNorm before its projections, which training from random weights
    needs."""
    latent: Literal["zeros", "training_noise", "noise", "learned", "action_queries"] = "zeros"
    """The first layer's input: zeros, equal for all action steps; zeros to which each training step adds another draw
    of noise, alike for all samples (VLA-Adapter); one draw of noise, kept; one learned row for each action step; or,
    with `mlp`, the action queries' last states, `action_dim` of them for each."""

    def __post_init__(self):
        if self.attention == "mixed":
            _require(
                self.gate in ("none", "scalar"), "policy_head.gate", "none or scalar with mixed", self.gate
            )
            _require(self.cascade == "parallel", "policy_head.cascade", "parallel with mixed", self.cascade)
        _require(
            self.attention == "cascaded" or self.positions == "none",
            "policy_head.positions",
            f"none with {self.attention}",
            self.positions,
        )
        _require(
            self.latent != "training_noise" or self.attention == "mixed" or self.positions == "rotary",
            "policy_head.latent",
            "another than training_noise with cascaded and positions='none': without noise all action steps of a chunk "
            "would be the same. Set positions='rotary', or choose another latent",
            self.latent,
        )
        _require(-1 < self.initial_gate < 1, "policy_head.initial_gate", "-1 < gate < 1", self.initial_gate)
        _require(
            self.gate == "scalar" or self.initial_gate == 0,
            "policy_head.initial_gate",
            f"0 with gate={self.gate!r}",
            self.initial_gate,
        )
        if self.attention != "mixed":
            _require(
                self.streams == "shared", "policy_head.streams", "separate only with mixed", self.streams
            )
        _require(
            (self.attention == "mlp") == (self.latent == "action_queries"),
            "policy_head.latent",
            "action_queries with mlp, and with nothing else",
            self.latent,
        )
        _require(self.num_layers >= 0, "policy_head.num_layers", "0 or more", self.num_layers)
        _require(
            self.num_layers == 0 or self.attention == "mlp",
            "policy_head.num_layers",
            f"0 with {self.attention}, whose layers read one layer of the language model each",
            self.num_layers,
        )


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Low-rank adapters (LoRA) on every linear layer of the encoders, the projector and the language model."""

    rank: int = 0
    """0 means none: all of the language model learns, and the encoder if it is `trainable`."""
    scale: float = 2.0
    """Factor of the adapters' product: alpha / rank."""

    def __post_init__(self):
        _require(self.rank >= 0, "adapters.rank", "0 or more", self.rank)


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """What becomes of a camera's picture before the encoder, when the policy acts: what its training pictures had gone
    through. Steps that do nothing are left out."""

    jpeg_quality: int = 0
    """JPEG compression before resizing, for policies trained on stored JPEG pictures (RLDS: 95); 0 for none."""
    center_crop_area: float = 1.0
    """Share of the picture's area, in its middle, that is stretched to the whole size after resizing, for policies
    trained on random crops of that area; 1 for all of it."""

    def __post_init__(self):
        _require(
            0 <= self.jpeg_quality <= 100,
            "pictures.jpeg_quality",
            "0 for none, or 1..100",
            self.jpeg_quality,
        )
        _require(
            0 < self.center_crop_area <= 1,
            "pictures.center_crop_area",
            "0 < share <= 1",
            self.center_crop_area,
        )

    def __str__(self) -> str:
        """Such as `jpeg95-crop0.9`; empty without any step."""
        jpeg = f"jpeg{self.jpeg_quality}" if self.jpeg_quality else ""
        crop = f"crop{self.center_crop_area}" if self.center_crop_area != 1 else ""
        return "-".join(filter(None, (jpeg, crop)))


AS_SHOWN = PictureConfig()
"""No steps: pictures are only resized."""


@dataclass(frozen=True, kw_only=True)
class GivenPictures:
    """Picture steps that are asked for beside a checkpoint, see `PictureConfig`; None leaves one to the checkpoint."""

    jpeg_quality: int | None = None
    """JPEG compression before resizing, 1..100 or 0 for none, of a policy whose checkpoint says nothing of it."""
    center_crop_area: float | None = None
    """Share of the picture's area that is kept, 1 for all of it, of a policy whose checkpoint says nothing of it: 0.9
    after training on random crops of 0.9."""

    def over(self, stored: PictureConfig, *, is_stated: bool = True) -> PictureConfig:
        """`stored` with what is given in place of steps that it lacks or, unless it `is_stated`, of any.

        Raises:
            ConfigurationError: a step is given and stored with another value.
        """
        chosen = {name: value for name, value in vars(self).items() if value is not None}
        for name, value in chosen.items():
            held = getattr(stored, name)
            if is_stated and held not in (value, getattr(AS_SHOWN, name)):
                raise ConfigurationError(
                    f"pictures.{name}={value:g}: expected the checkpoint's own {held:g}, with which it was trained, or "
                    "none. Leave it out."
                )
        return replace(stored, **chosen)


AS_STORED = GivenPictures()
"""Picture steps as the checkpoint has them."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole model."""

    vision: VisionConfig
    """The encoders of the pictures."""
    language: LanguageConfig
    """What reads patches, instruction and action queries."""
    policy_head: PolicyHeadConfig
    """What turns its states into actions."""
    num_cameras: int
    """Pictures of an observation."""
    state_dim: int
    """Proprioception dimensions."""
    action_dim: int
    """Numbers of an action."""
    chunk_length: int
    """Actions predicted at once."""
    num_action_queries: int
    """Learned tokens behind the instruction, whose states the policy reads."""
    projector: Literal["linear", "mlp"] = "linear"
    """From the encoder's features to the language model's width: one map, or three with GELU between (Table 3)."""
    position_tables: bool = False
    """Whether learned positions are added to the patches, for encoders whose features hold none."""
    num_tokens_before_vision: int = 0
    """How many of the prompt's tokens come before the patches; the others follow them."""
    alignment: Literal["exact", "vla_adapter"] = "exact"
    """`vla_adapter`: read all states one position too early, as the system does whose weights were trained so: its
    first patch is the token before the patches, its last action query is never read."""
    adapters: AdapterConfig = AdapterConfig()
    """Low-rank changes to weights that stay as they are published."""
    pictures: PictureConfig = AS_SHOWN
    """What becomes of them before the encoder, when the policy acts."""
    ignored_state_dims: tuple[int, ...] = ()
    """Which proprioception dimensions, counted from 0, the model is not told. A small policy that is told how far the
    fingers are open takes that for the reason to keep them so, and never closes them (docs/how-to/train.md)."""
    normalization: Literal["exact", "vla_adapter"] = "exact"
    """Between physical units and the model's. `vla_adapter`: ranges are wider by 1e-8, states are clipped at 1, and a
    gripper that opens at -1 is 1 open and 0 closed to the model, whose answer is rounded to either command."""

    def __post_init__(self):
        _require(
            self.language.hidden_size % self.policy_head.num_heads == 0,
            "policy_head.num_heads",
            f"a divisor of language.hidden_size={self.language.hidden_size}",
            self.policy_head.num_heads,
        )
        for field in ("num_cameras", "state_dim", "action_dim", "chunk_length", "num_action_queries"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        _require(
            len(set(self.ignored_state_dims)) == len(self.ignored_state_dims)
            and all(0 <= each < self.state_dim for each in self.ignored_state_dims),
            "ignored_state_dims",
            f"different numbers of 0..{self.state_dim - 1}",
            self.ignored_state_dims,
        )
        head = self.policy_head
        if head.positions == "rotary" or head.streams == "separate":
            head_width = self.language.hidden_size // head.num_heads
            _require(
                head_width % 2 == 0,
                "policy_head.num_heads",
                f"heads of an even width, since positions turn channels in pairs (width {self.language.hidden_size})",
                head.num_heads,
            )
        if self.vision.encoder != "none":
            shown = f"{self.num_cameras} camera(s) of {self.num_policy_patches // self.num_cameras} patches"
            _require(
                1 <= head.num_kept_patches <= self.num_policy_patches,
                "policy_head.num_kept_patches",
                f"1..{self.num_policy_patches} ({shown})",
                head.num_kept_patches,
            )
            _require(
                head.attention == "cascaded" or head.num_kept_patches == self.num_policy_patches,
                "policy_head.num_kept_patches",
                f"all {self.num_policy_patches} with attention={head.attention!r}",
                head.num_kept_patches,
            )
        if head.pooling == "2x2":
            side = self.vision.image_size // self.vision.patch_size
            _require(side % 2 == 0, "policy_head.pooling", f"none with {side} patches a side", head.pooling)
        _require(
            head.latent != "action_queries" or self.num_action_queries == self.chunk_length * self.action_dim,
            "num_action_queries",
            f"chunk_length * action_dim = {self.chunk_length * self.action_dim} with latent='action_queries'",
            self.num_action_queries,
        )
        _require(
            self.alignment == "exact" or self.num_tokens_before_vision > 0,
            "alignment",
            "exact where no token comes before the patches",
            self.alignment,
        )
        _require(
            self.num_tokens_before_vision >= 0,
            "num_tokens_before_vision",
            "0 or more",
            self.num_tokens_before_vision,
        )
        _require(
            self.adapters.rank == 0 or self.language.loop == "transformers",
            "language.loop",
            "transformers with adapters",
            self.language.loop,
        )

    @property
    def num_patches(self) -> int:
        """Visual tokens of all cameras; a vision-blind model has one empty token per camera."""
        return self.num_cameras * (1 if self.vision.encoder == "none" else self.vision.patches_per_camera)

    @property
    def needs_images(self) -> bool:
        """Whether training must see images, because what is behind them learns or is not precomputed."""
        return self.vision.trainable or self.adapters.rank > 0 or self.policy_head.values == "vggt"

    @property
    def num_policy_patches(self) -> int:
        """Visual tokens that the policy sees, after pooling."""
        return self.num_patches // 4 if self.policy_head.pooling == "2x2" else self.num_patches
