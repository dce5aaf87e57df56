"""What a checkpoint restores lies where the optimizer's kernels want it."""

import torch
from torch import nn

from focusvla.training.checkpoint import fill_training


def test_all_of_a_restored_optimizers_state_lies_on_the_device_of_its_parameters():
    """On a GPU AdamW is fused and wants its step there too. `capturable` asks the same of it on the meta device, which
    needs no GPU; what is read from a file lies on the CPU."""
    shapes = {"weight": (2, 3), "bias": (2,)}
    saved = {
        f"{kind}.{name}": torch.ones(shape)
        for kind in ("weight", "exp_avg", "exp_avg_sq")
        for name, shape in shapes.items()
    }
    parameters = {name: nn.Parameter(torch.empty(shape, device="meta")) for name, shape in shapes.items()}
    groups = [{"params": [parameters["bias"]]}, {"params": [parameters["weight"]], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, capturable=True)
    fill_training(parameters, optimizer, saved, step=5)
    for name, parameter in parameters.items():
        state = optimizer.state[parameter]
        assert {value.device.type for value in state.values()} == {"meta"}
        assert state["exp_avg"].shape == shapes[name]
