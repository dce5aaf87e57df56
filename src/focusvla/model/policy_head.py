"""The policy: from a latent, one row per action step, to actions, one policy layer per language layer.

Departs from VLA-Adapter: `latent="noise"` and `latent="learned"` give each action step its own first row. Its zeros,
with or without noise in training, are equal for all steps when it acts: only positions tell one step from the next.
"""

from collections.abc import Iterable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from focusvla.config import ModelConfig
from focusvla.devices import upload
from focusvla.model.blocks import BLOCKS
from focusvla.model.side_stream import SideStream

LayerStates = tuple[Float[Tensor, "batch patches width"], Float[Tensor, "batch queries width"]]
"""The language model's states of patches and of action queries after one layer."""

TRAINING_NOISE = 0.02
"""VLA-Adapter's standard deviation of what training adds to the zeros."""


class ConstantLatent(nn.Module):
    """Zeros through LayerNorm, Linear and ReLU: the first latent of VLA-Adapter."""

    def __init__(self, chunk_length: int, action_dim: int, width: int):
        super().__init__()
        self.chunk_length = chunk_length
        self.norm = nn.LayerNorm(action_dim * width)
        self.linear = nn.Linear(action_dim * width, width)

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch chunk width"]:
        row = self.encode(torch.zeros_like(self.norm.weight))
        return row.expand(tokens.shape[0], self.chunk_length, -1)

    def encode(self, x: Float[Tensor, "*rows actions_times_width"]) -> Float[Tensor, "*rows width"]:
        """What becomes of an input; VLA-Adapter's is zero but for the noise in its training."""
        return torch.relu(self.linear(self.norm(x)))


class TrainingNoiseLatent(ConstantLatent):
    """Zeros at inference; in training, noise that all samples share, which LayerNorm brings to a deviation near 1.

    Departs from VLA-Adapter, where each process draws its own: `draw` gives a step one noise, in however many processes
    and passes its batch is computed, and again when it is repeated. Without it, each pass draws from torch's generator.
    """

    def __init__(self, chunk_length: int, action_dim: int, width: int):
        super().__init__(chunk_length, action_dim, width)
        self._drawn: Float[Tensor, "chunk actions_times_width"] | None = None

    def draw(self, seed: int, step: int) -> None:
        """Set the noise of a training step, a function of `seed` and `step` alone."""
        # The last number keeps it apart from what batches are drawn with.
        (state,) = np.random.SeedSequence([seed, step, 0, 1]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state) & (2**63 - 1))
        self._drawn = upload(torch.randn(self._shape, generator=generator), self.norm.weight.device)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.chunk_length, self.linear.in_features

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch chunk width"]:
        if not self.training:
            return super().forward(tokens)
        drawn = torch.randn(self._shape, device=tokens.device) if self._drawn is None else self._drawn
        noise = TRAINING_NOISE * drawn.to(self.norm.weight)
        return self.encode(noise).expand(tokens.shape[0], -1, -1)


class NoiseLatent(ConstantLatent):
    """One draw of noise in place of the zeros, kept with the weights.

    Departs from VLA-Adapter, see `TrainingNoiseLatent`: the policy acts with what it was trained with.
    """

    noise: Tensor

    def __init__(self, chunk_length: int, action_dim: int, width: int):
        super().__init__(chunk_length, action_dim, width)
        self.register_buffer("noise", torch.randn(chunk_length, action_dim * width))

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch chunk width"]:
        noise = self.noise.to(self.norm.weight.dtype)  # weights may be divided and gathered in another
        return self.encode(noise).expand(tokens.shape[0], -1, -1)


class ActionQueryLatent(ConstantLatent):
    """The action queries' last states, `action_dim` of them for each step, in place of the zeros (OpenVLA-OFT)."""

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch chunk width"]:
        return self.encode(rearrange(tokens, "B (T A) D -> B T (A D)", T=self.chunk_length))


class LearnedLatent(nn.Module):
    """One learned row per action step."""

    def __init__(self, chunk_length: int, width: int):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(chunk_length, width) * 0.02)

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch chunk width"]:
        return self.rows.expand(tokens.shape[0], -1, -1)


def build_latent(config: ModelConfig) -> ConstantLatent | LearnedLatent:
    """The configured first latent."""
    width = config.language.hidden_size
    if config.policy_head.latent == "learned":
        return LearnedLatent(config.chunk_length, width)
    kinds = {
        "zeros": ConstantLatent,
        "training_noise": TrainingNoiseLatent,
        "noise": NoiseLatent,
        "action_queries": ActionQueryLatent,
    }
    return kinds[config.policy_head.latent](config.chunk_length, config.action_dim, width)


def pool_patches(
    patches: Float[Tensor, "batch patches width"], num_cameras: int
) -> Float[Tensor, "batch pooled width"]:
    """The mean of each 2 x 2 neighbouring patches of a camera's square grid.

    One camera, patches [0, 1, 2, 3] of one channel: [1.5].
    """
    side = int((patches.shape[1] // num_cameras) ** 0.5)
    grid = rearrange(patches, "B (C h y w x) D -> (y x) B (C h w) D", C=num_cameras, h=side // 2, y=2, x=2)
    return grid.mean(dim=0)


def position_table(config: ModelConfig) -> nn.Parameter | None:
    """Learned positions of all cameras' patches, (patches, width), if the configuration asks for them."""
    if not config.position_tables:
        return None
    return nn.Parameter(torch.randn(config.num_patches, config.language.hidden_size) * 0.02)


class PolicyHead(nn.Module):
    """The stack of policy layers with their input and output maps."""

    def __init__(self, config: ModelConfig, raw_width: int):
        super().__init__()
        head, width = config.policy_head, config.language.hidden_size
        num_layers = head.num_layers or config.language.num_layers
        self.num_cameras = config.num_cameras
        self.is_pooled = head.pooling == "2x2"
        self.attends = attends = bool(BLOCKS[head.attention].streams)
        """Whether its layers look at anything but their own latent."""
        self.reads_states = head.values in ("vlm", "vlm_ds") or not attends
        self.reads_features = attends and head.values != "vlm"
        self.latent = build_latent(config)
        self.proprioception = nn.Sequential(
            nn.Linear(config.state_dim, width), nn.GELU(), nn.Linear(width, width)
        )
        if self.reads_features:
            # One map for all layers, then each layer's own value projection.
            self.raw_projection = nn.Linear(raw_width, width)
            self.raw_position = position_table(config)
            self.raw_norm = _stream_norm(head.normalize_streams, width)
        if self.reads_states:
            self.vision_norms = nn.ModuleList(
                _stream_norm(head.normalize_streams and attends, width) for _ in range(num_layers)
            )
        self.action_query_norms = nn.ModuleList(
            _stream_norm(head.normalize_streams and attends, width) for _ in range(num_layers)
        )
        self.blocks = nn.ModuleList(BLOCKS[head.attention](head, width) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, config.action_dim)

    def forward(
        self,
        states: Iterable[LayerStates],
        features: Float[Tensor, "batch patches raw"],
        proprioception: Float[Tensor, "batch 1 width"],
    ) -> Float[Tensor, "batch chunk action"]:
        """Predict actions from the language model's states after each layer, the raw features and `proprioception`'s
        token. A layer's states are asked for when it is its turn."""
        if isinstance(self.latent, ActionQueryLatent):
            states = list(states)
            latent = self.latent(states[-1][1])
        else:  # contiguous: each layer's input has one layout, for which it is compiled once
            latent = self.latent(proprioception).contiguous()
        raw = self._raw_values(features) if self.reads_features else None
        beside = SideStream(features.device)
        # Until both streams meet, what one of them reads must not be overwritten by the other.
        kept: list[object] = [latent]
        for layer, (block, (vision_states, query_states)) in enumerate(
            zip(self.blocks, states, strict=False)
        ):
            kept.append((vision_states, query_states))
            with beside:
                queries = torch.cat([query_states, proprioception], dim=1)
                queries = self.action_query_norms[layer](queries)
                keys = self.vision_norms[layer](self._pooled(vision_states)) if self.reads_states else raw
                latent = block(latent, queries, keys, keys if raw is None else raw)
        beside.join()
        return self.output(self.norm(latent))

    def _raw_values(
        self, features: Float[Tensor, "batch patches raw"]
    ) -> Float[Tensor, "batch policy_patches width"]:
        values = self.raw_projection(features)
        if self.raw_position is not None:
            values = values + self.raw_position
        return self.raw_norm(self._pooled(values))

    def _pooled(
        self, patches: Float[Tensor, "batch patches width"]
    ) -> Float[Tensor, "batch policy_patches width"]:
        return pool_patches(patches, self.num_cameras) if self.is_pooled else patches


def _stream_norm(is_normalized: bool, width: int) -> nn.Module:
    return nn.LayerNorm(width) if is_normalized else nn.Identity()
