"""The first 20 losses of `tiny` and `paper_tiny`, which no change may alter that does not mean to.

python tests/training/golden_losses.py      writes them anew; say in the commit why they differ
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")
PRESETS = ("tiny", "paper_tiny")
STEPS = 20


def losses(preset: str, folder: Path) -> list[float]:
    """Of a new run in `folder`, on one CPU thread."""
    import torch

    from focusvla.config import ExecutionConfig
    from focusvla.data.memory import random_source
    from focusvla.presets import PRESETS
    from focusvla.suites.libero import libero_spec
    from focusvla.training.metrics import read_metrics
    from focusvla.training.trainer import train

    torch.set_num_threads(1)
    experiment = PRESETS[preset]()
    training = dataclasses.replace(experiment.training, steps=STEPS, log_every=1, checkpoint_every=STEPS)
    experiment = dataclasses.replace(experiment, training=training, execution=ExecutionConfig(device="cpu"))
    train(experiment, random_source(libero_spec(32), (9, 7, 8)), folder / preset, cache_folder=folder)
    return [line["loss"] for line in read_metrics(folder / preset / "metrics.jsonl") if "loss" in line]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    with tempfile.TemporaryDirectory() as temporary:
        found = {preset: losses(preset, Path(temporary)) for preset in PRESETS}
    FILE.write_text(json.dumps(found, indent=1) + "\n")
