"""How a model learns."""

from dataclasses import dataclass
from typing import Literal

from focusvla.config.checks import require as _require
from focusvla.config.model import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training pictures are varied: shifted, cropped, then changed in color. Zero turns a variation off."""

    shift_pixels: int = 0
    """Each camera's image is moved by up to this many pixels in x and in y, its border repeated."""
    crop_area: float = 1.0
    """Share of each image's area, at a random place, that is stretched to the whole size; 1 for all of it. The policy
    then sees the middle of that area: `pictures.center_crop_area` has to be the same."""
    crop_offsets: Literal["independent", "diagonal"] = "independent"
    """Whether the crop's places in x and in y are drawn one by one, or once for both, so that crops lie on the
    diagonal."""
    brightness: float = 0.0
    """Added value is drawn from -brightness to +brightness, in units of the full range."""
    contrast: float = 0.0
    """Factor around the image's mean is drawn from 1 - contrast to 1 + contrast."""
    saturation: float = 0.0
    """Factor on the distance from gray is drawn from 1 - saturation to 1 + saturation."""
    hue: float = 0.0
    """Turn of the color circle is drawn from -hue to +hue, in turns."""
    colors: Literal["joint", "successive"] = "joint"
    """`joint`: brightness, contrast and saturation around each pixel's luma at once, clipped and rounded at the end.
    `successive`: one after the other in the order above, each clipped, saturation and hue in HSV, cut off to whole
    numbers at the end; a crop and a hue need it."""

    def __post_init__(self):
        for field in ("shift_pixels", "brightness", "contrast", "saturation"):
            _require(getattr(self, field) >= 0, f"augmentation.{field}", "0 or more", getattr(self, field))
        _require(0 < self.crop_area <= 1, "augmentation.crop_area", "0 < share <= 1", self.crop_area)
        _require(0 <= self.hue <= 0.5, "augmentation.hue", "0..0.5, of a turn", self.hue)
        _require(
            self.colors == "successive" or (self.crop_area == 1 and self.hue == 0),
            "augmentation.colors",
            f"successive with crop_area={self.crop_area:g} and hue={self.hue:g}",
            self.colors,
        )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model learns from a data set."""

    steps: int
    """Optimizer steps."""
    batch_size: int = 32
    """Samples of an optimizer step, over all processes and passes: the same on any number of devices."""
    learning_rate: float = 1e-3
    """Peak of the schedule."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's, of the running means of gradients and of their squares."""
    schedule: Literal["cosine", "multi_step", "constant"] = "cosine"
    """What follows the linear warm-up: half a cosine down to `final_learning_rate_share` of the peak; the peak times
    `decay_factor` once more from each of `decay_steps` on; or the peak."""
    warmup_steps: int = 100
    """Over which the learning rate rises to its peak; 0 begins at the peak."""
    final_learning_rate_share: float = 0.02
    """With `cosine`: what is left of the peak at the end."""
    decay_steps: tuple[int, ...] = ()
    """With `multi_step`: from which steps on the learning rate is lower."""
    decay_factor: float = 0.1
    """With `multi_step`: by which factor at each of them."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the computation and of weights that do not learn. Those that do, their moments and their average are
    float32."""
    weight_decay: float = 0.05
    """AdamW's, as a share of the learning rate."""
    weight_decay_on: Literal["matrices", "all"] = "matrices"
    """What decays: matrices alone, or norms, biases and gates as well."""
    max_gradient_norm: float = 1.0
    """Larger gradients are scaled down to it; 0 leaves all as they are."""
    gripper_weight: float = 1.0
    """Of a gripper that is commanded by -1 and +1, in the loss; other dimensions weigh 1. With 0.5 it weighs what
    targets of 0 and 1 would. Validation errors are not weighted."""
    ema_decay: float = 0.99
    """Of the exponential moving average of weights that a checkpoint holds; 0 keeps the plain weights."""
    seed: int = 0
    """Of the first weights, the order of samples and augmentation."""
    frame_stride: int = 1
    """Every which frame is a training sample, at least; rounded up to the data set's steps per picture. Actions are
    used at full rate."""
    last_frames: Literal["padded", "dropped"] = "padded"
    """Whether an episode's last frames, from which it has fewer actions than a chunk, are samples with a shorter chunk,
    or none. With `dropped`, an episode shorter than a chunk is left out."""
    frame_format: Literal["raw", "jpeg"] = "raw"
    """How the cache keeps the pictures of an encoder that learns: as they are, or as JPEG files of quality 95, which take
    about a sixth of the space and lose a little."""
    validation_share: float = 0.05
    """Share of whole episodes held out; 0 trains on all of them, and no validation loss is measured."""
    state_limit: float = 1.5
    """Normalized proprioception is clipped here, by the trained policy as well; 1 is the 1 % or 99 % quantile."""
    state_noise: float = 0.02
    """Standard deviation of the noise on normalized proprioception."""
    augmented_copies: int = 2
    """For a frozen encoder: how many augmented copies of each frame are encoded beside the original."""
    augmentation: Augmentation = Augmentation(shift_pixels=6, brightness=0.05, contrast=0.15, saturation=0.1)
    """How pictures are varied."""
    log_every: int = 10
    """Steps between lines of metrics."""
    validate_every: int = 200
    """Steps between validations on the episodes that are held out."""
    checkpoint_every: int = 200
    """Steps between checkpoints; the last step always makes one."""

    def __post_init__(self):
        for field in ("steps", "batch_size", "learning_rate", "frame_stride", "log_every", "validate_every"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        _require(self.checkpoint_every > 0, "checkpoint_every", "a positive number", self.checkpoint_every)
        for field in ("warmup_steps", "weight_decay", "max_gradient_norm", "state_noise", "augmented_copies"):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))
        _require(
            all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers of 0 <= beta < 1", self.betas
        )
        _require(self.gripper_weight > 0, "gripper_weight", "a positive number", self.gripper_weight)
        _require(self.state_limit > 0, "state_limit", "a positive number", self.state_limit)
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
    """`auto` is an accelerator if there is one."""
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
    """A DINOv2-L/14 with registers."""
    siglip: str = ""
    """A SigLIP-so400m/14."""
    language: str = ""
    """A Qwen2.5 with its tokenizer."""
    prismatic: str = ""
    """A Prismatic vision-language model, read after the others: projector and language model, perhaps encoders. A Hub
    repository or folder with one `checkpoints/step-*.pt`, or such a file."""
    vggt: str = ""
    """A VGGT-1B, which `policy_head.values="vggt"` needs."""
    checkpoint: str = ""
    """A checkpoint of the same model to go on from on other data: its folder, or an installed one's name. Words that it
    does not know are new to it; of its encoder more or less may learn than before, and it may be told more or less of
    the state. What it standardizes features with stays, and ranges are the new data's. It holds all weights, so that no
    others are read."""
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
    """What is trained."""
    training: TrainingConfig
    """How, as far as the weights depend on it."""
    weights: WeightsConfig = WeightsConfig()
    """Published weights that it starts from."""
    execution: ExecutionConfig = ExecutionConfig()
    """On what it runs, which changes no weight but by rounding."""

    def __post_init__(self):
        trained, acting = self.training.augmentation.crop_area, self.model.pictures.center_crop_area
        _require(
            trained in (1, acting),
            "model.pictures.center_crop_area",
            f"{trained:g}, the training's augmentation.crop_area (--model.pictures.center-crop-area {trained:g}, or "
            f"--augmentation.crop-area {acting:g})",
            acting,
        )
        _require(
            self.model.normalization == "exact" or self.training.gripper_weight == 1,
            "gripper_weight",
            f"1 where the gripper's targets are 0 and 1 (model.normalization={self.model.normalization!r})",
            self.training.gripper_weight,
        )
