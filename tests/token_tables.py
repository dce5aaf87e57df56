"""Tokens without a tokenizer."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def padded_tokens(
    sequences: Sequence[Sequence[int]], padding_id: int
) -> tuple[Int64[Tensor, "instructions tokens"], Bool[Tensor, "instructions tokens"]]:
    """Token lists as one table padded on the right, and its mask.

    [[5, 6], [7]] becomes [[5, 6], [7, 0]] with the mask [[1, 1], [1, 0]].
    """
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), padding_id, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.int64)
    mask = torch.arange(width) < torch.tensor([[len(sequence)] for sequence in sequences])
    return ids, mask
