"""Equations 6 to 8 against a textbook form, every option, and the tap on the attention weights."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from focusvla.config import PolicyHeadConfig
from focusvla.model.attention import merge_heads, split_heads
from focusvla.model.blocks import CascadedBlock, MixedBlock, MLPBlock
from focusvla.model.focus import (
    select_attended_patches,
    select_patches,
    select_random_patches,
    select_shared_patches,
)

WIDTH, NUM_HEADS, NUM_KEPT = 8, 2, 3
Selection = Callable[[Tensor, int], Tensor]


def build_block(**changes: object) -> CascadedBlock:
    torch.manual_seed(0)
    options: dict[str, object] = {"num_heads": NUM_HEADS, "num_kept_patches": NUM_KEPT, **changes}
    block = CascadedBlock(PolicyHeadConfig(**options), WIDTH)  # type: ignore[arg-type]
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return block


def streams(batch: int = 2) -> list[Tensor]:
    """Latent of 4 steps, 3 action queries, keys and values of 6 patches."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, tokens, WIDTH, generator=generator) for tokens in (4, 3, 6, 6)]


def rotated(x: Tensor) -> Tensor:
    """Each pair of a head's channels as a complex number, times e^(i t f): rotary positions as they are written."""
    head_width = WIDTH // NUM_HEADS
    pairs = torch.view_as_complex(split_heads(x, NUM_HEADS).unflatten(-1, (-1, 2)).contiguous())
    frequencies = 10000.0 ** (-2 * torch.arange(head_width // 2) / head_width)
    angles = torch.arange(x.shape[1])[:, None] * frequencies
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    return merge_heads(torch.view_as_real(turned).flatten(-2))


def plain_scores(query: Tensor, key: Tensor) -> Tensor:
    return split_heads(query, NUM_HEADS) @ split_heads(key, NUM_HEADS).mT / (WIDTH // NUM_HEADS) ** 0.5


def plain_attention(query: Tensor, key: Tensor, value: Tensor, keep: Selection | None = None) -> Tensor:
    scores = plain_scores(query, key)
    if keep is not None:
        scores = scores.masked_fill(~keep(scores, NUM_KEPT), float("-inf"))
    return merge_heads(scores.softmax(dim=-1) @ split_heads(value, NUM_HEADS))


def plain_block(block: CascadedBlock, streams: list[Tensor], keep: Selection | None) -> Tensor:
    """Equations 6 to 11 as written, every patch projected."""
    latent, queries, keys, values = streams
    place = rotated if block.config.positions == "rotary" else lambda x: x

    def next_asking(asking: Tensor, attended: Tensor) -> Tensor:
        return {"parallel": latent, "sequential": attended, "sequential_residual": asking + attended}[
            block.config.cascade
        ]

    from_self = plain_attention(
        place(block.query(latent)), place(block.self_key(latent)), block.self_value(latent)
    )
    asking = next_asking(latent, from_self)
    from_queries = plain_attention(
        place(block.query(asking)), place(block.action_query_key(queries)), block.action_query_value(queries)
    )
    asking = next_asking(asking, from_queries)
    placed_keys = place(block.vision_key(keys))
    asked = place(block.query(queries))[:, :-1]  # the last one is proprioception
    kept = select_attended_patches(plain_scores(asked, placed_keys), NUM_KEPT)

    def keep_attended(scores: Tensor, num_kept: int) -> Tensor:
        return kept.expand_as(scores)

    selected = keep_attended if block.config.selection == "action_queries" else keep
    from_vision = plain_attention(
        place(block.query(asking)), placed_keys, block.vision_value(values), selected
    )
    from_vision = from_vision * torch.sigmoid(block.gate.logits(latent))
    return block.feed_forward(
        block.fusion(torch.cat([from_self, from_queries, from_vision], dim=-1)) + latent
    )


@pytest.mark.parametrize("positions", ["none", "rotary"])
@pytest.mark.parametrize("cascade", ["parallel", "sequential", "sequential_residual"])
@pytest.mark.parametrize("selection", ["per_query", "shared", "action_queries", "random"])
@pytest.mark.parametrize("feed_forward", ["linear", "mlp"])
def test_the_block_equals_its_equations_in_value_and_gradient(cascade, selection, feed_forward, positions):
    block = build_block(cascade=cascade, selection=selection, feed_forward=feed_forward, positions=positions)
    keeps = {"per_query": select_patches, "random": select_random_patches}
    keep = keeps.get(selection, select_shared_patches)
    inputs = [stream.requires_grad_() for stream in streams()]
    output, expected = block(*inputs), plain_block(block, inputs, keep)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    leaves = [*inputs, *block.parameters()]
    for fast, plain in zip(
        torch.autograd.grad(output.square().mean(), leaves),
        torch.autograd.grad(expected.square().mean(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-5)


def test_the_readings_differ_and_have_the_same_weights():
    readings = [
        {"positions": positions, "cascade": cascade, "selection": selection}
        for positions in ("none", "rotary")
        for cascade in ("parallel", "sequential", "sequential_residual")
        for selection in ("per_query", "shared", "action_queries")
    ]
    blocks = [build_block(**reading) for reading in readings]
    outputs = [block(*streams(8)) for block in blocks]
    shapes = [{name: p.shape for name, p in block.named_parameters()} for block in blocks]
    assert all(each == shapes[0] for each in shapes)
    for index, output in enumerate(outputs):
        assert not any(torch.allclose(output, other) for other in outputs[:index]), readings[index]


def test_action_queries_keep_one_set_of_patches_for_all_heads_and_steps_and_proprioception_has_no_say():
    block, (latent, queries, keys, values) = build_block(selection="action_queries"), streams()
    seen = []
    block.attention_weights.register_forward_hook(lambda module, args, output: seen.append(output > 0))
    block(latent, queries, keys, values)
    block(-latent, torch.cat([queries[:, :-1], -9 * queries[:, -1:]], dim=1), keys, values)
    block(latent, -queries, keys, values)
    kept, same, other = seen
    assert torch.equal(kept, kept[:, :1, :1].expand_as(kept))
    assert kept[:, 0, 0].sum(dim=-1).tolist() == [NUM_KEPT] * 2
    assert torch.equal(same, kept)
    assert not torch.equal(other, kept)


@pytest.mark.parametrize("positions", ["none", "rotary"])
def test_under_autocast_the_choice_of_action_queries_takes_no_gradient_from_anyone(positions):
    """Older versions' autocast keeps the weights that it has cast: first cast without a gradient, they had none later."""
    block = build_block(selection="action_queries", positions=positions)
    with torch.autocast("cpu", torch.bfloat16):
        output = block(*streams())
    output.float().square().mean().backward()
    assert [name for name, parameter in block.named_parameters() if parameter.grad is None] == []
    assert all(getattr(block, name).weight.grad.any() for name in ("query", "vision_key", "vision_value"))


@pytest.mark.parametrize("positions", ["none", "rotary"])
def test_positions_tell_equal_action_steps_apart(positions):
    block, (latent, *others) = build_block(positions=positions), streams()
    output = block(latent[:, :1].expand_as(latent), *others)
    assert torch.allclose(output, output[:, :1].expand_as(output)) == (positions == "none")


def test_keeping_all_patches_is_the_block_without_selection():
    block = build_block(num_kept_patches=6)
    inputs = streams()
    torch.testing.assert_close(block(*inputs), plain_block(block, inputs, keep=None))


def test_dropped_patches_do_not_reach_the_output():
    block = build_block(num_kept_patches=1, selection="shared")
    latent, queries, keys, values = streams()
    seen = []
    block.attention_weights.register_forward_hook(lambda module, args, output: seen.append(output))
    before = block(latent, queries, keys, values)
    dropped = (seen[0].sum(dim=(1, 2)) == 0)[..., None]
    assert dropped.sum(dim=1).tolist() == [[5], [5]]
    torch.testing.assert_close(block(latent, queries, keys, torch.where(dropped, 99.0, values)), before)
    assert not torch.allclose(block(latent, queries, keys, torch.where(dropped, values, 99.0)), before)


def test_the_tap_sees_weights_that_sum_to_one_with_zeros_on_dropped_patches():
    block = build_block()
    seen = []
    block.attention_weights.register_forward_hook(lambda module, args, output: seen.append(output))
    block(*streams())
    (weights,) = seen
    assert weights.shape == (2, NUM_HEADS, 4, 6)
    assert (weights > 0).sum(dim=-1).unique().tolist() == [NUM_KEPT]
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, NUM_HEADS, 4))


def test_looking_through_the_tap_changes_neither_output_nor_gradients():
    block, inputs = build_block(), streams()
    unseen = block(*inputs)
    plain = torch.autograd.grad(unseen.sum(), list(block.parameters()))
    block.attention_weights.register_forward_hook(lambda module, args, output: None)
    seen = block(*inputs)
    tapped = torch.autograd.grad(seen.sum(), list(block.parameters()))
    assert torch.equal(seen, unseen)
    assert all(torch.equal(a, b) for a, b in zip(plain, tapped, strict=True))


@pytest.mark.parametrize(
    ("gate", "count"), [("none", 0), ("scalar", 1), ("head_wise", 18), ("element_wise", 72)]
)
def test_gates_have_their_number_of_parameters(gate, count):
    block = build_block(gate=gate)
    assert sum(parameter.numel() for parameter in block.gate.parameters()) == count
    assert block(*streams()).shape == (2, 4, WIDTH)


def test_a_scalar_gate_starts_closed_and_hides_the_patches():
    block, (latent, queries, keys, values) = build_block(gate="scalar"), streams()
    torch.nn.init.zeros_(block.gate.scalar)
    torch.testing.assert_close(
        block(latent, queries, keys, values), block(latent, queries, -keys, 5 * values)
    )


def test_a_scalar_gate_can_start_open_so_that_vision_learns_from_the_first_step():
    for initial_gate in (0.0, 0.5):
        config = PolicyHeadConfig(
            num_heads=NUM_HEADS, num_kept_patches=NUM_KEPT, gate="scalar", initial_gate=initial_gate
        )
        block = CascadedBlock(config, WIDTH)
        block(*streams()).square().mean().backward()
        assert torch.tanh(block.gate.scalar).item() == pytest.approx(initial_gate)
        seeing, gate = (block.vision_value.weight, block.vision_key.weight), block.gate.scalar.grad
        moved = [bool(weight.grad.any()) for weight in seeing if weight.grad is not None]
        assert moved == [initial_gate > 0] * 2
        assert gate is not None
        assert gate.any()


def build_mixed(streams: Literal["shared", "separate"], gate: Literal["none", "scalar"]) -> MixedBlock:
    torch.manual_seed(0)
    config = PolicyHeadConfig(
        num_heads=NUM_HEADS,
        num_kept_patches=6,
        attention="mixed",
        streams=streams,
        gate=gate,
    )
    block = MixedBlock(config, WIDTH)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return block


def turned(x: Tensor) -> Tensor:
    """VLA-Adapter's position code, one channel at a time."""
    x = split_heads(x, NUM_HEADS)
    width = x.shape[-1]
    result = torch.empty_like(x)
    for token in range(x.shape[2]):
        for channel in range(width):
            angle = torch.tensor(token * 10000.0 ** (-2 * (channel % (width // 2)) / width))
            other = -x[:, :, token, channel + 1] if channel % 2 == 0 else x[:, :, token, channel - 1]
            result[:, :, token, channel] = x[:, :, token, channel] * angle.cos() + other * angle.sin()
    return merge_heads(result)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("gate", ["none", "scalar"])
def test_the_mixed_block_equals_equations_1_to_5_in_value_and_gradient(separate, gate):
    block = build_mixed("separate" if separate else "shared", gate)
    inputs = [stream.requires_grad_() for stream in streams()]
    latent, queries, keys, values = inputs
    place = turned if separate else lambda x: x
    scores, shown = [], []
    for name, tokens, seen in (
        ("self", latent, latent),
        ("action_query", queries, queries),
        ("vision", keys, values),
    ):
        kind = name if separate else "shared"
        key = split_heads(place(block.keys[kind](tokens)), NUM_HEADS)
        score = split_heads(place(block.query(latent)), NUM_HEADS) @ key.mT / (WIDTH // NUM_HEADS) ** 0.5
        if name == "vision" and block.gate is not None:
            score = score * torch.tanh(block.gate)
        scores.append(score)
        shown.append(split_heads(block.values[kind](seen), NUM_HEADS))
    mixed = merge_heads(torch.cat(scores, dim=-1).softmax(dim=-1) @ torch.cat(shown, dim=2))
    expected = block.feed_forward(block.output(mixed) + latent)
    output = block(*inputs)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    leaves = [*inputs, *block.parameters()]
    for fast, plain in zip(
        torch.autograd.grad(output.square().mean(), leaves),
        torch.autograd.grad(expected.square().mean(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-5)


def test_a_scalar_gate_of_zero_in_the_mixed_block_leaves_vision_attended_uniformly():
    block, (latent, queries, keys, values) = build_mixed("shared", "scalar"), streams()
    assert block.gate is not None
    torch.nn.init.zeros_(block.gate)
    seen = []
    block.attention_weights.register_forward_hook(lambda module, args, output: seen.append(output[..., 7:]))
    output = block(latent, queries, keys, values)
    assert torch.equal(output, block(latent, queries, -keys, values))  # where to look is lost
    assert not torch.allclose(
        output, block(latent, queries, keys, 5 * values)
    )  # what is there is still mixed in
    (weights, _, _) = seen
    torch.testing.assert_close(weights, weights[..., :1].expand_as(weights))
    assert (weights.sum(dim=-1) > 0.03).all()


def test_the_mlp_block_attends_to_nothing():
    torch.manual_seed(0)
    config = PolicyHeadConfig(num_heads=2, num_kept_patches=6, attention="mlp", latent="action_queries")
    block, (latent, queries, keys, values) = MLPBlock(config, WIDTH), streams()
    output = block(latent, queries, keys, values)
    assert torch.equal(output, block(latent, -queries, -keys, -values))
    torch.testing.assert_close(block(latent[:, :1], queries, keys, values), output[:, :1])
    assert ((output - latent) >= 0).all()  # a ReLU's output is added to it


def test_the_linear_feed_forward_is_never_negative():
    assert (build_block(feed_forward="linear")(*streams()) >= 0).all()
    assert (build_block(feed_forward="mlp")(*streams()) < 0).any()
