"""The head's size is the paper's, and each choice of keys and values reads what it says."""

from dataclasses import replace

import pytest
import torch

from focusvla.config import LanguageConfig, ModelConfig, PolicyHeadConfig, VisionConfig
from focusvla.model.policy_head import PolicyHead

# DINOv2-L and SigLIP-so400m side by side.
PAPER_RAW_WIDTH = 1024 + 1152


def test_the_paper_configuration_has_the_239_million_parameters_of_table_3():
    config = ModelConfig(
        vision=VisionConfig(encoder="patches", image_size=224, patch_size=14),
        language=LanguageConfig(
            hidden_size=896, num_layers=24, num_heads=14, num_key_value_heads=2, intermediate_size=4864
        ),
        policy_head=PolicyHeadConfig(num_heads=8, num_kept_patches=256),
        num_cameras=2,
        state_dim=8,
        action_dim=7,
        chunk_length=8,
        num_action_queries=64,
    )
    with torch.device("meta"):
        head = PolicyHead(config, PAPER_RAW_WIDTH)
    counts = {name: parameter.numel() for name, parameter in head.named_parameters()}
    # The table leaves out the proprioception network, and the paper's encoders know positions already.
    left_out = sum(
        count for name, count in counts.items() if name.startswith(("proprioception", "raw_position"))
    )
    assert left_out == 811_776 + 512 * 896
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
    actions = head(states, queries, features, torch.randn(1, 3))
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
    head(states, [torch.randn(1, 2, 16) for _ in range(2)], torch.randn(1, 8, 6), torch.randn(1, 3))
    assert read[0] is states[0]
    assert read[1] is states[1]


def test_the_constant_latent_cannot_tell_action_steps_apart_and_the_learned_one_can(tiny_config):
    torch.manual_seed(0)
    streams = (
        [torch.randn(1, 8, 16)] * 2,
        [torch.randn(1, 2, 16)] * 2,
        torch.randn(1, 8, 6),
        torch.randn(1, 3),
    )
    learned = PolicyHead(tiny_config, raw_width=6)(*streams)
    config = replace(tiny_config, policy_head=replace(tiny_config.policy_head, latent="zeros"))
    constant = PolicyHead(config, raw_width=6)(*streams)
    torch.testing.assert_close(constant, constant[:, :1].expand_as(constant))
    assert learned.std(dim=1).min() > 1e-5
