"""How far the averaged weights' actions are from held-out demonstrations."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from focusvla.data.loader import BatchLoader
from focusvla.model.focusvla import absolute_errors
from focusvla.training.engine import Engine
from focusvla.training.optimization import WeightAverage


@dataclass(frozen=True)
class ValidationErrors:
    """Sums over all samples, in normalized units."""

    errors: Float[Tensor, "chunk action"]
    """Sum of absolute errors."""
    steps: Float[Tensor, " chunk"]
    """How many samples have an action at that step of the chunk, within their episode."""

    def metrics(self, action_names: tuple[str, ...]) -> dict[str, Any]:
        """Mean absolute error: of all, of each action dimension, and of each step of the chunk."""
        width = self.errors.shape[1]
        by_dimension = self.errors.sum(0) / self.steps.sum()
        by_step = self.errors.sum(1) / (self.steps * width).clamp(min=1)
        return {
            "validation_loss": (self.errors.sum() / (self.steps.sum() * width)).item(),
            "validation_l1_by_dimension": dict(zip(action_names, by_dimension.tolist(), strict=True)),
            "validation_l1_by_chunk_step": by_step.tolist(),
        }


@torch.no_grad()
def validate(
    module: nn.Module, average: WeightAverage, data: BatchLoader, batch_size: int, engine: Engine
) -> ValidationErrors:
    """Compare predictions with demonstrations on all samples of `data`, of which each process takes a part.

    Nothing is compiled for it: without gradients, and for a last batch of another size, all layers would be once more.
    """
    average.swap()
    module.eval()
    exact = torch.float32 if engine.device.type == "mps" else torch.float64  # which MPS lacks
    errors = steps = torch.zeros((), dtype=exact, device=engine.device)
    try:
        for batch in data.every_sample(batch_size, (engine.process, engine.num_processes)):
            with engine.autocast(), torch.compiler.set_stance("force_eager"):
                predicted = module(batch.inputs)
            errors = errors + absolute_errors(predicted, batch.actions, batch.action_mask).sum(0)
            steps = steps + batch.action_mask.sum(0)
    finally:
        module.train()
        average.swap()
    return ValidationErrors(engine.sum(errors), engine.sum(steps))
