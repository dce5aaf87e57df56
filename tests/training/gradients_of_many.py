"""Run by torchrun: what several processes compute together, each wrapper in turn; the main process saves it.

Usage: torchrun gradients_of_many.py OUTPUT PRESET BATCH_SIZE MICRO_BATCH_SIZE CHECKPOINTING PARALLELISM-PRECISION...
A precision is float32, bfloat16, or cuda for bfloat16 with what CUDA's autocast promotes in float32.
"""

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from focusvla.config import ExecutionConfig
from focusvla.data.loader import BatchLoader
from focusvla.data.memory import random_source
from focusvla.data.samples import build_samples
from focusvla.model.focusvla import FocusVLA
from focusvla.presets import preset
from focusvla.suites.libero import libero_spec
from focusvla.training.checkpoint import learning_parameters
from focusvla.training.engine import Engine, full
from focusvla.training.optimization import action_weights
from focusvla.training.promotion import PromotedAsOnCUDA
from focusvla.training.trainer import accumulate_gradients


def gradients(
    name: str, execution: ExecutionConfig, batch_size: int, folder: Path, precision: str = "float32"
) -> dict[str, torch.Tensor] | None:
    """Of the first batch, by parameter, with the loss as `loss`; None but in the main process."""
    experiment = preset(name)
    engine = Engine(execution, "float32" if precision == "float32" else "bfloat16", folder)
    torch.manual_seed(0)
    model = FocusVLA(experiment.model)
    with torch.no_grad():
        for parameter in learning_parameters(model).values():
            parameter.add_(
                0.02 * torch.randn_like(parameter)
            )  # adapters begin at 0, where no gradient passes
    size = experiment.model.vision.image_size
    source = random_source(libero_spec(size), (9, 7, 8))
    samples = build_samples(
        source,
        statistics=source.statistics(),
        state_limit=experiment.training.state_limit,
        chunk_length=experiment.model.chunk_length,
    )
    images = torch.randint(
        0, 256, (24, 2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    data = BatchLoader(samples, batch_size=batch_size, seed=0, tokenize=model.tokenize, images=images.numpy())
    module, passes = engine.prepare(model), engine.passes(batch_size)
    shares = range(engine.process * passes, (engine.process + 1) * passes)
    batches = data.batches(0, 1, shares, engine.num_processes * passes, prefetch=0)
    model.begin_step(0, 0)
    weights = action_weights(replace(experiment.training, gripper_weight=0.5), source.spec)
    with PromotedAsOnCUDA() if precision == "cuda" else nullcontext():
        loss, _ = accumulate_gradients(module, batches, passes, data.num_action_steps(0), engine, weights)
    found = {"loss": engine.sum(loss)}
    assert engine.num_processes == int(os.environ.get("WORLD_SIZE", 1))
    for key, parameter in learning_parameters(model).items():
        assert parameter.grad is not None, f"{key} has no gradient"
        found[key] = full(parameter.grad).clone()
    return found if engine.is_main else None


if __name__ == "__main__":
    output, name, batch_size, micro_batch_size, recomputes, *wrappers = sys.argv[1:]
    for wrapper in wrappers:
        parallelism, _, precision = wrapper.partition("-")
        execution = ExecutionConfig(
            parallelism=parallelism,  # type: ignore[arg-type]
            micro_batch_size=int(micro_batch_size),
            gradient_checkpointing=recomputes == "True",
            prefetched_batches=0,
        )
        found = gradients(name, execution, int(batch_size), Path(output), precision)
        if found is not None:
            save_file(found, Path(output) / f"{wrapper}.safetensors")
