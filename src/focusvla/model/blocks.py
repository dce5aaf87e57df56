"""The policy layers that section 3.2 of the paper compares, side by side, with one signature.

    block(latent, action_queries, vision_keys, vision_values) -> latent

`CascadedBlock` is equations 6 to 8: each modality has its own softmax, so a long row of patches cannot crowd
out the few action queries, and one linear map fuses the three results. It has no separate output projections;
the fusion is theirs, which is the reading that fits the parameter count of Table 3.

`MixedBlock` is VLA-Adapter's (equations 1 to 5): one softmax over all three streams, and a gate that scales the
scores of the patches. `MLPBlock` is OpenVLA-OFT's, which attends to nothing: what it knows came with the latent.
"""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from focusvla.config import PolicyHeadConfig
from focusvla.model.attention import (
    attend,
    attend_to_unprojected_values,
    merge_heads,
    rotary_turns,
    rotate,
    rotate_positions,
    scaled_scores,
    scores_of_unprojected_keys,
    split_heads,
)
from focusvla.model.focus import apply_gate, focus_weights, select_attended_patches, weights_of_kept

Stream = Literal["self", "action_query", "vision"]
STREAMS: tuple[Stream, ...] = ("self", "action_query", "vision")
"""What a block can attend to: the latent itself, the action queries with the proprioception token, and the patches."""


def scalar_gate(config: PolicyHeadConfig) -> nn.Parameter:
    """VLA-Adapter's gate, the hyperbolic tangent of one number."""
    return nn.Parameter(torch.full((1,), math.atanh(config.initial_gate)))


class VisionGate(nn.Module):
    """The gate on the vision attention's output, computed from the latent that asks."""

    def __init__(self, config: PolicyHeadConfig, width: int):
        super().__init__()
        self.kind = config.gate
        if self.kind == "scalar":
            self.scalar = scalar_gate(config)
        elif self.kind != "none":
            self.logits = nn.Linear(width, config.num_heads if self.kind == "head_wise" else width)

    def forward(
        self,
        attended: Float[Tensor, "batch chunk width"],
        latent: Float[Tensor, "batch chunk width"],
    ) -> Float[Tensor, "batch chunk width"]:
        if self.kind == "none":
            return attended
        if self.kind == "scalar":
            return attended * torch.tanh(self.scalar)
        return apply_gate(attended, self.logits(latent))


class LinearFeedForward(nn.Module):
    """LayerNorm, Linear, ReLU, as in VLA-Adapter: nothing passes around it, no output is negative."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "batch chunk width"]) -> Float[Tensor, "batch chunk width"]:
        return torch.relu(self.linear(self.norm(x)))


class ResidualFeedForward(nn.Module):
    """A pre-norm network of four times the width with a residual path.

    Departs from the paper: the linear form has no path around it, which pretrained states may bear and random
    weights do not.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "batch chunk width"]) -> Float[Tensor, "batch chunk width"]:
        return x + self.network(self.norm(x))


def build_feed_forward(config: PolicyHeadConfig, width: int) -> nn.Module:
    """The second half of a policy layer."""
    return LinearFeedForward(width) if config.feed_forward == "linear" else ResidualFeedForward(width)


class PolicyBlock(nn.Module):
    """What every block is called with, and says of itself."""

    streams: ClassVar[tuple[Stream, ...]]
    """Those that it attends to, which `focusvla.model.taps` shows; none of a block that does not attend."""

    def forward(
        self,
        latent: Float[Tensor, "batch chunk width"],
        action_queries: Float[Tensor, "batch queries width"],
        vision_keys: Float[Tensor, "batch patches width"],
        vision_values: Float[Tensor, "batch patches width"],
    ) -> Float[Tensor, "batch chunk width"]:
        """The latent of the next layer. `action_queries` end with the proprioception token."""
        raise NotImplementedError


class CascadedBlock(PolicyBlock):
    """Attend to the latent itself, to the action queries and to the focused patches, then fuse."""

    streams = STREAMS

    def __init__(self, config: PolicyHeadConfig, width: int):
        super().__init__()
        self.config = config
        self.num_heads = config.num_heads
        self.latent_norm = nn.LayerNorm(width) if config.normalize_streams else nn.Identity()
        self.query = nn.Linear(width, width)
        self.self_key = nn.Linear(width, width)
        self.self_value = nn.Linear(width, width)
        self.action_query_key = nn.Linear(width, width)
        self.action_query_value = nn.Linear(width, width)
        self.vision_key = nn.Linear(width, width)
        self.vision_value = nn.Linear(width, width)
        self.gate = VisionGate(config, width)
        self.attention_weights = nn.Identity()
        """Sees (batch heads chunk patches), zero on dropped patches: register a forward hook here to look."""
        self.fusion = nn.Linear(3 * width, width)
        self.feed_forward = build_feed_forward(config, width)

    def forward(
        self,
        latent: Float[Tensor, "batch chunk width"],
        action_queries: Float[Tensor, "batch queries width"],
        vision_keys: Float[Tensor, "batch patches width"],
        vision_values: Float[Tensor, "batch patches width"],
    ) -> Float[Tensor, "batch chunk width"]:
        first = self.latent_norm(latent)
        turns = self._turns(first, action_queries, vision_keys)
        asking, queries = first, self._heads(self.query(first), turns)
        from_self = attend(
            queries, self._heads(self.self_key(first), turns), self._heads(self.self_value(first))
        )
        asking, queries = self._ask_next(asking, queries, from_self, turns)
        from_action_queries = attend(
            queries,
            self._heads(self.action_query_key(action_queries), turns),
            self._heads(self.action_query_value(action_queries)),
        )
        _, queries = self._ask_next(asking, queries, from_action_queries, turns)
        attended = self._focus(queries, action_queries, vision_keys, vision_values, turns)
        from_vision = self.gate(attended, first)
        fused = self.fusion(torch.cat([from_self, from_action_queries, from_vision], dim=-1))
        return self.feed_forward(fused + latent)

    def _turns(self, *streams: Float[Tensor, "batch _ width"]) -> Float[Tensor, "positions pairs 2"] | None:
        if self.config.positions == "none":
            return None
        head_width = streams[0].shape[2] // self.num_heads
        return rotary_turns(max(stream.shape[1] for stream in streams), head_width, streams[0].device)

    def _heads(
        self, x: Float[Tensor, "batch tokens width"], turns: Float[Tensor, "positions pairs 2"] | None = None
    ) -> Float[Tensor, "batch heads tokens head_width"]:
        heads = split_heads(x, self.num_heads)
        return heads if turns is None else rotate(heads, turns)

    def _ask_next(
        self,
        asking: Float[Tensor, "batch chunk width"],
        queries: Float[Tensor, "batch heads chunk head_width"],
        attended: Float[Tensor, "batch chunk width"],
        turns: Float[Tensor, "positions pairs 2"] | None,
    ) -> tuple[Float[Tensor, "batch chunk width"], Float[Tensor, "batch heads chunk head_width"]]:
        """What asks the next attention, and its queries."""
        if self.config.cascade == "parallel":
            return asking, queries
        asking = attended if self.config.cascade == "sequential" else asking + attended
        return asking, self._heads(self.query(asking), turns)

    def _focus(
        self,
        queries: Float[Tensor, "batch heads chunk head_width"],
        action_queries: Float[Tensor, "batch queries width"],
        vision_keys: Float[Tensor, "batch patches width"],
        vision_values: Float[Tensor, "batch patches width"],
        turns: Float[Tensor, "positions pairs 2"] | None,
    ) -> Float[Tensor, "batch chunk width"]:
        # A turned key depends on its place, and is no longer a linear map of the patch that could be moved to the query.
        keys = None if turns is None else self._heads(self.vision_key(vision_keys), turns)

        def score(asked: Float[Tensor, "batch heads asked head_width"]) -> Tensor:
            if keys is None:
                return scores_of_unprojected_keys(asked, vision_keys, self.vision_key)
            return scaled_scores(asked, keys)

        scores, num_kept = score(queries), self.config.num_kept_patches
        if self.config.selection != "action_queries":
            weights = focus_weights(scores, num_kept, self.config.selection)
        elif num_kept >= scores.shape[-1]:
            weights = scores.softmax(dim=-1)
        else:
            # After the latent's own scores: autocast of older versions keeps a weight as it was first cast, which under
            # `no_grad` is without a gradient.
            with torch.no_grad():
                asked = self._heads(self.query(action_queries[:, :-1]), turns)  # without proprioception
                kept = select_attended_patches(score(asked), num_kept)
            weights = weights_of_kept(scores, kept)
        return attend_to_unprojected_values(self.attention_weights(weights), vision_values, self.vision_value)


class MixedBlock(PolicyBlock):
    """Attend to latent, action queries and patches in one softmax, the patches' scores times the gate.

    A scalar gate of 0 makes the patches' scores equal and keeps their share of the softmax: vision is blurred, not
    switched off. That is VLA-Adapter's documented defect, kept here because its weights were trained with it.
    """

    streams = STREAMS

    def __init__(self, config: PolicyHeadConfig, width: int):
        super().__init__()
        self.num_heads = config.num_heads
        self.has_positions = config.streams == "separate"
        self.position_precision = torch.bfloat16 if config.position_precision == "bfloat16" else None
        self.latent_norm = nn.LayerNorm(width) if config.normalize_streams else nn.Identity()
        self.query = nn.Linear(width, width)
        maps = STREAMS if config.streams == "separate" else ("shared",)
        self.keys = nn.ModuleDict({name: nn.Linear(width, width) for name in maps})
        self.values = nn.ModuleDict({name: nn.Linear(width, width) for name in maps})
        self.gate = scalar_gate(config) if config.gate == "scalar" else None
        self.attention_weights = nn.Identity()
        """Sees (batch heads chunk tokens) over latent, action queries and patches, in that order."""
        self.output = nn.Linear(width, width)
        self.feed_forward = build_feed_forward(config, width)

    def forward(
        self,
        latent: Float[Tensor, "batch chunk width"],
        action_queries: Float[Tensor, "batch queries width"],
        vision_keys: Float[Tensor, "batch patches width"],
        vision_values: Float[Tensor, "batch patches width"],
    ) -> Float[Tensor, "batch chunk width"]:
        asking = self.latent_norm(latent)
        queries = self._placed(split_heads(self.query(asking), self.num_heads))
        queries = queries * queries.shape[-1] ** -0.5
        attended = {"self": asking, "action_query": action_queries, "vision": vision_keys}
        scores = {
            stream: queries
            @ self._placed(split_heads(self._of(self.keys, stream)(tokens), self.num_heads)).mT
            for stream, tokens in attended.items()
        }
        if self.gate is not None:
            scores["vision"] = scores["vision"] * torch.tanh(self.gate)
        weights = self.attention_weights(torch.cat(list(scores.values()), dim=-1).softmax(dim=-1))
        attended["vision"] = vision_values
        values = torch.cat(
            [self._of(self.values, stream)(tokens) for stream, tokens in attended.items()], dim=1
        )
        mixed = merge_heads(weights @ split_heads(values, self.num_heads))
        return self.feed_forward(self.output(mixed) + latent)

    def _of(self, maps: nn.ModuleDict, stream: str) -> nn.Module:
        return maps[stream if self.has_positions else "shared"]

    def _placed(
        self, x: Float[Tensor, "batch heads tokens head_width"]
    ) -> Float[Tensor, "batch heads tokens head_width"]:
        return rotate_positions(x, self.position_precision) if self.has_positions else x


class MLPBlock(PolicyBlock):
    """LayerNorm, Linear, ReLU and a path around them, for each action step by itself."""

    streams = ()

    def __init__(self, config: PolicyHeadConfig, width: int):
        super().__init__()
        self.feed_forward = LinearFeedForward(width)

    def forward(
        self,
        latent: Float[Tensor, "batch chunk width"],
        action_queries: Float[Tensor, "batch queries width"],
        vision_keys: Float[Tensor, "batch patches width"],
        vision_values: Float[Tensor, "batch patches width"],
    ) -> Float[Tensor, "batch chunk width"]:
        return latent + self.feed_forward(latent)


BLOCKS: dict[str, type[CascadedBlock] | type[MixedBlock] | type[MLPBlock]] = {
    "cascaded": CascadedBlock,
    "mixed": MixedBlock,
    "mlp": MLPBlock,
}
