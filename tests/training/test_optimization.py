"""The schedule that really runs, weight decay where it belongs, and the average."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from focusvla.config import ExecutionConfig, TrainingConfig
from focusvla.errors import ConfigurationError
from focusvla.presets import paper, tiny
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec
from focusvla.training.engine import Engine
from focusvla.training.optimization import WeightAverage, action_weights, build_optimizer, learning_rate

CONFIG = dataclasses.replace(
    tiny().training, steps=6, warmup_steps=2, learning_rate=1.0, final_learning_rate_share=0.0
)


def plotted(config: TrainingConfig) -> list[str]:
    """The schedule as a picture: a column a step, a row a quarter of the peak, each from its top down."""
    heights = [
        math.floor(4 * learning_rate(config, step) / config.learning_rate + 1e-9)
        for step in range(config.steps)
    ]
    return ["".join("#" if height >= level else "." for height in heights) for level in (4, 3, 2, 1)]


SHORT = dataclasses.replace(CONFIG, steps=32, warmup_steps=8)


def test_a_cosine_warms_up_and_falls_to_its_final_share():
    assert plotted(SHORT) == [
        "................................",
        "......#####.....................",
        "....#############...............",
        "..####################..........",
    ]
    rates = [learning_rate(CONFIG, step) for step in range(6)]
    assert rates == pytest.approx([0.5, 0.933, 0.75, 0.5, 0.25, 0.067], abs=1e-3)
    floored = dataclasses.replace(CONFIG, final_learning_rate_share=0.1, steps=10_000)
    assert learning_rate(floored, 9_999) == pytest.approx(0.1, abs=1e-3)


def test_a_multi_step_schedule_warms_up_and_falls_at_each_of_its_steps():
    """The reference's never does either: each iteration sets the rate anew."""
    steps = dataclasses.replace(SHORT, schedule="multi_step", decay_steps=(16, 24), decay_factor=0.5)
    assert plotted(steps) == [
        ".......#########................",
        ".....###########................",
        "...#####################........",
        ".###############################",
    ]


def test_a_constant_schedule_warms_up_and_stays():
    constant = dataclasses.replace(SHORT, schedule="constant")
    assert plotted(constant) == [
        ".......#########################",
        ".....###########################",
        "...#############################",
        ".###############################",
    ]


def test_decay_steps_belong_to_the_multi_step_schedule():
    with pytest.raises(ConfigurationError, match=r"decay_steps: expected steps with schedule='multi_step'"):
        dataclasses.replace(SHORT, schedule="multi_step")


def test_an_average_without_decay_is_the_weights_and_takes_no_memory():
    weight = nn.Parameter(torch.tensor([2.0]))
    average = WeightAverage([weight], decay=0.0)
    average.update(step=0)
    average.swap()
    assert (weight.item(), average.values) == (2.0, [])


def test_norms_biases_and_scalars_do_not_decay():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    decaying, others = build_optimizer(model, CONFIG).param_groups
    assert [tuple(p.shape) for p in decaying["params"]] == [(3, 2)]
    assert decaying["weight_decay"] > 0
    assert [tuple(p.shape) for p in others["params"]] == [(3,), (3,), (3,)]
    assert others["weight_decay"] == 0


def test_the_published_optimizer_decays_everything_with_its_own_betas_at_a_constant_rate():
    config = paper().training
    optimizer = build_optimizer(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), config)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.01]
    assert [group["betas"] for group in optimizer.param_groups] == [(0.9, 0.999)] * 2
    assert {learning_rate(config, step) for step in (0, 1, 1000, 99_999)} == {2e-4}
    ours = build_optimizer(nn.Linear(2, 3), CONFIG)
    assert [group["betas"] for group in ours.param_groups] == [(0.9, 0.95)] * 2


def test_without_clipping_gradients_stay_and_their_norm_is_known(tmp_path):
    engine = Engine(ExecutionConfig(), "float32", tmp_path)
    model = nn.Linear(2, 1, bias=False)
    for limit, kept in ((0.0, [30.0, 40.0]), (5.0, [3.0, 4.0])):
        model.weight.grad = torch.tensor([[30.0, 40.0]])
        assert engine.clip(model, limit).item() == pytest.approx(50)
        torch.testing.assert_close(model.weight.grad, torch.tensor([kept]))


def test_grippers_of_minus_one_and_one_weigh_as_configured_in_the_loss_and_others_fully():
    config = dataclasses.replace(CONFIG, gripper_weight=0.5)
    assert action_weights(config, libero_spec(32)).tolist() == [1, 1, 1, 1, 1, 1, 0.5]
    names = ("left_x", "left_gripper", "right_x", "right_gripper")
    two_arms = dataclasses.replace(libero_spec(32), action=names)
    assert action_weights(config, two_arms).tolist() == [1, 0.5, 1, 0.5]
    assert (
        action_weights(config, aloha_spec(32)).tolist() == [1] * 14
    )  # joint angles, normalized like the others


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
