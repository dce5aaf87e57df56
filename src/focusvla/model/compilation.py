"""torch.compile as models here use it: for fixed shapes, of which there are few, and all of them."""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import nn

MAX_COMPILED_SHAPES = 64
"""Of one function: torch would go on without compiling, in silence, after 8. Batches of five sizes, prompts of several
lengths, first layers whose input needs no gradient and two encoders' widths are more."""


def compiled_for_each_shape(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled for each shape of its inputs by itself, when it is first called with it.

    Layers of one class share what was compiled: their weights are inputs.
    """
    for known in (
        torch.zeros(1),
        nn.Parameter(torch.zeros(1)),
    ):  # einops keeps a table of types, whose length is checked
        rearrange(known, "one -> one")
    dynamo = torch._dynamo.config  # pyright: ignore[reportPrivateUsage]  # the limit has no public name
    dynamo.cache_size_limit = max(dynamo.cache_size_limit, MAX_COMPILED_SHAPES)
    return torch.compile(function, dynamic=False)
