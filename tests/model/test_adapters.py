"""Adapters change nothing at first, learn alone, and merge into the weights."""

from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from focusvla.config import AdapterConfig
from focusvla.model.adapters import add_adapters, merge_adapters
from focusvla.model.focusvla import FocusVLA
from focusvla.presets import paper_tiny


@pytest.fixture
def model() -> FocusVLA:
    torch.manual_seed(0)
    return FocusVLA(paper_tiny().model).eval()


def test_adapters_do_nothing_before_they_learn(model, make_inputs):
    inputs = make_inputs(model, "lift the cup")
    before = model(inputs)
    merge_adapters(model)
    torch.testing.assert_close(model(inputs), before)


def test_merged_adapters_give_the_same_actions_and_leave_no_trace(model, make_inputs):
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    inputs = make_inputs(model, "lift the cup", "push")
    unmerged = model(inputs)
    merge_adapters(model)
    torch.testing.assert_close(model(inputs), unmerged, rtol=1e-4, atol=1e-5)
    assert not [name for name, _ in model.named_parameters() if "lora" in name or "base_layer" in name]


def test_of_the_pretrained_parts_only_adapters_learn_and_of_the_others_everything(model):
    for name, parameter in model.named_parameters():
        pretrained = name.startswith(("vision_encoder", "projector", "language_model"))
        assert parameter.requires_grad == ("lora_" in name or not pretrained), name


def test_every_linear_layer_of_the_pretrained_parts_has_an_adapter_and_no_other_has(model):
    adapted = {name.rpartition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    linear = {
        name.removesuffix(".base_layer")
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name
    }
    assert adapted == {n for n in linear if n.startswith(("vision_encoder", "projector", "language_model"))}
    assert "vision_encoder.siglip.blocks.1.attn.qkv" in adapted


def test_an_adapter_casts_no_input_that_is_in_bfloat16_already():
    """peft would cast it to float32 for its weights, and autocast back."""

    class Casts(TorchDispatchMode):
        shapes: ClassVar[list[torch.Size]] = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._to_copy.default:
                self.shapes.append(args[0].shape)
            return func(*args, **(kwargs or {}))

    parts = {
        name: nn.Sequential(nn.Linear(8, 4)) for name in ("vision_encoder", "projector", "language_model")
    }
    model = nn.ModuleDict(parts)
    add_adapters(model, AdapterConfig(rank=2))
    x = torch.ones(3, 5, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16), Casts() as casts:
        model["projector"](x)
    assert sorted(map(tuple, casts.shapes)) == [(2, 8), (4,), (4, 2), (4, 8)]  # weights alone
