"""Multi-head attention in plain pieces.

Vision attention has few queries (a chunk of actions) and many patches, so its key and value projections are
applied to the query side: `(q W) c^T` equals `q (W c)^T`, and `W (w F)` equals `w (W F)`. With 8 action
steps, 4 heads and 128 patches this needs a quarter of the multiplications, and no projected copy of the
patches is stored for the backward pass. The attention weights exist either way, so a tap on them costs
nothing.

Legend: B batch, H heads, Q queries, P patches, D width, E head width (D / H).
"""

from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


def split_heads(
    x: Float[Tensor, "batch tokens width"], num_heads: int
) -> Float[Tensor, "batch heads tokens head_width"]:
    """Cut the channels into heads."""
    return rearrange(x, "B N (H E) -> B H N E", H=num_heads)


def merge_heads(
    x: Float[Tensor, "batch heads tokens head_width"],
) -> Float[Tensor, "batch tokens width"]:
    """Undo `split_heads`."""
    return rearrange(x, "B H N E -> B N (H E)")


def attend(
    queries: Float[Tensor, "batch heads queries head_width"],
    keys: Float[Tensor, "batch heads tokens head_width"],
    values: Float[Tensor, "batch heads tokens head_width"],
) -> Float[Tensor, "batch queries width"]:
    """Softmax attention to every token, by a fused kernel."""
    return merge_heads(fused_attention(queries, keys, values))


def fused_attention(
    queries: Float[Tensor, "batch heads queries head_width"],
    keys: Float[Tensor, "batch key_heads tokens head_width"],
    values: Float[Tensor, "batch key_heads tokens head_width"],
    is_causal: bool = False,
    enable_gqa: bool = False,
) -> Float[Tensor, "batch heads queries head_width"]:
    """torch's `scaled_dot_product_attention`; on a CPU in float32, which takes half the time of bfloat16 there."""
    attend_in_one = partial(F.scaled_dot_product_attention, is_causal=is_causal, enable_gqa=enable_gqa)
    if queries.device.type != "cpu" or values.dtype != torch.bfloat16:
        return attend_in_one(queries, keys, values)
    with torch.autocast("cpu", enabled=False):
        return attend_in_one(queries.float(), keys.float(), values.float()).to(values.dtype)


def scaled_scores(
    queries: Float[Tensor, "batch heads queries head_width"],
    keys: Float[Tensor, "batch heads tokens head_width"],
) -> Float[Tensor, "batch heads queries tokens"]:
    """Products of queries and keys over the root of the heads' width, in float32."""
    return product_in_float32(queries * queries.shape[-1] ** -0.5, keys.mT)


def product_in_float32(
    left: Float[Tensor, "*batch rows inner"], right: Float[Tensor, "*batch inner columns"]
) -> Float[Tensor, "*batch rows columns"]:
    """The product of matrices of any precision, not rounded below float32, whatever autocast says.

    Scores decide which patch is the last of the best K: rounded to bfloat16's 8 bits, several are equal there.
    """
    kind = left.device.type
    is_cast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(
        kind
    )  # the meta device has none
    with torch.autocast(kind, enabled=False) if is_cast else nullcontext():
        return left.float() @ right.float()


def scores_of_unprojected_keys(
    queries: Float[Tensor, "batch heads queries head_width"],
    keys: Float[Tensor, "batch patches width"],
    projection: nn.Linear,
) -> Float[Tensor, "batch heads queries patches"]:
    """Scaled scores of `queries` against `projection(keys)` in float32, without projecting the keys."""
    num_heads, head_width = queries.shape[1], queries.shape[3]
    weight = rearrange(projection.weight, "(H E) D -> H E D", H=num_heads)
    scaled = queries * head_width**-0.5
    projected = torch.einsum("bhqe,hed->bhqd", scaled, weight)
    # One product for all heads: they share the keys.
    scores = product_in_float32(rearrange(projected, "B H Q D -> B (H Q) D"), keys.mT)
    scores = rearrange(scores, "B (H Q) P -> B H Q P", H=num_heads)
    # The bias adds the same to every patch of a row. A softmax over patches alone does not see it.
    bias = torch.einsum("bhqe,he->bhq", scaled, rearrange(projection.bias, "(H E) -> H E", H=num_heads))
    return scores + bias[..., None]


def attend_to_unprojected_values(
    weights: Float[Tensor, "batch heads queries patches"],
    values: Float[Tensor, "batch patches width"],
    projection: nn.Linear,
) -> Float[Tensor, "batch queries width"]:
    """Weighted mean of `projection(values)`, without projecting the values; each row of weights sums to 1."""
    num_heads = weights.shape[1]
    weight = rearrange(projection.weight, "(H E) D -> H E D", H=num_heads)
    attended = rearrange(weights.to(values.dtype), "B H Q P -> B (H Q) P") @ values
    attended = rearrange(attended, "B (H Q) D -> B H Q D", H=num_heads)
    return merge_heads(torch.einsum("bhqd,hed->bhqe", attended, weight)) + projection.bias


def rotate_positions(
    x: Float[Tensor, "batch heads tokens head_width"], precision: torch.dtype | None = None
) -> Float[Tensor, "batch heads tokens head_width"]:
    """VLA-Adapter's position code: channel c of token t times cos(t f), its neighbour in the pair times sin(t f).

    Departs from rotary embedding: the two channels of a pair (2i, 2i + 1) turn with different frequencies, f of c being
    10000^(-2 (c mod E/2) / E), so lengths are not kept. The released weights were trained with it, and with angles
    rounded to bfloat16, which is their `precision`; without one it is that of `x`.
    """
    tokens, width = x.shape[2:]
    precision = precision or x.dtype
    frequencies = 10000.0 ** (-torch.arange(0, width, 2, device=x.device) / width)
    angles = torch.arange(tokens, device=x.device).to(precision)[:, None] * frequencies.to(precision)
    angles = torch.cat([angles, angles], dim=-1)
    pairs = rearrange(x, "B H N (E pair) -> B H N E pair", pair=2)
    neighbours = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
    return x * angles.cos().to(x.dtype) + neighbours * angles.sin().to(x.dtype)


def rotary_turns(
    num_tokens: int, head_width: int, device: torch.device | None = None
) -> Float[Tensor, "tokens pairs 2"]:
    """Cosine and sine of the angles t f of token t in float32, f of pair i being 10000^(-2 i / head_width)."""
    frequencies = 10000.0 ** (-torch.arange(0, head_width, 2, device=device) / head_width)
    angles = torch.arange(num_tokens, device=device)[:, None] * frequencies
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate(
    x: Float[Tensor, "batch heads tokens head_width"], turns: Float[Tensor, "positions pairs 2"]
) -> Float[Tensor, "batch heads tokens head_width"]:
    """Rotary positions: turn the channels (2i, 2i + 1) of token t by its angle, so that scores depend on distances alone.

    A pair (1, 0) at an angle of 90 degrees becomes (0, 1); lengths are kept.

    Departs from VLA-Adapter, see `rotate_positions`: both channels of a pair turn by one angle, which is never rounded
    to bfloat16.
    """
    cos, sin = turns[: x.shape[2]].unbind(-1)
    first, second = rearrange(x.float(), "B H N (E pair) -> pair B H N E", pair=2)
    turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)
