"""A whole policy as one graph of tensors: resizing, center crop, normalization, model, unnormalization.

Notable: the graph takes the language model's plain loop, whose operators every runtime has, in place of the fused one;
tests hold both equal. Normalization is in float64, as in `FocusVLAPolicy`.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from focusvla.data.crops import crop_center
from focusvla.data.normalization import Normalizer
from focusvla.data.transforms import resize
from focusvla.policy import FocusVLAPolicy
from focusvla.types import ModelInputs

BATCH, TOKENS = "batch", "tokens"
"""Names of the dimensions whose size is left open."""
_Open = dict[int, str | Dim]
OpenDimensions = tuple[dict[str, _Open] | _Open, ...]
"""For each input, or each of its tensors by name, what the dimensions are called whose size is left open."""


class NormalizationConstants(nn.Module):
    """A normalizer's numbers as float64 buffers, and its two directions on tensors."""

    center: Tensor
    half_range: Tensor
    inverse_half_range: Tensor
    limit: Tensor
    is_binary: Tensor

    def __init__(self, normalizer: Normalizer):
        super().__init__()
        self.register_buffer("center", torch.from_numpy(normalizer.center))
        self.register_buffer("half_range", torch.from_numpy(normalizer.half_range))
        self.register_buffer("inverse_half_range", torch.from_numpy(normalizer.inverse_half_range))
        self.register_buffer("limit", torch.from_numpy(normalizer.limit))
        self.register_buffer("is_binary", torch.from_numpy(normalizer.is_binary))
        self.has_binary = bool(normalizer.is_binary.any())

    def normalize(self, values: Float[Tensor, "*rows dims"]) -> Float32[Tensor, "*rows dims"]:
        """Physical to normalized; equal to `Normalizer.normalize`."""
        scaled = (values.double() - self.center) * self.inverse_half_range
        return scaled.clamp(-self.limit, self.limit).float()

    def unnormalize(self, values: Float[Tensor, "*rows dims"]) -> Float32[Tensor, "*rows dims"]:
        """Normalized to physical; equal to `Normalizer.unnormalize`."""
        physical = values.double() * self.half_range + self.center
        if self.has_binary:
            physical = torch.where(self.is_binary, physical.sign(), physical)
        return physical.float()


class PolicyGraph(nn.Module):
    """Camera images, instruction tokens and physical state to actions in physical units."""

    def __init__(self, policy: FocusVLAPolicy):
        """Take over `policy`'s model, which from now on runs its plain loop and learns no more."""
        super().__init__()
        policy.model.language_model.run_by_transformers()
        self.model = policy.model.requires_grad_(False)
        self.cameras = tuple(policy.cameras)
        self.pictures = policy.experiment.model.pictures
        self.state = NormalizationConstants(policy.state_normalizer)
        self.action = NormalizationConstants(policy.action_normalizer)

    def forward(
        self,
        images: Mapping[str, UInt8[Tensor, "batch height width 3"]],
        token_ids: Int64[Tensor, "batch tokens"],
        token_mask: Bool[Tensor, "batch tokens"],
        state: Float32[Tensor, "batch state"],
    ) -> Float32[Tensor, "batch chunk action"]:
        """The next chunk of actions; `images` holds every camera's, after the policy's JPEG compression if it has one, or
        none if the policy is blind."""
        size, area = self.model.config.vision.image_size, self.pictures.center_crop_area
        seen = [crop_center(resize(images[camera], size), area) for camera in self.cameras]
        actions = self.model(
            ModelInputs(
                images=torch.stack(seen, dim=1) if seen else None,
                features=None,
                token_ids=token_ids,
                token_mask=token_mask,
                state=self.state.normalize(state),
            )
        )
        return self.action.unnormalize(actions)


def smallest_num_tokens(policy: FocusVLAPolicy) -> int:
    """Tokens that the graph takes at least; shorter instructions are padded."""
    return policy.model.config.num_tokens_before_vision + 2


def open_dimensions(policy: FocusVLAPolicy, batch: str | Dim, tokens: str | Dim) -> OpenDimensions:
    """For each of the graph's inputs, the dimensions whose size is left open, called `batch` and `tokens`."""
    return (
        {camera: {0: batch} for camera in policy.cameras},
        {0: batch, 1: tokens},
        {0: batch, 1: tokens},
        {0: batch},
    )


@torch.no_grad()
def export_program(policy: FocusVLAPolicy) -> ExportedProgram:
    """The graph of `policy`, which is changed as `PolicyGraph` says, for any number of observations and of tokens."""
    batch, tokens = 2, smallest_num_tokens(policy) + 2
    example = (
        {
            camera.name: torch.zeros(batch, camera.height, camera.width, 3, dtype=torch.uint8)
            for camera in policy.spec.cameras
            if camera.name in policy.cameras
        },
        torch.zeros(batch, tokens, dtype=torch.int64),
        torch.ones(batch, tokens, dtype=torch.bool),
        torch.zeros(batch, len(policy.spec.state)),
    )
    graph = PolicyGraph(policy).eval()
    graph(*example)  # so that the resizing's weights, which are kept, are made outside of the tracing
    shapes = open_dimensions(policy, Dim(BATCH, min=1), Dim(TOKENS, min=smallest_num_tokens(policy)))
    return torch.export.export(graph, example, dynamic_shapes=shapes, strict=False)
