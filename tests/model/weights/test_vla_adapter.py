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

from focusvla.config import AdapterConfig, ModelConfig
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.model.weights import load_vla_adapter_head, load_vla_adapter_run
from focusvla.presets import baseline_mixed, paper_tiny, with_policy_head
from published_weights import filled, merged_vla_adapter, vla_adapter_head

NUM_LAYERS, WIDTH, NUM_HEADS, ACTION_DIM = 2, 16, 4, 3


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def reference_head(weights: dict[str, np.ndarray], variant: str, x, action_queries, vision, proprioception):
    """The head in float64 numpy, one sample, straight from the specification."""

    def linear(name, rows):
        return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, rows):
        centered = rows - rows.mean(axis=-1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def turned(rows):
        if variant == "base":
            return rows
        channels = np.arange(head_width)
        frequency = 10000.0 ** (-2 * (channels % (head_width // 2)) / head_width)
        angle = np.arange(len(rows))[:, None] * frequency
        other = np.empty_like(rows)
        other[:, 0::2], other[:, 1::2] = -rows[:, 1::2], rows[:, 0::2]
        return rows * np.cos(angle) + other * np.sin(angle)

    head_width = WIDTH // NUM_HEADS
    names = {"base": ["k_proj"] * 3, "pro": ["k_self", "k_adapter", "k_task"]}[variant]
    latent = np.maximum(linear("fc1", norm("layer_norm1", x)), 0)
    for layer in range(NUM_LAYERS):
        block = f"mlp_resnet_blocks.{layer}"
        streams = [latent, np.concatenate([action_queries[layer + 1], proprioception]), vision[layer + 1]]
        queries = linear(f"{block}.q_proj", latent)
        keys = [linear(f"{block}.{name}", rows) for name, rows in zip(names, streams, strict=True)]
        values = [
            linear(f"{block}.{name.replace('k_', 'v_')}", rows)
            for name, rows in zip(names, streams, strict=True)
        ]
        outputs = []
        for head in range(NUM_HEADS):
            part = slice(head * head_width, (head + 1) * head_width)
            scores = [turned(queries[:, part]) @ turned(key[:, part]).T for key in keys]
            scores[2] = scores[2] * np.tanh(weights[f"{block}.gating_factor"])
            attention = softmax(np.concatenate(scores, axis=1) / np.sqrt(head_width))
            outputs.append(attention @ np.concatenate([value[:, part] for value in values]))
        mixed = linear(f"{block}.o_proj", np.concatenate(outputs, axis=1))
        latent = np.maximum(linear(f"{block}.ffn.1", norm(f"{block}.ffn.0", mixed + latent)), 0)
    return linear("fc2", norm("layer_norm2", latent))


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
        expected = reference_head(exact, variant, *(x[sample].numpy().astype(np.float64) for x in inputs))
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
def config() -> ModelConfig:
    toy = with_policy_head(
        paper_tiny(), attention="mixed", positions="none", gate="scalar", num_kept_patches=32, values="vlm"
    ).model
    return replace(toy, adapters=AdapterConfig())


@pytest.fixture
def run(tmp_path: Path, config: ModelConfig) -> Path:
    """A run folder with the real names and random weights."""
    vocabulary_size = config.language.vocabulary_size or 2
    save_file(filled(merged_vla_adapter(config, vocabulary_size)), tmp_path / "model.safetensors")
    width = config.language.hidden_size
    head = filled(vla_adapter_head("base", config.language.num_layers, width, config.action_dim))
    torch.save({f"module.model.{n}": t for n, t in head.items()}, tmp_path / "action_head--checkpoint.pt")
    projector = {"fc1": (width, config.state_dim), "fc2": (width, width)}
    shapes = {f"module.{n}.weight": s for n, s in projector.items()} | {
        f"module.{n}.bias": (width,) for n in projector
    }
    torch.save(filled(shapes), tmp_path / "proprio_projector--checkpoint.pt")
    return tmp_path


def test_a_run_folder_becomes_a_whole_model_aligned_as_it_was_trained(run, config, make_inputs):
    model = load_vla_adapter_run(run, config, "base")
    assert model.config.alignment == "vla_adapter"
    merged = filled(merged_vla_adapter(config, 2))
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
    assert model(inputs).isfinite().all()

    states: list[torch.Tensor] = []
    model.get_submodule("policy_head.blocks.0").register_forward_pre_hook(
        lambda module, args: states.extend(args[1:3])
    )
    read: list[Any] = []
    model.language_model.register_forward_hook(lambda module, args, output: read.append(output))
    model(inputs)
    (after_layers,) = read
    action_queries, patches = states
    assert torch.equal(
        patches, after_layers[0][:, :32]
    )  # the token before the patches, and not the last patch
    last_text = 32 + 1 + inputs.token_mask.sum(dim=1) - 2
    for sample, first in enumerate(last_text.tolist()):
        assert torch.equal(action_queries[sample, :8], after_layers[0][sample, first : first + 8])


def test_the_full_key_list_fits_the_full_model():
    from focusvla.model.focusvla import FocusVLA
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


def test_a_run_with_something_wrong_is_refused_whole(run, config):
    (run / "action_head--other.pt").write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"expected one file action_head--\*\.pt, got action_head--checkpoint"
    ):
        load_vla_adapter_run(run, config, "base")
    (run / "action_head--other.pt").unlink()
    merged = run / "model.safetensors"
    whole = merged.read_bytes()
    merged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="expected a whole safetensors file"):
        load_vla_adapter_run(run, config, "base")
    tensors = filled(merged_vla_adapter(config, 2))
    save_file(tensors | {"depth_head.weight": torch.zeros(1)}, merged)
    with pytest.raises(CheckpointError, match=r"got also depth_head\.weight"):
        load_vla_adapter_run(run, config, "base")
    del tensors["action_queries.weight"]
    save_file(tensors, merged)
    with pytest.raises(CheckpointError, match="missing: action_queries"):
        load_vla_adapter_run(run, config, "base")
    save_file(filled(merged_vla_adapter(config, 2)), merged)
    with pytest.raises(CheckpointError, match=r"missing: .*policy_head\.blocks\.0\.keys\.self"):
        load_vla_adapter_run(run, config, "pro")


class Code:
    """A pickle that wants to run something."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_in_it_is_refused_and_the_code_not_run(run, config, tmp_path):
    torch.save({"module.model.fc1.weight": Code(tmp_path / "was-run")}, run / "action_head--checkpoint.pt")
    with pytest.raises(CheckpointError, match=r"expected a file of tensors alone.*Nothing in it was run"):
        load_vla_adapter_run(run, config, "base")
    assert not (tmp_path / "was-run").exists()
