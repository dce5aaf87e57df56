"""The head's size is the paper's, and each choice of keys and values reads what it says."""

from dataclasses import replace

import pytest
import torch

from focusvla.model.policy_head import PolicyHead, TrainingNoiseLatent, pool_patches
from focusvla.presets import paper, preset

# DINOv2-L and SigLIP-so400m side by side.
PAPER_RAW_WIDTH = 1024 + 1152


def test_the_paper_configuration_has_the_239_million_parameters_of_table_3():
    config = paper().model
    with torch.device("meta"):
        head = PolicyHead(config, PAPER_RAW_WIDTH)
    counts = {name: parameter.numel() for name, parameter in head.named_parameters()}
    # The table leaves out the proprioception network.
    left_out = sum(count for name, count in counts.items() if name.startswith("proprioception"))
    assert left_out == 811_776
    assert sum(counts.values()) - left_out == 239_060_871
    linear = 896 * 896 + 896
    per_layer = 8 * linear + (2688 * 896 + 896) + 2 * 896 + linear
    assert sum(count for name, count in counts.items() if name.startswith("blocks")) == 24 * per_layer


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("baseline_mixed", 102_129_695), ("baseline_mixed_separate", 179_286_047), ("paper_mixed", 179_286_023)],
)
def test_the_mixed_policies_have_the_weights_of_vla_adapters_base_and_of_what_its_pro_calls(name, parameters):
    """Its Pro has 38,578,176 more that are never called; Table 2's row without a gate has one scalar a layer less."""
    with torch.device("meta"):
        head = PolicyHead(preset(name).model, PAPER_RAW_WIDTH)
    counts = {name: parameter.numel() for name, parameter in head.named_parameters()}
    assert sum(count for name, count in counts.items() if not name.startswith("proprio")) == parameters


@pytest.mark.parametrize(
    ("values", "reads_states", "reads_features"),
    [("vlm", True, False), ("ds", False, True), ("vlm_ds", True, True)],
)
def test_keys_and_values_come_from_the_streams_the_field_names(
    tiny_config, values, reads_states, reads_features
):
    torch.manual_seed(0)
    config = replace(tiny_config, policy_head=replace(tiny_config.policy_head, values=values))
    head = PolicyHead(config, raw_width=6)
    states = [torch.randn(1, 8, 16, requires_grad=True) for _ in range(2)]
    queries = [torch.randn(1, 2, 16) for _ in range(2)]
    features = torch.randn(1, 8, 6, requires_grad=True)
    actions = head(list(zip(states, queries, strict=True)), features, torch.randn(1, 1, 16))
    assert actions.shape == (1, 5, 4)
    gradients = torch.autograd.grad(actions.square().sum(), [*states, features], allow_unused=True)
    assert [gradient is not None for gradient in gradients] == [reads_states, reads_states, reads_features]


def test_each_policy_layer_reads_its_own_language_layer(tiny_config):
    torch.manual_seed(0)
    head = PolicyHead(tiny_config, raw_width=6)
    read: list[torch.Tensor] = []
    for norm in head.vision_norms:
        norm.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    states = [torch.randn(1, 8, 16) for _ in range(2)]
    head([(state, torch.randn(1, 2, 16)) for state in states], torch.randn(1, 8, 6), torch.randn(1, 1, 16))
    assert read[0] is states[0]
    assert read[1] is states[1]


def test_the_constant_latent_cannot_tell_action_steps_apart_and_the_learned_one_can(tiny_config):
    torch.manual_seed(0)
    streams = (
        [(torch.randn(1, 8, 16), torch.randn(1, 2, 16))] * 2,
        torch.randn(1, 8, 6),
        torch.randn(1, 1, 16),
    )
    learned = PolicyHead(tiny_config, raw_width=6)(*streams)
    config = replace(tiny_config, policy_head=replace(tiny_config.policy_head, latent="zeros"))
    constant = PolicyHead(config, raw_width=6)(*streams)
    torch.testing.assert_close(constant, constant[:, :1].expand_as(constant))
    assert learned.std(dim=1).min() > 1e-5


def test_noise_tells_action_steps_apart_and_is_kept_with_the_weights(tiny_config):
    torch.manual_seed(0)
    config = replace(tiny_config, policy_head=replace(tiny_config.policy_head, latent="noise"))
    head = PolicyHead(config, raw_width=6)
    streams = (
        [(torch.randn(1, 8, 16), torch.randn(1, 2, 16))] * 2,
        torch.randn(1, 8, 6),
        torch.randn(1, 1, 16),
    )
    actions = head(*streams)
    assert actions.std(dim=1).min() > 1e-5
    copy = PolicyHead(config, raw_width=6)
    copy.load_state_dict(head.state_dict())
    assert torch.equal(copy(*streams), actions)


def with_training_noise(tiny_config, **changes) -> PolicyHead:
    torch.manual_seed(0)
    changes = {"positions": "rotary", "latent": "training_noise", **changes}
    return PolicyHead(
        replace(tiny_config, policy_head=replace(tiny_config.policy_head, **changes)), raw_width=6
    )


def streams_of(batch: int) -> tuple:
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, 8, 16), (batch, 2, 16), (batch, 8, 6), (batch, 1, 16)]
    patches, queries, features, proprioception = (torch.randn(s, generator=generator) for s in shapes)
    return [(patches, queries)] * 2, features, proprioception


def test_training_noise_is_drawn_anew_for_each_step_shared_by_the_samples_and_absent_when_acting(tiny_config):
    latent = with_training_noise(tiny_config).latent
    tokens = torch.zeros(3, 1, 16)
    assert isinstance(latent, TrainingNoiseLatent)
    encoded = []
    latent.norm.register_forward_hook(lambda module, given, answer: encoded.append(given[0]))
    latent.draw(seed=0, step=4)
    rows = latent(tokens)
    latent.draw(seed=0, step=5)
    other = latent(tokens)
    latent.draw(seed=0, step=4)
    again = latent(tokens[:1])
    assert rows.shape == (3, 5, 16)
    assert torch.equal(rows, rows[:1].expand_as(rows))
    assert torch.equal(again, rows[:1])
    assert not torch.equal(other, rows)
    assert encoded[0].shape == (5, 4 * 16)
    assert encoded[0].std().item() == pytest.approx(0.02, rel=0.1)
    acting = latent.eval()(tokens)
    assert not encoded[3].any()
    assert torch.equal(acting, acting[:1, :1].expand_as(acting))


def test_undrawn_training_noise_comes_from_torchs_generator_and_is_new_in_each_pass(tiny_config):
    head = with_training_noise(tiny_config)
    torch.manual_seed(1)
    first, second = head(*streams_of(1)), head(*streams_of(1))
    torch.manual_seed(1)
    assert torch.equal(head(*streams_of(1)), first)
    assert not torch.allclose(second, first)
    assert "latent.noise" not in head.state_dict()


def test_with_rotary_positions_action_steps_differ_when_acting_and_in_vla_adapters_base_they_are_one(
    tiny_config,
):
    actions = with_training_noise(tiny_config).eval()(*streams_of(1))
    assert actions.std(dim=1).min() > 1e-5
    base = with_training_noise(
        tiny_config, attention="mixed", positions="none", gate="scalar", values="vlm", num_kept_patches=8
    )
    actions = base.eval()(*streams_of(1))
    torch.testing.assert_close(actions, actions[:, :1].expand_as(actions))


def test_pooling_averages_two_by_two_neighbours_of_each_camera():
    cameras = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15.0]])
    patches = torch.cat([cameras.flatten(), 100 + cameras.flatten()])[None, :, None]
    assert pool_patches(patches, num_cameras=2).flatten().tolist() == [
        2.5, 4.5, 10.5, 12.5, 102.5, 104.5, 110.5, 112.5,
    ]  # fmt: skip


def test_a_pooled_policy_sees_a_quarter_of_the_patches(tiny_config):
    torch.manual_seed(0)
    head = replace(tiny_config.policy_head, pooling="2x2", num_kept_patches=2)
    policy = PolicyHead(replace(tiny_config, policy_head=head), raw_width=6)
    seen = []
    policy.get_submodule("blocks.0.attention_weights").register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    states = [(torch.randn(1, 8, 16), torch.randn(1, 2, 16))] * 2
    policy(states, torch.randn(1, 8, 6), torch.randn(1, 1, 16))
    assert seen[0].shape == (1, 4, 5, 2)


def test_two_cameras_swapped_with_their_positions_give_swapped_maps(tiny_config):
    torch.manual_seed(0)
    head = PolicyHead(tiny_config, raw_width=6)
    seen = []
    tap = head.get_submodule("blocks.1.attention_weights")
    tap.register_forward_hook(lambda module, args, output: seen.append(output))
    states, features = [torch.randn(1, 8, 16) for _ in range(2)], torch.randn(1, 8, 6)
    queries, proprioception = torch.randn(1, 2, 16), torch.randn(1, 1, 16)
    actions = head([(state, queries) for state in states], features, proprioception)

    def swapped(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[..., 4:, :], x[..., :4, :]], dim=-2)

    assert head.raw_position is not None
    head.raw_position.data = swapped(head.raw_position.data)
    again = head([(swapped(state), queries) for state in states], swapped(features), proprioception)
    torch.testing.assert_close(again, actions)
    torch.testing.assert_close(seen[1], torch.cat([seen[0][..., 4:], seen[0][..., :4]], dim=-1))
