"""The tensors that rooms hand to each other. Model and data never import one another; they meet here."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True)
class ModelInputs:
    """What the model sees. Of `images` and `features` at most one is given; a vision-blind model needs
    neither."""

    images: UInt8[Tensor, "batch cameras height width 3"] | None
    """RGB, 0 to 255, in the camera order of the spec."""
    features: Float[Tensor, "batch patches raw"] | None
    """Output of a frozen vision encoder for those images, when it was computed beforehand."""
    token_ids: Int64[Tensor, "batch tokens"]
    """The instruction, padded on the right."""
    token_mask: Bool[Tensor, "batch tokens"]
    """False on padding."""
    state: Float[Tensor, "batch state"]
    """Normalized proprioception."""


@dataclass(frozen=True)
class Batch:
    """Model inputs and the actions to imitate."""

    inputs: ModelInputs
    actions: Float[Tensor, "batch chunk action"]
    """Normalized to [-1, 1], except dimensions that the normalization leaves untouched."""
    action_mask: Bool[Tensor, "batch chunk"]
    """False on steps after the end of the episode, where `actions` repeats the last one."""
