"""The schedule that really runs, weight decay where it belongs, and the average."""

import dataclasses

import pytest
import torch
from torch import nn

from focusvla.presets import tiny
from focusvla.training.optimization import WeightAverage, build_optimizer, learning_rate

CONFIG = dataclasses.replace(
    tiny().training, steps=6, warmup_steps=2, learning_rate=1.0, final_learning_rate_share=0.0
)


def test_the_learning_rate_warms_up_and_follows_a_cosine():
    rates = [learning_rate(CONFIG, step) for step in range(6)]
    assert rates == pytest.approx([0.5, 0.933, 0.75, 0.5, 0.25, 0.067], abs=1e-3)


def test_the_learning_rate_ends_near_its_floor():
    config = dataclasses.replace(CONFIG, final_learning_rate_share=0.1, steps=10_000)
    assert learning_rate(config, 9_999) == pytest.approx(0.1, abs=1e-3)


def test_norms_biases_and_scalars_do_not_decay():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    decaying, others = build_optimizer(model, CONFIG).param_groups
    assert [tuple(p.shape) for p in decaying["params"]] == [(3, 2)]
    assert decaying["weight_decay"] > 0
    assert [tuple(p.shape) for p in others["params"]] == [(3,), (3,), (3,)]
    assert others["weight_decay"] == 0


def test_the_average_follows_the_weights_slowly_and_early_steps_count_less_of_it():
    weight = nn.Parameter(torch.zeros(1))
    average = WeightAverage([weight], decay=0.5)
    weight.data.fill_(1.0)
    average.update(step=0)  # decay 1/10 at the first step
    assert average.values[0].item() == pytest.approx(0.9)
    average.update(step=1000)
    assert average.values[0].item() == pytest.approx(0.95)


def test_swapping_twice_changes_nothing():
    weight = nn.Parameter(torch.tensor([2.0]))
    average = WeightAverage([weight], decay=0.9)
    weight.data.fill_(5.0)
    average.swap()
    assert (weight.item(), average.values[0].item()) == (2.0, 5.0)
    average.swap()
    assert (weight.item(), average.values[0].item()) == (5.0, 2.0)
