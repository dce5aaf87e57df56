"""How a model learns."""

from dataclasses import dataclass
from typing import Literal

from focusvla.config.checks import require as _require
from focusvla.config.model import ModelConfig


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
    """Samples of an optimizer step, over all processes and passes: the same on any number of devices."""
    learning_rate: float = 1e-3
    """Peak of the schedule."""
    schedule: Literal["cosine", "multi_step", "constant"] = "cosine"
    """What follows the linear warm-up: half a cosine down to `final_learning_rate_share` of the peak; the peak times
    `decay_factor` once more from each of `decay_steps` on; or the peak."""
    warmup_steps: int = 100
    final_learning_rate_share: float = 0.02
    decay_steps: tuple[int, ...] = ()
    decay_factor: float = 0.1
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the computation and of weights that do not learn. Those that do, their moments and their average are
    float32."""
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

    def __post_init__(self):
        for field in ("steps", "batch_size", "learning_rate", "frame_stride", "log_every", "validate_every"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        _require(self.checkpoint_every > 0, "checkpoint_every", "a positive number", self.checkpoint_every)
        for field in ("warmup_steps", "weight_decay", "state_noise", "augmented_copies"):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))
        _require(
            (self.schedule == "multi_step") == bool(self.decay_steps),
            "decay_steps",
            "steps with schedule='multi_step', and none with another",
            self.decay_steps,
        )
        _require(0 < self.decay_factor <= 1, "decay_factor", "0 < factor <= 1", self.decay_factor)
        _require(0 <= self.ema_decay < 1, "ema_decay", "0 <= decay < 1", self.ema_decay)
        _require(0 <= self.validation_share < 1, "validation_share", "0 <= share < 1", self.validation_share)


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """On what a training runs. Results are the same up to rounding, so a run may go on with other values."""

    micro_batch_size: int = 0
    """Samples that one device computes at once, at most; a step takes as many passes as its batch needs. 0: in one."""
    parallelism: Literal["ddp", "fsdp2"] = "ddp"
    """With several processes: each holds all weights, or a share of weights, gradients and moments."""
    gradient_checkpointing: bool = False
    """Compute the layers' states a second time for the gradient instead of keeping them: a third more time."""
    compiled: bool = False
    """Whether torch.compile fuses what each layer does: some minutes before the first step for less time of each. The
    language model of `mini`, whose loop is written out, is left as it is."""
    device: Literal["auto", "cpu"] = "auto"
    threads: int = 0
    """Threads of the CPU to use; 0 leaves the choice to torch."""
    prefetched_batches: int = 2
    """Batches that are prepared while the device computes; 0 prepares each when it is needed."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints stay, beside the best one; 0 keeps all."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where metrics go beside `metrics.jsonl`; each is an extra of that name."""

    def __post_init__(self):
        for field in ("micro_batch_size", "threads", "prefetched_batches", "keep_checkpoints"):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """What the pretrained parts start from: Hub repositories, folders or files; empty means random."""

    dinov2: str = ""
    siglip: str = ""
    language: str = ""
    """A Qwen2.5 with its tokenizer."""
    prismatic: str = ""
    """A Prismatic vision-language model, read after the others: projector and language model, perhaps encoders. A Hub
    repository or folder with one `checkpoints/step-*.pt`, or such a file."""
    vggt: str = ""
    random_frozen: bool = False
    """Whether layers that nothing was loaded into and that do not learn may stay as they were drawn: for tests of small
    sizes. Otherwise they are refused."""

    def __post_init__(self):
        given = [bool(self.dinov2), bool(self.siglip), bool(self.language)]
        _require(
            all(given) or not any(given),
            "weights",
            "dinov2, siglip and language together",
            (self.dinov2, self.siglip),
        )


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """A model and how it is trained: what a preset is."""

    model: ModelConfig
    training: TrainingConfig
    weights: WeightsConfig = WeightsConfig()
    execution: ExecutionConfig = ExecutionConfig()
