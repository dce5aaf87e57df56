"""Every configuration value and nothing else. Imports no torch, so that `focusvla --help` answers at once.

Sources: the paper's Table 3 and equations 6 to 11; where a reading of the paper is a choice, it is a field
here.
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
    """The policy that attends from the action latent to the language model's states. One layer per language
    layer."""

    num_heads: int
    attention: Literal["cascaded"] = "cascaded"
    """`cascaded`: a softmax of its own for each modality (equation 6)."""
    cascade: Literal["parallel", "sequential"] = "parallel"
    """Whether all three attentions share the latent's query, or each output is the next one's query."""
    num_kept_patches: int
    """K of equation 9; the number of patches means no selection."""
    selection: Literal["per_query", "shared"] = "per_query"
    """Whether each head and action step keeps its own K patches, or a layer ranks them once by summed
    score."""
    gate: Literal["none", "scalar", "head_wise", "element_wise"] = "element_wise"
    """The gate on the vision attention's output (equation 11)."""
    values: Literal["vlm", "ds", "vlm_ds"] = "vlm_ds"
    """Vision keys and values: language-model states, raw encoder features, or keys from one and values from
    the other."""
    feed_forward: Literal["linear", "mlp"] = "linear"
    """`linear`: LayerNorm, Linear, ReLU as in VLA-Adapter; `mlp`: a pre-norm residual network of 4 times the
    width."""
    normalize_streams: bool = False
    """Whether each stream passes a LayerNorm before its projections, which training from random weights
    needs."""
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


@dataclass(frozen=True, kw_only=True)
class DemonstrationConfig:
    """What scripted experts record. Starts are fresh resets, never the benchmark's own init states."""

    suite: str = "libero_object"
    """Name of a LIBERO suite with scripted experts."""
    tasks: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Numbers of the tasks in the suite."""
    episodes_per_task: int = 50
    """Successful episodes to keep."""
    seed: int = 0
    """All randomness of attempt n at a task is a function of this seed, the task and n."""
    displacement_meters: float = 0.08
    """The target is moved by up to this much along x and y each."""
    undisplaced_share: float = 0.0
    """Share of the attempts whose target stays where the reset leaves it."""
    arm_displacement_meters: float = 0.08
    """In two of three attempts the arm begins up to this far from its home."""
    noise: float = 0.2
    """Greatest standard deviation of the Ornstein-Uhlenbeck noise on executed actions, in units of full
    command; each attempt draws 0, half or all of it. Recorded actions are the expert's own."""
    max_steps: int = 280
    """Control steps after which an attempt has failed."""
    image_size: int = 256
    """Side of the recorded images in pixels."""
    mesh_cell_meters: float = 0.0
    """Draw meshes simplified to this detail, 0 for the benchmark's own; 0.004 is twice as fast, at 1/255 a
    pixel."""
    steps_per_picture: int = 1
    """Control steps between drawn pictures. The frames between repeat the last one, as those of a camera do that is
    slower than control; the data set says so, and training takes the drawn ones."""
    workers: int = 0
    """Recording processes; 0 means one per core."""

    def __post_init__(self):
        _require(len(self.tasks) > 0, "tasks", "at least one task number", self.tasks)
        _require(len(set(self.tasks)) == len(self.tasks), "tasks", "each task once", self.tasks)
        for field in ("episodes_per_task", "max_steps", "image_size", "steps_per_picture"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        _require(
            0 <= self.undisplaced_share <= 1, "undisplaced_share", "0 <= share <= 1", self.undisplaced_share
        )
        for field in (
            "displacement_meters",
            "arm_displacement_meters",
            "noise",
            "mesh_cell_meters",
            "workers",
        ):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training inputs are varied; zero turns a variation off."""

    shift_pixels: int = 0
    """Each camera's image is moved by up to this many pixels in x and in y, its border repeated."""
    brightness: float = 0.0
    """Added value is drawn from -brightness to +brightness, in units of the full range."""
    contrast: float = 0.0
    """Factor around the image's mean is drawn from 1 - contrast to 1 + contrast."""
    saturation: float = 0.0
    """Factor around each pixel's gray value is drawn from 1 - saturation to 1 + saturation."""

    def __post_init__(self):
        for field in ("shift_pixels", "brightness", "contrast", "saturation"):
            _require(getattr(self, field) >= 0, f"augmentation.{field}", "0 or more", getattr(self, field))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model learns from a data set."""

    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    """Peak of the schedule: linear warm-up, then cosine to `final_learning_rate_share` of it."""
    warmup_steps: int = 100
    final_learning_rate_share: float = 0.02
    weight_decay: float = 0.05
    """Applied to matrices only, never to norms, biases and gates."""
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.99
    """Of the exponential moving average of weights that a checkpoint holds; 0 keeps the plain weights."""
    seed: int = 0
    frame_stride: int = 1
    """Every which frame is a training sample, at least; rounded up to the data set's steps per picture. Actions are
    used at full rate."""
    validation_share: float = 0.05
    """Share of whole episodes held out."""
    state_noise: float = 0.02
    """Standard deviation of the noise on normalized proprioception."""
    augmented_copies: int = 2
    """For a frozen encoder: how many augmented copies of each frame are encoded beside the original."""
    augmentation: Augmentation = Augmentation(shift_pixels=6, brightness=0.05, contrast=0.15, saturation=0.1)
    log_every: int = 10
    """Steps between lines of metrics."""
    validate_every: int = 200
    checkpoint_every: int = 200
    """Steps between checkpoints; the last step always makes one."""
    threads: int = 0
    """Threads of the CPU to use; 0 leaves the choice to torch."""

    def __post_init__(self):
        for field in ("steps", "batch_size", "learning_rate", "frame_stride", "log_every", "validate_every"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        _require(self.checkpoint_every > 0, "checkpoint_every", "a positive number", self.checkpoint_every)
        for field in ("warmup_steps", "weight_decay", "state_noise", "augmented_copies", "threads"):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))
        _require(0 <= self.ema_decay < 1, "ema_decay", "0 <= decay < 1", self.ema_decay)
        _require(0 <= self.validation_share < 1, "validation_share", "0 <= share < 1", self.validation_share)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """A model and how it is trained: what a preset is."""

    model: ModelConfig
    training: TrainingConfig


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Which episodes a policy is evaluated on."""

    suite: str = "libero_object"
    """Name of a LIBERO suite."""
    tasks: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Numbers of the tasks in the suite."""
    protocol: str = "libero_openvla"
    """`libero_openvla` (the published one) or `libero_wide` (targets displaced by up to 8 cm)."""
    trials: int = 0
    """Episodes per task, from init state 0 on; 0 means the protocol's number."""
    actions_per_inference: int = 8
    """Actions of each chunk that are carried out before the policy is asked again."""
    videos: bool = True
    """Whether to draw, per task, the first success and the first failure."""
    video_size: int = 128
    """Side in pixels of each camera's picture in a video."""
    workers: int = 0
    """Simulating processes; 0 means one per core."""

    def __post_init__(self):
        _require(len(self.tasks) > 0, "tasks", "at least one task number", self.tasks)
        for field in ("actions_per_inference", "video_size"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        for field in ("trials", "workers"):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))
