"""How long a training step takes, and how much of the machine it uses.

Steps are the trainer's own: batches from the loader (random pictures or features, LIBERO's conventions), passes,
clipping, AdamW and the weights' average, each preset in a process of its own, from random weights. Between steps a
matrix product is timed in the same precision; the fastest is what the machine can do at best. The operations of a step
are counted as `focusvla describe` does, without those of recomputation.

    python benchmarks/training.py [--presets mini paper] [--batch-size N] [--micro-batch-size N] [--precision bfloat16]
                                  [--gradient-checkpointing] [--compiled] [--memory-gb N] [--device auto] [--steps 10]
                                  [--quick]

A JSON line per preset: `step_seconds` (median), `samples_per_second`, `share_of_matrix_peak`, `matrix_teraflops`,
`floor_seconds` (the step's operations at that peak), `data_wait_share`, `warm_up_seconds` of the first steps, which
compile, `peak_memory_gb` (the accelerator's, or the process's) and `planned_memory_gb`, of which `reserved_gb` are for
what is not allocated by torch. On a GPU passes are as many as its free memory needs, as in training.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import device_name, matrix_flop_per_second, peak_memory, rounded, synchronize
from torch import Tensor

from focusvla.config import ExperimentConfig
from focusvla.data.loader import BatchLoader
from focusvla.data.memory import random_source
from focusvla.data.samples import build_samples
from focusvla.model.accounting import count_parts
from focusvla.model.focusvla import FocusVLA
from focusvla.presets import fitted, preset
from focusvla.suites.libero import libero_spec
from focusvla.training.checkpoint import learning_parameters
from focusvla.training.engine import Engine
from focusvla.training.memory import GB, fit_memory, plan_memory
from focusvla.training.optimization import WeightAverage, action_weights, build_optimizer
from focusvla.training.trainer import accumulate_gradients
from focusvla.versions import versions

NUM_TOKENS = 50
WARM_UP_STEPS = 2


def main() -> None:
    """Time each preset and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", help="`mini` and `paper` if not given")
    parser.add_argument("--batch-size", type=int, help="the preset's if not given")
    parser.add_argument("--micro-batch-size", type=int, default=0)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="the preset's if not given")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--memory-gb", type=float, help="choose passes and recomputation that fit")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument(
        "--quick", action="store_true", help="two steps of batch 2, of `mini` if no preset is given"
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.presets = arguments.presets or (["mini"] if arguments.quick else ["mini", "paper"])
    if arguments.quick:
        arguments.steps, arguments.batch_size = 2, 2
    if arguments.alone:
        print(json.dumps(measure(chosen(arguments.presets[0], arguments), arguments.steps)), flush=True)
        return
    for name in arguments.presets:  # in a process of its own, so that peaks of memory are its own
        command = [sys.executable, __file__, *sys.argv[1:], "--alone", "--presets", name]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if run.returncode:  # it has said why
            sys.exit(run.returncode)
        figures = json.loads(run.stdout.splitlines()[-1])
        print(json.dumps({"preset": name, **figures}), flush=True)


def chosen(name: str, arguments: argparse.Namespace) -> ExperimentConfig:
    """The preset with what the command line changes."""
    experiment = preset(name)
    training = replace(
        experiment.training,
        batch_size=arguments.batch_size or experiment.training.batch_size,
        precision=arguments.precision or experiment.training.precision,
    )
    execution = replace(
        experiment.execution,
        micro_batch_size=arguments.micro_batch_size,
        gradient_checkpointing=arguments.gradient_checkpointing,
        compiled=arguments.compiled,
        device=arguments.device,
    )
    experiment = replace(experiment, training=training, execution=execution)
    experiment = fitted(experiment, libero_spec(experiment.model.vision.image_size))
    return fit_memory(experiment, arguments.memory_gb * GB) if arguments.memory_gb else experiment


def measure(experiment: ExperimentConfig, steps: int) -> dict[str, Any]:
    """Train for some steps and time them."""
    config = experiment.training
    dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(experiment.execution, config.precision, Path(folder))
    experiment = engine.fit(experiment)
    plan = plan_memory(experiment)
    say(str(plan))
    torch.manual_seed(0)
    with engine.device:  # where `paper` takes a second to draw, and a CPU half a minute
        model = FocusVLA(experiment.model)
    data = random_loader(experiment, model, engine.device)
    module, passes = engine.prepare(model), engine.passes(config.batch_size)
    average = WeightAverage(learning_parameters(model).values(), config.ema_decay)
    optimizer = build_optimizer(model, config)
    weights = action_weights(config, libero_spec(8)).to(engine.device)
    batches = data.batches(
        0, WARM_UP_STEPS + steps, range(passes), passes, experiment.execution.prefetched_batches
    )
    seconds, waits, peaks = [], [], []
    started = time.perf_counter()
    warmed = started
    for step in range(WARM_UP_STEPS + steps):
        synchronize(engine.device)
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss, waited = accumulate_gradients(
            module, batches, passes, data.num_action_steps(step), engine, weights
        )
        engine.clip(model, config.max_gradient_norm)
        loss.item()
        optimizer.step()
        average.update(step)
        synchronize(engine.device)
        took = time.perf_counter() - began
        say(f"step {step + 1}: {took:.3g} s")
        if step >= WARM_UP_STEPS:
            seconds.append(took)
            waits.append(waited)
        else:
            warmed = time.perf_counter()
        peaks.append(matrix_flop_per_second(engine.device, dtype))
    flop = config.batch_size * sum(
        part.training_flop
        for part in count_parts(experiment.model, NUM_TOKENS)
        if experiment.model.needs_images or part.name != "vision encoder"
    )
    median, peak = statistics.median(seconds), max(peaks)
    return {
        "batch_size": config.batch_size,
        "passes": passes,
        "precision": config.precision,
        "gradient_checkpointing": experiment.execution.gradient_checkpointing,
        "compiled": experiment.execution.compiled,
        "step_seconds": rounded(median),
        "fastest_step_seconds": rounded(min(seconds)),
        "samples_per_second": rounded(config.batch_size / median),
        "share_of_matrix_peak": rounded(flop / median / peak),
        "matrix_teraflops": rounded(peak / 1e12),
        "floor_seconds": rounded(flop / peak),
        "warm_up_seconds": rounded(warmed - started),
        "data_wait_share": rounded(sum(waits) / sum(seconds)),
        "peak_memory_gb": rounded(peak_memory(engine.device) / GB),
        "planned_memory_gb": rounded(plan.total / GB),
        "reserved_gb": rounded(plan.reserve / GB),
        "device": device_name(engine.device),
        "versions": versions(),
    }


def say(text: str) -> None:
    """What a measurement that is stopped leaves."""
    print(text, file=sys.stderr, flush=True)


def random_loader(experiment: ExperimentConfig, model: FocusVLA, device: torch.device) -> BatchLoader:
    """Samples of random episodes, with random pictures or features as many as two batches need."""
    rng = np.random.default_rng(0)
    rows = max(64, 2 * experiment.training.batch_size)
    spec = libero_spec(8)
    source = random_source(spec, (rows,))
    samples = build_samples(
        source,
        statistics=source.statistics(),
        state_limit=experiment.training.state_limit,
        chunk_length=experiment.model.chunk_length,
    )
    images = features = None
    if experiment.model.needs_images:
        side = experiment.model.vision.image_size
        images = rng.integers(0, 256, (rows, len(spec.cameras), side, side, 3), np.uint8)
    elif model.vision_encoder is not None:
        shape = (1, rows, experiment.model.num_patches, len(model.feature_mean))
        features = rng.standard_normal(shape).astype(np.float16)

    def tokenize(instructions: Any) -> tuple[Tensor, Tensor]:
        ids = torch.ones(len(instructions), NUM_TOKENS, dtype=torch.int64)
        return ids, torch.ones_like(ids, dtype=torch.bool)

    return BatchLoader(
        samples,
        batch_size=experiment.training.batch_size,
        seed=0,
        tokenize=tokenize,
        images=images,
        features=features,
        augmentation=experiment.training.augmentation,
        device=device,
    )


if __name__ == "__main__":
    main()
