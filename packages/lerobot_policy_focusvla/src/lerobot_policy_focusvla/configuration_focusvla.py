"""What LeRobot's command line sets of FocusVLA, and what its checkpoints remember.

Notable: LeRobot does not say what the numbers of an action mean, so a policy carries a `Spec`. It comes from a data set
that focusvla wrote, or must be given.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast, get_args, get_type_hints

import draccus
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode
from lerobot.optim.optimizers import AdamWConfig
from lerobot.optim.schedulers import LRSchedulerConfig
from lerobot.utils.constants import ACTION, OBS_STATE
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from focusvla.config import (
    ExperimentConfig,
    PolicyHeadConfig,
    TrainingConfig,
    WeightsConfig,
    config_from_dict,
)
from focusvla.data.formats.lerobot_layout import camera_key
from focusvla.data.formats.opening import read_spec
from focusvla.data.normalization import Statistics
from focusvla.errors import ConfigurationError, require_known
from focusvla.presets import fitted, preset
from focusvla.training.optimization import learning_rate
from focusvla.training.trainer import with_vocabulary
from focusvla_client import Spec


def _decode_spec(value: Any, path: Iterable[str]) -> Spec | None:
    return read_spec(value) if isinstance(value, str) else value and Spec.from_dict(value)


def _decode_experiment(value: Any, path: Iterable[str]) -> ExperimentConfig | None:
    return value and config_from_dict(ExperimentConfig, value)


draccus.decode.register(Spec | None, _decode_spec)
draccus.decode.register(ExperimentConfig | None, _decode_experiment)


@PreTrainedConfig.register_subclass("focusvla")
@dataclass
class FocusVLAConfig(PreTrainedConfig):
    """A preset of focusvla and the values that differ from it; None leaves a value as it is."""

    preset: str = "mini"
    """Of `focusvla.presets`; a trained policy keeps its own `experiment` instead."""
    spec: Spec | None = None
    """The data's conventions: a name (`libero`, `aloha:128`) or a JSON file; needed where the data set has no
    meta/spec.json."""
    chunk_size: int | None = None
    """Actions predicted at once."""
    n_action_steps: int | None = None
    """How many of them are played before the next look; None plays all."""
    num_kept_patches: int | None = None
    """K of the paper's equation 9."""
    attention: str | None = None
    """`cascaded`, `mixed` or `mlp`."""
    gate: str | None = None
    """`none`, `scalar`, `head_wise` or `element_wise`."""
    values: str | None = None
    """`vlm`, `ds`, `vlm_ds` or `vggt`."""
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    """Where pretrained parts come from, instead of the preset's Hub repositories."""
    optimizer_lr: float | None = None
    optimizer_weight_decay: float | None = None
    scheduler_warmup_steps: int | None = None
    state_noise: float | None = None
    """Standard deviation of the noise on normalized states in training."""
    experiment: ExperimentConfig | None = None
    """What the policy is, model and training; set when it is first made."""
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)
    )
    """LeRobot's own normalization does nothing: focusvla's has a step of its own, see `processor_focusvla`."""

    statistics_of_all_steps = cast(
        "Statistics | None", None
    )  # no field of the dataclass: not for config.json
    """Of the data set that a new policy was made for: set on its own configuration and saved with its processors."""

    @property
    def training(self) -> TrainingConfig:
        """How the policy learns, as far as LeRobot's training asks; pictures are varied by LeRobot's own transforms."""
        given = _given(
            learning_rate=self.optimizer_lr,
            weight_decay=self.optimizer_weight_decay,
            warmup_steps=self.scheduler_warmup_steps,
            state_noise=self.state_noise,
        )
        if self.experiment is None:  # what is trained here sees no crops
            given["augmentation"] = dataclasses.replace(self._base.training.augmentation, crop_area=1.0)
        return dataclasses.replace(self._base.training, **given)

    @property
    def chunk_length(self) -> int:
        """Actions predicted at once."""
        return self.chunk_size or self._base.model.chunk_length

    @property
    def observation_delta_indices(self) -> None:
        """Observations are those of the moment."""
        return None

    @property
    def action_delta_indices(self) -> list[int]:
        """Actions from the moment on."""
        return list(range(self.chunk_length))

    @property
    def reward_delta_indices(self) -> None:
        """Rewards are not used."""
        return None

    def get_optimizer_preset(self) -> AdamWConfig:
        """AdamW as focusvla's own training has it."""
        training = self.training
        return AdamWConfig(
            lr=training.learning_rate,
            betas=training.betas,
            weight_decay=training.weight_decay,
            grad_clip_norm=training.max_gradient_norm,
        )

    def get_scheduler_preset(self) -> "FocusVLASchedulerConfig":
        """The learning rate's course in focusvla's own training, over LeRobot's number of steps."""
        training = self.training
        return FocusVLASchedulerConfig(
            num_warmup_steps=training.warmup_steps,
            schedule=training.schedule,
            final_learning_rate_share=training.final_learning_rate_share,
            decay_steps=list(training.decay_steps),
            decay_factor=training.decay_factor,
        )

    def fit(self, spec: Spec, instructions: Iterable[str] | None = None) -> None:
        """Decide what the policy is: sizes from the data's `spec`, words from its instructions; without any, it keeps its
        words.

        Raises:
            ConfigurationError: a value that is set here does not fit.
        """
        sized = fitted(self._base, spec, self.chunk_size)
        choices = _given(attention=self.attention, gate=self.gate, values=self.values)
        for name, choice in choices.items():
            require_known(f"policy.{name}", choice, get_args(get_type_hints(PolicyHeadConfig)[name]))
        choices |= _given(num_kept_patches=self.num_kept_patches)
        head = dataclasses.replace(sized.model.policy_head, **choices)
        pictures = sized.model.pictures
        if self.experiment is None:
            pictures = dataclasses.replace(pictures, center_crop_area=1.0)
        chosen = dataclasses.replace(
            sized,
            model=dataclasses.replace(sized.model, policy_head=head, pictures=pictures),
            training=self.training,
            weights=sized.weights if self.weights == WeightsConfig() else self.weights,
        )
        self.spec = spec
        self.experiment = chosen if instructions is None else with_vocabulary(chosen, instructions)

    def required(self) -> tuple[Spec, ExperimentConfig]:
        """What `fit` has set, or a checkpoint.

        Raises:
            ConfigurationError: neither has.
        """
        if self.spec is None or self.experiment is None:
            raise ConfigurationError(
                "policy: expected one that was trained, or a data set to train on, got neither. "
                "Name a trained one with --policy.path."
            )
        return self.spec, self.experiment

    def validate_features(self) -> None:
        """Raise unless LeRobot's features are those of the spec, and the other values can be used.

        Raises:
            ConfigurationError: naming the feature or value, what was expected and what came.
        """
        spec, _ = self.required()
        inputs: dict[str, tuple[int, ...]] = {
            camera_key(camera): (3, camera.height, camera.width) for camera in spec.cameras
        }
        inputs[OBS_STATE] = (len(spec.state),)
        for expected, features in (
            (inputs, self.input_features),
            ({ACTION: (len(spec.action),)}, self.output_features),
        ):
            for name, shape in expected.items():
                got = tuple(features[name].shape) if features and name in features else None
                if got != shape:
                    raise ConfigurationError(
                        f"{name}: expected a feature of shape {shape} as in the policy's spec, got "
                        f"{got or ', '.join(features or ()) or 'none'}. Use data or an environment of the same robot; "
                        "--rename_map changes names."
                    )
        others = {name: mode for name, mode in self.normalization_mapping.items() if mode.name != "IDENTITY"}
        if others:
            raise ConfigurationError(
                f"policy.normalization_mapping: expected IDENTITY, since focusvla normalizes in a step of its own, got "
                f"{others}. Leave it out."
            )
        if self.n_obs_steps != 1:
            raise ConfigurationError(
                f"policy.n_obs_steps: expected 1, since FocusVLA sees the moment alone, got {self.n_obs_steps}."
            )
        if self.n_action_steps is not None and not 1 <= self.n_action_steps <= self.chunk_length:
            raise ConfigurationError(
                f"policy.n_action_steps: expected 1 to {self.chunk_length}, a chunk's length, got {self.n_action_steps}."
            )

    @property
    def _base(self) -> ExperimentConfig:
        return self.experiment or preset(self.preset)


@LRSchedulerConfig.register_subclass("focusvla")
@dataclass
class FocusVLASchedulerConfig(LRSchedulerConfig):
    """`focusvla.training.optimization.learning_rate` as LeRobot schedules it; fields as in `TrainingConfig`."""

    num_warmup_steps: int
    schedule: str
    final_learning_rate_share: float
    decay_steps: list[int]
    decay_factor: float

    def build(self, optimizer: Optimizer, num_training_steps: int) -> LambdaLR:
        """Factors of the optimizer's learning rate."""
        config = TrainingConfig(
            steps=num_training_steps,
            learning_rate=1.0,
            schedule=self.schedule,  # pyright: ignore[reportArgumentType] - draccus knows no Literal
            warmup_steps=self.num_warmup_steps,
            final_learning_rate_share=self.final_learning_rate_share,
            decay_steps=tuple(self.decay_steps),
            decay_factor=self.decay_factor,
        )
        return LambdaLR(optimizer, lambda step: learning_rate(config, step))


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}
