"""The long way round leads to the same actions, so that both are timed for the same work."""

from dataclasses import replace

import pytest
import torch

from benchmark_scripts import script
from focusvla.config import AdapterConfig, ModelConfig
from focusvla.model.focusvla import FocusVLA
from focusvla.presets import baseline_mixed_separate, paper_tiny, with_policy_head
from focusvla.types import ModelInputs


def toy(**head: object) -> ModelConfig:
    model = with_policy_head(paper_tiny(), **head).model
    vocabulary = replace(model.language, vocabulary=("cup", "lift", "the"))
    return replace(model, language=vocabulary, adapters=AdapterConfig())


PRO = baseline_mixed_separate().model.policy_head
CONFIGURATIONS = {
    "focusvla": toy(),
    "language model's states": toy(values="vlm", selection="shared", gate="head_wise"),
    "VLA-Adapter's Pro": replace(
        toy(
            attention="mixed",
            positions="none",
            streams=PRO.streams,
            gate=PRO.gate,
            values=PRO.values,
            num_kept_patches=32,
        ),
        alignment="vla_adapter",
    ),
}


@pytest.mark.parametrize("config", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_the_reference_path_gives_the_models_actions(config):
    torch.manual_seed(0)
    model = FocusVLA(config).requires_grad_(False).eval()
    images = torch.randint(0, 256, (1, 2, 56, 56, 3), dtype=torch.uint8)
    state = torch.randn(1, config.state_dim)
    ids, mask = model.tokenize(["lift the cup"])
    expected = model(ModelInputs(images, None, ids, mask, state))
    actions = script("reference_path").ReferencePath(model)(images, "lift the cup", state)
    torch.testing.assert_close(actions, expected, rtol=1e-4, atol=1e-5)
