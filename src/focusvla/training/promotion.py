"""What CUDA's autocast computes in float32 and a CPU's does not: layer norm, softmax and sums among it.

With these on a CPU, memory is planned and tests compute as a GPU does.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

IN_FLOAT32 = frozenset(
    {
        *(F.layer_norm, torch.layer_norm, F.softmax, torch.softmax, Tensor.softmax),
        *(torch.sum, Tensor.sum, torch.cumsum, Tensor.cumsum, torch.prod, Tensor.prod),
        *(torch.exp, Tensor.exp, torch.log, Tensor.log, torch.pow, Tensor.pow, torch.rsqrt, Tensor.rsqrt),
        *(torch.reciprocal, Tensor.reciprocal, torch.norm, Tensor.norm, torch.linalg.vector_norm),
        *(F.cosine_similarity, F.softplus, F.l1_loss, F.mse_loss),
    }
)
"""Those of torch's list (docs, "Automatic Mixed Precision", CUDA ops that autocast to float32) that the models call, or
might."""


class PromotedAsOnCUDA(TorchFunctionMode):
    """While the block runs, what autocast on a CPU leaves in bfloat16 and on CUDA computes in float32 is in float32."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, perhaps with other arguments."""
        kwargs = kwargs or {}
        if func in IN_FLOAT32 and torch.is_autocast_enabled("cpu") and kwargs.get("dtype") is None:
            args = tuple(map(_promoted, args))
            kwargs = {name: _promoted(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _promoted(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value
