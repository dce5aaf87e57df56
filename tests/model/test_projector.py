"""The projectors' sizes."""

import torch

from focusvla.model.projector import LinearProjector, MLPProjector


def test_the_paper_projector_widens_fourfold_before_it_narrows():
    with torch.device("meta"):
        projector = MLPProjector(2176, 896)
        shapes = [tuple(layer.weight.shape) for layer in (projector.fc1, projector.fc2, projector.fc3)]
        assert shapes == [(8704, 2176), (896, 8704), (896, 896)]
        assert projector(torch.empty(1, 3, 2176)).shape == (1, 3, 896)


def test_the_linear_projector_is_one_linear_map():
    projector = LinearProjector(2, 1)
    torch.nn.init.constant_(projector.linear.weight, 2.0)
    torch.nn.init.constant_(projector.linear.bias, 1.0)
    assert projector(torch.tensor([[[1.0, 3.0]]])).tolist() == [[[9.0]]]
