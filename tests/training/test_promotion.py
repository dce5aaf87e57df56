"""What is promoted on a CPU is what autocast promotes on CUDA, whose rules are asked with tensors without memory."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from focusvla.training.promotion import PromotedAsOnCUDA

OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "layer norm": lambda x: F.layer_norm(x, (4,)),
    "softmax": lambda x: x.softmax(dim=-1),
    "F.softmax": lambda x: F.softmax(x, dim=-1),
    "sum": lambda x: x.sum(dim=-1),
    "power": lambda x: x.pow(2),
    "inverse root": torch.rsqrt,
    "exponential": torch.exp,
    "linear": lambda x: F.linear(x, x),
    "product": lambda x: x @ x,
    "mean": lambda x: x.mean(dim=-1),
    "gelu": F.gelu,
    "silu": F.silu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "cosine": torch.cos,
    "addition": lambda x: x + x,
    "multiplication": lambda x: x * 0.5,
    "join": lambda x: torch.cat([x, x]),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_a_precision_is_that_of_cudas_autocast(operation):
    with torch.no_grad(), FakeTensorMode():
        enabled, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        torch.set_autocast_enabled("cuda", True)  # `torch.autocast` would not, without a GPU
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        try:
            expected = operation(torch.empty(4, 4, dtype=torch.bfloat16, device="cuda")).dtype
        finally:
            torch.set_autocast_enabled("cuda", enabled)
            torch.set_autocast_dtype("cuda", dtype)
    with torch.autocast("cpu", torch.bfloat16), PromotedAsOnCUDA():
        assert operation(torch.ones(4, 4, dtype=torch.bfloat16)).dtype == expected
