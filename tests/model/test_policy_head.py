"""The head's size is the paper's, and each choice of keys and values reads what it says."""

from dataclasses import replace

import pytest
import torch

from focusvla.model.policy_head import PolicyHead, pool_patches
from focusvla.presets import paper

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
