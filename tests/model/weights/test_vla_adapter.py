"""VLA-Adapter's released heads and runs, against a second derivation of what they compute."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from focusvla.config import AdapterConfig
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.weights import (
    load_tokenizer,
    load_vla_adapter_head,
    load_vla_adapter_run,
    vla_adapter_config,
)
from focusvla.model.weights.vla_adapter_head import without_prefixes
from focusvla.presets import baseline_mixed
from published_weights import filled, merged_vla_adapter, vla_adapter_head
from vla_adapter_reference import head_actions
from vla_adapter_runs import LETTERS, toy_sizes, write_toy_run

NUM_LAYERS, WIDTH, NUM_HEADS, ACTION_DIM = 2, 16, 4, 3


@pytest.mark.parametrize("variant", ["base", "pro"])
@pytest.mark.parametrize("prefix", ["", "model.", "module.model."])
def test_a_released_head_computes_what_the_specification_says(variant, prefix):
    weights = filled(vla_adapter_head(variant, NUM_LAYERS, WIDTH, ACTION_DIM))
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 5, ACTION_DIM * WIDTH), (2, 3, 4, WIDTH), (2, 3, 6, WIDTH), (2, 1, WIDTH)]
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    head = load_vla_adapter_head({prefix + name: t for name, t in weights.items()}, variant, NUM_HEADS)
    actions = head(*inputs)
    assert actions.shape == (2, 5, ACTION_DIM)
    exact = {name: tensor.numpy().astype(np.float64) for name, tensor in weights.items()}
    for sample in range(2):
        x, queries, vision, asked = (each[sample].numpy().astype(np.float64) for each in inputs)
        expected = head_actions(exact, variant, NUM_HEADS, x, queries, vision, asked)
        np.testing.assert_allclose(actions[sample].detach(), expected, atol=1e-5)


@pytest.mark.parametrize("variant", ["base", "pro"])
def test_golden_outputs_of_the_official_head_are_met(variant):
    folder = os.environ.get("FOCUSVLA_VLA_ADAPTER_GOLDEN")
    if not folder:
        pytest.skip("set FOCUSVLA_VLA_ADAPTER_GOLDEN to a folder with vla_adapter_{base,pro}_seed0.npz")
    golden = np.load(Path(folder) / f"vla_adapter_{variant}_seed0.npz")
    weights = {name[3:]: torch.from_numpy(golden[name]) for name in golden.files if name.startswith("sd.")}
    head = load_vla_adapter_head(weights, variant, num_heads=8)
    x, *others = (torch.from_numpy(golden[f"in.{name}"]) for name in ("x", "h_a", "h_t", "p"))
    np.testing.assert_allclose(head(x, *others).detach(), golden["out.y"], atol=1e-5)
    np.testing.assert_allclose(head(torch.zeros_like(x), *others).detach(), golden["out.y_zero_x"], atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "released", "dead"), [("base", 102_129_695, 0), ("pro", 217_864_223, 38_578_176)]
)
def test_heads_of_the_released_size_have_the_released_number_of_weights(variant, released, dead):
    shapes = vla_adapter_head(variant, num_layers=24, width=896, action_dim=7)
    weights = filled(shapes, lambda shape: torch.empty(shape, device="meta"))
    assert sum(tensor.numel() for tensor in weights.values()) == released
    head = load_vla_adapter_head(weights, variant)
    assert sum(parameter.numel() for parameter in head.parameters()) == released - dead


def test_a_head_that_does_not_fit_is_refused_with_its_keys():
    weights = filled(vla_adapter_head("base", NUM_LAYERS, WIDTH, ACTION_DIM))
    del weights["mlp_resnet_blocks.1.q_proj.bias"]
    weights["extra.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"missing: blocks\.1\.query\.bias; unexpected: extra\.weight"):
        load_vla_adapter_head(weights, "base", NUM_HEADS)
    with pytest.raises(CheckpointError, match=r"missing: .*keys\.action_query.*; unexpected: .*keys\.shared"):
        load_vla_adapter_head(
            filled(vla_adapter_head("base", NUM_LAYERS, WIDTH, ACTION_DIM)), "pro", NUM_HEADS
        )
    with pytest.raises(CheckpointError, match=re.escape("expected the matrix 'fc1.weight'")):
        load_vla_adapter_head({"some": torch.zeros(2)}, "base")
    with pytest.raises(CheckpointError, match="num_heads: expected a divisor of the head's width 16, got 5"):
        load_vla_adapter_head(filled(vla_adapter_head("base", NUM_LAYERS, WIDTH, ACTION_DIM)), "base", 5)


@pytest.mark.usefixtures("without_shape_checks")
def test_an_unknown_variant_is_named_with_the_nearest():
    with pytest.raises(ConfigurationError, match=r"variant='bass'.*'base'"):
        load_vla_adapter_head({}, "bass")  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_toy_run(tmp_path / "run", "base")


def load(run: Path) -> FocusVLA:
    return load_vla_adapter_run(run, vla_adapter_config(run))


def test_a_run_folder_becomes_a_whole_model_aligned_as_it_was_trained(run, make_inputs):
    model = load(run)
    model.tokenizer = load_tokenizer(run)
    merged = filled(merged_vla_adapter(toy_sizes(), len(LETTERS)))
    assert torch.equal(model.action_queries, merged["action_queries.weight"])
    loaded = model.state_dict()
    for ours, theirs in {
        "vision_encoder.dinov2.blocks.1.ls2.gamma": "vision_backbone.featurizer.blocks.1.ls2.scale_factor",
        "vision_encoder.siglip.blocks.1.attn.qkv.weight": "vision_backbone.fused_featurizer.blocks.1.attn.qkv.weight",
        "language_model.body.layers.2.self_attn.k_proj.bias": "language_model.model.layers.2.self_attn.k_proj.bias",
        "projector.fc2.weight": "projector.fc2.weight",
    }.items():
        assert torch.equal(loaded[ours], merged[theirs]), ours
    inputs = make_inputs(model, "lift the cup", "push")

    states: list[torch.Tensor] = []
    model.get_submodule("policy_head.blocks.0").register_forward_pre_hook(
        lambda module, args: states.extend(args[1:3])
    )
    read: list[Any] = []
    model.language_model.register_forward_hook(lambda module, args, output: read.append(output))
    assert model(inputs).isfinite().all()
    (after_layers,) = read
    action_queries, patches = states
    assert torch.equal(
        patches, after_layers[0][:, :32]
    )  # the token before the patches, and not the last patch
    last_text = 32 + 1 + inputs.token_mask.sum(dim=1) - 2
    for sample, first in enumerate(last_text.tolist()):
        assert torch.equal(action_queries[sample, :6], after_layers[0][sample, first : first + 6])


def test_the_full_key_list_fits_the_full_model():
    from focusvla.model.weights.files import require_matching
    from focusvla.model.weights.vla_adapter import _backbone_parts

    config = replace(baseline_mixed().model, adapters=AdapterConfig())
    with torch.device("meta"):
        expected = FocusVLA(config).state_dict()
    merged = filled(merged_vla_adapter(config, 151_936), lambda shape: torch.empty(shape, device="meta"))
    parts = _backbone_parts(merged, config)
    found = {
        f"{part}.{name}".rstrip("."): tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }
    pretrained = ("vision_encoder.", "projector.", "language_model.", "action_queries")
    require_matching({n: t for n, t in expected.items() if n.startswith(pretrained)}, found, "full size")


def test_a_run_with_something_wrong_is_refused_whole(run):
    merged = run / "model.safetensors"
    whole = merged.read_bytes()
    merged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="expected a whole safetensors file"):
        load(run)
    tensors = filled(merged_vla_adapter(toy_sizes(), len(LETTERS)))
    save_file(tensors | {"depth_head.weight": torch.zeros(1)}, merged)
    with pytest.raises(CheckpointError, match=r"got also depth_head\.weight"):
        load(run)
    config = vla_adapter_config(run)
    del tensors["action_queries.weight"]
    save_file(tensors, merged)
    with pytest.raises(CheckpointError, match="missing: action_queries"):
        load_vla_adapter_run(run, config)
    save_file(filled(merged_vla_adapter(toy_sizes(), len(LETTERS))), merged)
    separate = replace(config, policy_head=replace(config.policy_head, streams="separate"))
    with pytest.raises(CheckpointError, match=r"missing: .*policy_head\.blocks\.0\.keys\.self"):
        load_vla_adapter_run(run, separate)


class Code:
    """A pickle that wants to run something."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_in_it_is_refused_and_the_code_not_run(run, tmp_path):
    torch.save({"module.model.fc1.weight": Code(tmp_path / "was-run")}, run / "action_head--checkpoint.pt")
    with pytest.raises(CheckpointError, match=r"expected a file of tensors alone.*Nothing in it was run"):
        load(run)
    assert not (tmp_path / "was-run").exists()


def test_a_head_under_state_dict_is_taken_out_and_what_is_no_tensor_is_named():
    weights = {"fc1.weight": torch.ones(2, 4)}
    assert (
        without_prefixes({"state_dict": {"module.model." + n: t for n, t in weights.items()}}).keys()
        == weights.keys()
    )
    with pytest.raises(CheckpointError, match=r"expected tensors by name, got dict under 'model'"):
        without_prefixes({"model": weights, "optimizer": {}})


@pytest.mark.parametrize("held", [torch.ones(2), [torch.ones(2)], {0: torch.ones(2)}, {"state_dict": 3}])
def test_a_head_that_is_no_state_dict_is_refused(run, held):
    torch.save(held, run / "action_head--checkpoint.pt")
    with pytest.raises(CheckpointError, match="expected tensors by name, got"):
        load(run)
