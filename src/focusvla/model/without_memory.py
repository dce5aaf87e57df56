"""A model of tensors that have shapes and no memory: what it costs is counted before anything is allocated."""

import torch
from torch import nn


def as_if_on_cpu(model: nn.Module, frozen: torch.dtype | None = None) -> None:
    """Within a `FakeTensorMode`: replace what is on the device `meta` by tensors that claim to be on a CPU, those that do
    not learn in the type `frozen`, if one is given.

    The device `meta` knows no autocast, which transformers turns off in its rotary positions.
    """
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            dtype = parameter.dtype if parameter.requires_grad else frozen or parameter.dtype
            shape = torch.empty(parameter.shape, dtype=dtype)
            module.register_parameter(name, nn.Parameter(shape, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype))
