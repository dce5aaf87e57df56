"""From the vision encoder's features to the language model's width."""

from jaxtyping import Float
from torch import Tensor, nn


class LinearProjector(nn.Module):
    """One linear map, enough where the language model is trained from random weights."""

    def __init__(self, raw_width: int, width: int):
        super().__init__()
        self.linear = nn.Linear(raw_width, width)

    def forward(self, features: Float[Tensor, "batch patches raw"]) -> Float[Tensor, "batch patches width"]:
        return self.linear(features)


class MLPProjector(nn.Module):
    """Three linear maps with GELU between them, the first four times as wide as the features (Table 3)."""

    def __init__(self, raw_width: int, width: int):
        super().__init__()
        self.fc1 = nn.Linear(raw_width, 4 * raw_width)
        self.fc2 = nn.Linear(4 * raw_width, width)
        self.fc3 = nn.Linear(width, width)
        self.activation = nn.GELU()

    def forward(self, features: Float[Tensor, "batch patches raw"]) -> Float[Tensor, "batch patches width"]:
        hidden = self.activation(self.fc1(features))
        return self.fc3(self.activation(self.fc2(hidden)))
