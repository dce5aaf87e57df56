"""What changes weights: parameter groups, the learning rate's schedule, the moving average."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from focusvla.config import TrainingConfig
from focusvla.data.normalization import untouched_dimensions
from focusvla.training.engine import local
from focusvla_client import Spec


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters."""
    groups = parameter_groups(model, config)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def parameter_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """The trainable parameters as an optimizer takes them: matrices, then everything else, with what each decays by."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    of_others = config.weight_decay if config.weight_decay_on == "all" else 0.0
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": of_others},
    ]


def action_weights(config: TrainingConfig, spec: Spec) -> Float[Tensor, " action"]:
    """How much the error of each action dimension counts in the loss: `gripper_weight` for those of -1 and +1, else 1."""
    weights = torch.ones(len(spec.action))
    weights[list(untouched_dimensions(spec))] = config.gripper_weight
    return weights


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Of step `step`, counted from 0: linear warm-up, then the schedule, which counts from step 0 as well.

    With a peak of 1, 2 warm-up steps, 6 steps and a final share of 0: 0.5, 0.93, 0.75, 0.5, 0.25, 0.07.
    """
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.schedule == "cosine":
        floor = config.final_learning_rate_share
        share = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    else:  # a constant one never decays
        share = config.decay_factor ** sum(step >= decay for decay in config.decay_steps)
    return config.learning_rate * warmup * share


class WeightAverage:
    """Exponential moving average of a model's parameters, with less memory while it has seen few steps.

    A decay of 0 is the parameters themselves, and takes no memory.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float):
        self._decay = decay
        self._parameters = [local(parameter) for parameter in parameters] if decay else []
        self.values = [parameter.clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 0."""
        decay = min(self._decay, (step + 1) / (step + 10))
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and the average; called twice it changes nothing."""
        for value, parameter in zip(self.values, self._parameters, strict=True):
            kept = parameter.clone()
            parameter.copy_(value)
            value.copy_(kept)
