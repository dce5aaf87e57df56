"""Focus attention: keep the K patches that score best, and gate what they contribute (equations 9 to 11).

Legend: B batch, H heads, Q queries (action steps), P patches, D width.
"""

from typing import Literal

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor


def select_patches(
    scores: Float[Tensor, "batch heads queries patches"], num_kept: int
) -> Bool[Tensor, "batch heads queries patches"]:
    """Mark the `num_kept` best patches of each row, for every head and action step by itself.

    With `num_kept=2`:

        scores  [[0.1, 0.9, 0.4, 0.2],    kept  [[0, 1, 1, 0],
                 [0.7, 0.3, 0.0, 0.5]]           [1, 0, 0, 1]]

    Exactly `num_kept` are kept even where scores are equal: [0.5, 0.5, 0.5, 0.1] keeps two of the first
    three.
    """
    best = scores.topk(num_kept, dim=-1, sorted=False).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, best, True)


def select_shared_patches(
    scores: Float[Tensor, "batch heads queries patches"], num_kept: int
) -> Bool[Tensor, "batch heads queries patches"]:
    """Mark the same `num_kept` patches for all heads and action steps: those whose summed scores are best.

    With `num_kept=2`, the sums are [0.8, 1.2, 0.4, 0.7]:

        scores  [[0.1, 0.9, 0.4, 0.2],    kept  [[1, 1, 0, 0],
                 [0.7, 0.3, 0.0, 0.5]]           [1, 1, 0, 0]]
    """
    return select_patches(scores.sum(dim=(1, 2), keepdim=True), num_kept).expand_as(scores)


def select_random_patches(
    scores: Float[Tensor, "batch heads queries patches"], num_kept: int
) -> Bool[Tensor, "batch heads queries patches"]:
    """Mark `num_kept` patches that have nothing to do with the scores, others for each head and action step, and the same
    ones each time: what choosing is to be compared with. Places are ranked by a hash of theirs, which needs no generator.
    """
    places = (torch.arange(size, device=scores.device) for size in scores.shape[1:])
    head, query, patch = (
        (place + 1).view(shape) for place, shape in zip(places, ((-1, 1, 1), (-1, 1), (-1,)), strict=True)
    )
    ranks = head * 73_856_093 ^ query * 19_349_663 ^ patch * 83_492_791
    for _ in range(2):  # or neighbors would be ranked alike
        ranks = ((ranks >> 16) ^ ranks) * 0x45D9F3B & 0x7FFFFFFF
    return select_patches(ranks[None].to(torch.float64), num_kept).expand_as(scores)


def select_attended_patches(
    scores: Float[Tensor, "batch heads action_queries patches"], num_kept: int
) -> Bool[Tensor, "batch 1 1 patches"]:
    """Mark the `num_kept` patches that the action queries attend to most, in the mean over heads and action queries.

    Each row of scores passes a softmax first, so that each head and action query has one vote to divide, whatever the
    range of its scores. With `num_kept=2`, the sums are [0.6, 0.7, 0.5, 0.2]:

        softmax of scores  [[0.1, 0.6, 0.2, 0.1],    kept  [1, 1, 0, 0]
                            [0.5, 0.1, 0.3, 0.1]]
    """
    attention = scores.softmax(dim=-1, dtype=torch.float32)
    return select_patches(attention.mean(dim=(1, 2), keepdim=True), num_kept)


_SELECTIONS = {
    "per_query": select_patches,
    "shared": select_shared_patches,
    "random": select_random_patches,
}


def focus_weights(
    scores: Float[Tensor, "batch heads queries patches"],
    num_kept: int,
    selection: Literal["per_query", "shared", "random"],
) -> Float[Tensor, "batch heads queries patches"]:
    """Softmax over the kept patches; dropped ones weigh exactly 0 (equation 9).

    With `num_kept=2`, [0.0, 2.0, 2.0, 1.0] becomes [0.0, 0.5, 0.5, 0.0].
    """
    if num_kept >= scores.shape[-1]:
        return scores.softmax(dim=-1)
    select = _SELECTIONS[selection]
    return weights_of_kept(scores, select(scores.detach(), num_kept))


def weights_of_kept(
    scores: Float[Tensor, "batch heads queries patches"],
    kept: Bool[Tensor, "batch #heads #queries patches"],
) -> Float[Tensor, "batch heads queries patches"]:
    """Softmax over the patches that are marked; the others weigh exactly 0."""
    return scores.masked_fill(~kept, float("-inf")).softmax(dim=-1)


def apply_gate(
    attended: Float[Tensor, "batch queries width"], logits: Float[Tensor, "batch queries gates"]
) -> Float[Tensor, "batch queries width"]:
    """Let each channel pass by the sigmoid of its gate's logit (equation 11).

    There is one gate for each channel, or one for each head's neighbouring channels. With 4 channels and
    logits [-inf, 0] the channels of [8, 8, 8, 8] become [0, 0, 4, 4].
    """
    gate = torch.sigmoid(logits)
    channels_per_gate = attended.shape[-1] // logits.shape[-1]
    if channels_per_gate > 1:
        gate = repeat(gate, "B Q G -> B Q (G C)", C=channels_per_gate)
    return attended * gate
