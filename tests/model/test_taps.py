"""Taps see what layers do, on weights made by hand, and change nothing; a silenced stream is one whose values are 0."""

import dataclasses

import pytest
import torch

from focusvla.errors import ConfigurationError
from focusvla.model.blocks import BLOCKS, PolicyBlock
from focusvla.model.taps import _TAPS, recorded_layers, without_stream

WIDTH, NUM_HEADS, CHUNK, QUERIES, PATCHES = 16, 4, 5, 3, 8


def with_head(config, **changes):
    return dataclasses.replace(config, policy_head=dataclasses.replace(config.policy_head, **changes))


@pytest.fixture
def cascaded(tiny_config, build):
    return build(tiny_config)


@pytest.fixture
def mixed_config(tiny_config):
    return with_head(tiny_config, attention="mixed", gate="scalar", values="vlm", num_kept_patches=PATCHES)


def num_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def channel(index, value):
    return value * torch.eye(WIDTH)[index]


def set_linear(linear, weight: float | torch.Tensor = 0.0, bias: float | torch.Tensor = 0.0):
    torch.nn.init.constant_(linear.weight, 0.0)
    linear.weight.data += weight
    linear.bias.data = torch.zeros_like(linear.bias) + bias


def test_a_cascaded_layer_shows_its_maps_its_gate_and_what_each_stream_adds(cascaded):
    layer = cascaded.policy_head.blocks[0]
    first_channels = torch.zeros(WIDTH)
    first_channels[::4] = 2.0  # the first of each head's four channels; scaled by 4 ** -0.5 it is 1
    set_linear(layer.query, bias=first_channels)
    set_linear(layer.vision_key, weight=torch.eye(WIDTH))
    set_linear(layer.self_value, bias=7.0)
    set_linear(layer.action_query_value, bias=channel(0, 3.0))
    set_linear(layer.vision_value, bias=channel(1, 4.0))
    set_linear(
        layer.gate.logits, bias=torch.tensor([0.0] * 4 + [9e9] * 4 + [-9e9] * 4 + [9e9, 9e9, -9e9, -9e9])
    )
    layer.fusion.weight.data = torch.cat(
        [torch.zeros(WIDTH, WIDTH), torch.eye(WIDTH), torch.eye(WIDTH)], dim=1
    )
    keys = torch.zeros(1, PATCHES, WIDTH)
    keys[0, :, 0] = torch.tensor([4, 1, 1, 2, 1, 1, 1, 2]).log()
    keys[0, :, 4] = torch.tensor([1, 6, 3, 1, 1, 1, 1, 1.5]).log()
    with recorded_layers(cascaded) as layers:
        layer(torch.zeros(1, CHUNK, WIDTH), torch.zeros(1, QUERIES, WIDTH), keys, torch.zeros_like(keys))
    (seen,) = layers
    expected = torch.tensor(
        [[0.5, 0, 0, 0.25, 0, 0, 0, 0.25], [0, 6 / 10.5, 3 / 10.5, 0, 0, 0, 0, 1.5 / 10.5]]
    )
    torch.testing.assert_close(seen.vision_weights[0, :2], expected[:, None].expand(2, CHUNK, PATCHES))
    assert seen.gate is not None
    torch.testing.assert_close(seen.gate[0, 0], torch.tensor([0.5, 1.0, 0.0, 0.5]))
    # Action queries add 3, and vision 4 times its gate of 0.5, self nothing since the fusion ignores it.
    torch.testing.assert_close(seen.contributions[0, 0], torch.tensor([0.0, 0.6, 0.4]))
    assert seen.weight_shares is None


@pytest.mark.parametrize("streams", ["shared", "separate"])
def test_a_mixed_layer_divides_its_one_softmax_by_stream(mixed_config, build, streams):
    model = build(with_head(mixed_config, streams=streams))
    layer = model.policy_head.blocks[0]
    for keys in layer.keys.values():
        set_linear(keys)  # all 16 tokens score alike
    for values in layer.values.values():
        set_linear(values, weight=torch.eye(WIDTH))
    set_linear(layer.output, weight=torch.eye(WIDTH))
    layer.gate.data.fill_(0.5)
    queries = channel(0, 16.0).expand(1, QUERIES, WIDTH)
    patches = channel(1, 2.0).expand(1, PATCHES, WIDTH)
    with recorded_layers(model) as layers:
        layer(torch.zeros(1, CHUNK, WIDTH), queries, patches, patches)
    (seen,) = layers
    assert seen.weight_shares is not None
    torch.testing.assert_close(seen.weight_shares[0, 0, 0], torch.tensor([5 / 16, 3 / 16, 8 / 16]))
    torch.testing.assert_close(seen.vision_weights[0, 0, 0], torch.full((PATCHES,), 1 / 8))
    torch.testing.assert_close(seen.contributions[0, 0], torch.tensor([0.0, 0.75, 0.25]))
    assert seen.gate is not None
    torch.testing.assert_close(seen.gate[0, 0], torch.full((NUM_HEADS,), 0.5).tanh())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gate": "scalar", "cascade": "sequential"},
        {"cascade": "sequential_residual", "positions": "rotary", "selection": "action_queries"},
        {"gate": "head_wise", "selection": "shared"},
        {"gate": "none"},
        {"attention": "mixed", "gate": "scalar", "values": "vlm", "num_kept_patches": PATCHES},
        {"attention": "mixed", "gate": "none", "values": "vlm", "num_kept_patches": PATCHES, "streams": "separate"},
    ],
    ids=str,
)  # fmt: skip
def test_looking_changes_no_bit_of_the_answer_and_leaves_no_hook(tiny_config, build, make_inputs, changes):
    model = build(with_head(tiny_config, **changes))
    inputs = make_inputs(model, "lift the cup", "push the bowl")
    before = num_hooks(model)
    unseen = model(inputs)
    with recorded_layers(model) as layers:
        seen = model(inputs)
    assert torch.equal(seen, unseen)
    assert num_hooks(model) == before
    assert len(layers) == 2
    for layer in layers:
        assert layer.vision_weights.shape == (2, NUM_HEADS, CHUNK, PATCHES)
        torch.testing.assert_close(layer.contributions.sum(-1), torch.ones(2, CHUNK))
        torch.testing.assert_close(layer.vision_weights.sum(-1), torch.ones(2, NUM_HEADS, CHUNK))
        assert (layer.gate is None) == (changes.get("gate") == "none")


def test_the_contributions_of_the_streams_are_those_of_silenced_ones(cascaded, make_inputs):
    """What a stream adds is the difference that its silence makes to the fusion."""
    inputs = make_inputs(cascaded, "lift the cup")
    layer, added = cascaded.policy_head.blocks[0], []
    hook = layer.fusion.register_forward_hook(lambda module, given, answer: added.append(answer))
    with recorded_layers(cascaded) as layers:
        cascaded(inputs)
    for stream in ("self", "action_query", "vision"):
        with without_stream(cascaded, stream):
            cascaded(inputs)
    hook.remove()
    norms = torch.stack([(added[0] - other).norm(dim=-1) for other in added[1:]], dim=-1)
    torch.testing.assert_close(layers[0].contributions, norms / norms.sum(-1, keepdim=True))


@pytest.mark.parametrize("stream", ["self", "action_query", "vision"])
def test_a_silenced_stream_is_one_whose_values_are_zero(cascaded, make_inputs, stream):
    inputs = make_inputs(cascaded, "lift the cup")
    untouched = cascaded(inputs)
    with without_stream(cascaded, stream):
        silenced = cascaded(inputs)
    assert torch.equal(cascaded(inputs), untouched)
    assert not torch.allclose(silenced, untouched)
    for layer in cascaded.policy_head.blocks:
        set_linear(getattr(layer, f"{stream}_value"))
    torch.testing.assert_close(cascaded(inputs), silenced)


@pytest.mark.parametrize("stream", ["self", "action_query", "vision"])
def test_a_silenced_stream_of_a_mixed_layer_keeps_its_weight_and_loses_its_values(
    mixed_config, build, make_inputs, stream
):
    model = build(with_head(mixed_config, streams="separate"))
    inputs = make_inputs(model, "lift the cup")
    with without_stream(model, stream):
        silenced = model(inputs)
    assert not torch.allclose(silenced, model(inputs))
    for layer in model.policy_head.blocks:
        set_linear(layer.values[stream])
    torch.testing.assert_close(model(inputs), silenced)


@pytest.mark.parametrize("tap", [recorded_layers, lambda model: without_stream(model, "vision")])
def test_a_pass_that_fails_leaves_no_hook(cascaded, make_inputs, tap):
    inputs = dataclasses.replace(make_inputs(cascaded, "lift the cup"), state=torch.zeros(1, 9))
    before = num_hooks(cascaded)
    with pytest.raises(ConfigurationError, match="state_dim"), tap(cascaded):
        cascaded(inputs)
    assert num_hooks(cascaded) == before


@pytest.mark.parametrize("tap", [recorded_layers, lambda model: without_stream(model, "vision")])
def test_a_head_that_attends_to_nothing_cannot_be_tapped(tiny_config, build, tap):
    config = dataclasses.replace(tiny_config, num_action_queries=CHUNK * tiny_config.action_dim)
    model = build(with_head(config, attention="mlp", latent="action_queries", num_kept_patches=PATCHES))
    with pytest.raises(ConfigurationError, match=r"expected a kind that attends, .* got 'mlp'"), tap(model):
        pass


def test_each_kind_of_block_says_what_it_attends_to_and_if_anything_can_be_tapped():
    assert {name: block.streams for name, block in BLOCKS.items()} == {
        "cascaded": ("self", "action_query", "vision"),
        "mixed": ("self", "action_query", "vision"),
        "mlp": (),
    }
    assert {block for block in BLOCKS.values() if block.streams} == set(_TAPS)


@pytest.mark.parametrize("tap", [recorded_layers, lambda model: without_stream(model, "vision")])
def test_a_block_that_no_tap_knows_is_an_error_and_not_left_out(cascaded, tap):
    class NewBlock(PolicyBlock):
        streams = ("vision",)

    cascaded.policy_head.blocks[1] = NewBlock()
    before = num_hooks(cascaded)
    with pytest.raises(NotImplementedError, match=r"NewBlock: expected a block that `_TAPS`"), tap(cascaded):
        pass
    assert num_hooks(cascaded) == before
