"""Run alone or by torchrun: train a small model, slowly enough to be killed on the way.

Usage: train_tiny.py PRESET RUN CACHE STEPS CHECKPOINT_EVERY PARALLELISM SECONDS_A_STEP
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from focusvla.config import ExecutionConfig, ExperimentConfig
from focusvla.data.memory import random_source
from focusvla.errors import StoppedError
from focusvla.presets import preset
from focusvla.suites.libero import libero_spec
from focusvla.training.trainer import train


def shortened(**changes) -> ExperimentConfig:
    experiment = preset("tiny")
    return replace(experiment, training=replace(experiment.training, **changes))


def small(name: str, steps: int, checkpoint_every: int, execution: ExecutionConfig) -> ExperimentConfig:
    experiment = preset(name)
    training = replace(experiment.training, steps=steps, checkpoint_every=checkpoint_every)
    return replace(experiment, training=training, execution=execution)


if __name__ == "__main__":
    name, run, cache, steps, checkpoint_every, parallelism, seconds = sys.argv[1:]
    execution = ExecutionConfig(parallelism=parallelism)  # type: ignore[arg-type]
    try:
        train(
            small(name, int(steps), int(checkpoint_every), execution),
            random_source(libero_spec(32), (9, 7, 8)),
            Path(run),
            cache_folder=Path(cache),
            on_step=lambda report: time.sleep(float(seconds)),
        )
    except StoppedError as error:
        sys.stdout.write(str(error))
        sys.exit(error.exit_code)
