"""Adapters change nothing at first, learn alone, and merge into the weights."""

import pytest
import torch

from focusvla.model.adapters import merge_adapters
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
