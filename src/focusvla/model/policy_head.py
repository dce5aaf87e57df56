"""The policy: from a latent, one row per action step, to actions, one policy layer per language layer.

Departs from the paper: `latent="learned"` gives each action step its own first row. VLA-Adapter's constant,
`zeros`, is equal for all steps, so that nothing tells one step from the next. Its training adds noise there;
ours does not, since fresh noise carries no step either.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from focusvla.config import ModelConfig
from focusvla.model.blocks import CascadedBlock


class ConstantLatent(nn.Module):
    """Zeros through LayerNorm, Linear and ReLU: the first latent of VLA-Adapter."""

    def __init__(self, chunk_length: int, action_dim: int, width: int):
        super().__init__()
        self.chunk_length = chunk_length
        self.norm = nn.LayerNorm(action_dim * width)
        self.linear = nn.Linear(action_dim * width, width)

    def forward(self, batch_size: int) -> Float[Tensor, "batch chunk width"]:
        zeros = torch.zeros_like(self.norm.weight)
        row = torch.relu(self.linear(self.norm(zeros)))
        return row.expand(batch_size, self.chunk_length, -1)


class LearnedLatent(nn.Module):
    """One learned row per action step."""

    def __init__(self, chunk_length: int, width: int):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(chunk_length, width) * 0.02)

    def forward(self, batch_size: int) -> Float[Tensor, "batch chunk width"]:
        return self.rows.expand(batch_size, -1, -1)


class PolicyHead(nn.Module):
    """The stack of policy layers with their input and output maps."""

    def __init__(self, config: ModelConfig, raw_width: int):
        super().__init__()
        head, width, num_layers = config.policy_head, config.language.hidden_size, config.language.num_layers
        self.values = head.values
        self.latent = (
            ConstantLatent(config.chunk_length, config.action_dim, width)
            if head.latent == "zeros"
            else LearnedLatent(config.chunk_length, width)
        )
        self.proprioception = nn.Sequential(
            nn.Linear(config.state_dim, width), nn.GELU(), nn.Linear(width, width)
        )
        if head.values != "vlm":
            # One map for all layers, then each layer's own value projection.
            self.raw_projection = nn.Linear(raw_width, width)
            self.raw_position = nn.Parameter(torch.randn(config.num_patches, width) * 0.02)
            self.raw_norm = _stream_norm(head.normalize_streams, width)
        if head.values != "ds":
            self.vision_norms = nn.ModuleList(
                _stream_norm(head.normalize_streams, width) for _ in range(num_layers)
            )
        self.action_query_norms = nn.ModuleList(
            _stream_norm(head.normalize_streams, width) for _ in range(num_layers)
        )
        self.blocks = nn.ModuleList(CascadedBlock(head, width) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, config.action_dim)

    def forward(
        self,
        vision_states: Sequence[Float[Tensor, "batch patches width"]],
        action_query_states: Sequence[Float[Tensor, "batch queries width"]],
        features: Float[Tensor, "batch patches raw"],
        state: Float[Tensor, "batch state"],
    ) -> Float[Tensor, "batch chunk action"]:
        """Predict actions from the language model's states after each layer and the raw features."""
        latent = self.latent(state.shape[0])
        proprioception = self.proprioception(state)[:, None]
        raw = None
        if self.values != "vlm":
            raw = self.raw_norm(self.raw_projection(features) + self.raw_position)
        for layer, block in enumerate(self.blocks):
            queries = torch.cat([action_query_states[layer], proprioception], dim=1)
            queries = self.action_query_norms[layer](queries)
            keys = raw if self.values == "ds" else self.vision_norms[layer](vision_states[layer])
            latent = block(latent, queries, keys, keys if raw is None else raw)
        return self.output(self.norm(latent))


def _stream_norm(is_normalized: bool, width: int) -> nn.Module:
    return nn.LayerNorm(width) if is_normalized else nn.Identity()
