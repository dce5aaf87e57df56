"""Compiled training compiles in its first steps, and never again."""

import dataclasses
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from focusvla.config import ExecutionConfig
from focusvla.data.memory import random_source
from focusvla.presets import paper_tiny
from focusvla.suites.libero import libero_spec
from focusvla.training.trainer import train


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # compiling makes torch warn of itself
def test_nothing_is_compiled_after_the_second_step_and_no_graph_breaks(tmp_path, monkeypatch):
    """Over training, validations and their last, shorter batch; only what is traced counts, so nothing is generated."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    counters.clear()
    experiment = paper_tiny()
    training = dataclasses.replace(
        experiment.training,
        steps=5,
        batch_size=3,
        precision="bfloat16",
        validate_every=2,
        validation_share=0.4,
    )
    experiment = dataclasses.replace(
        experiment, training=training, execution=ExecutionConfig(compiled=True, prefetched_batches=0)
    )
    graphs: list[int] = []
    train(
        experiment,
        random_source(libero_spec(56), (4, 5, 6)),
        tmp_path / "run",
        cache_folder=tmp_path,
        on_step=lambda report: graphs.append(counters["stats"]["unique_graphs"]),
    )
    # Two encoders, each with a first layer whose input needs no gradient and others; language model; policy.
    assert graphs[1:] == [6] * 4
    assert counters["stats"]["unique_graphs"] == 6
    assert not counters["graph_break"]
    assert counters["frames"]["ok"] == counters["frames"]["total"]
