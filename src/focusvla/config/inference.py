"""How a policy that only answers is run."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """Numbers and kernels of inference; the weights are the checkpoint's in any case."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of weights and products. `auto`: float32 on a CPU, elsewhere what the policy was trained in."""
    compiled: bool = False
    """Whether the layers are compiled by torch.compile, once for each size of batch: seconds to minutes before the first
    answer. Needs a C++ compiler on a CPU, Triton on a GPU."""
    graphs: bool = True
    """On a GPU: whether an inference is recorded once for each size of batch, as one CUDA graph, and replayed."""


AS_TRAINED = InferenceConfig()
