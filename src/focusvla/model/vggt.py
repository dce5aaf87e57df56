"""VGGT's aggregator: features that know the scene's geometry, an alternative source of vision values (Table 2).

Restated from the paper "VGGT: Visual Geometry Grounded Transformer" and the key names of its released 1B weights:
each layer attends first within each camera's frame, then across all of them, with two-dimensional rotary positions and
normalized queries and keys. A feature is the last layer's pair of states, within and across.

Legend: B batch, S frames (cameras), N tokens of a frame, H heads, E head width, D width.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from focusvla.config import TransformerConfig, VisionConfig
from focusvla.model.vision_transformer import (
    FeedForward,
    LayerScale,
    PixelNormalization,
    VisionTransformer,
    resize_images,
)

IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUM_REGISTER_TOKENS = 4
ROTARY_BASE = 100.0


def patch_positions(
    side: int, num_special: int, device: torch.device | str = "cpu"
) -> Int64[Tensor, "tokens 2"]:
    """Row and column of each token: special ones at (0, 0), patches from (1, 1) on.

    With side 2 and one special token: (0, 0), (1, 1), (1, 2), (2, 1), (2, 2).
    """
    rows, columns = torch.meshgrid(*[torch.arange(side, device=device)] * 2, indexing="ij")
    patches = torch.stack([rows.flatten(), columns.flatten()], dim=-1) + 1
    return torch.cat([patches.new_zeros(num_special, 2), patches])


def rotate_two_dimensions(
    x: Float[Tensor, "batch heads tokens head_width"], positions: Int64[Tensor, "tokens 2"]
) -> Float[Tensor, "batch heads tokens head_width"]:
    """Turn the first half of the channels by the row, the second half by the column."""
    halves = x.chunk(2, dim=-1)
    return torch.cat([_rotate(half, positions[:, axis]) for axis, half in enumerate(halves)], dim=-1)


def _rotate(
    x: Float[Tensor, "batch heads tokens half_width"], positions: Int64[Tensor, " tokens"]
) -> Float[Tensor, "batch heads tokens half_width"]:
    width = x.shape[-1]
    frequencies = ROTARY_BASE ** (-torch.arange(0, width, 2, device=x.device) / width)
    angles = positions[:, None] * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos().to(x.dtype) + torch.cat([-second, first], dim=-1) * angles.sin().to(x.dtype)


class PositionedAttention(nn.Module):
    """Attention whose queries and keys are normalized per head and turned by their positions."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // num_heads)
        self.k_norm = nn.LayerNorm(width // num_heads)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], positions: Int64[Tensor, "tokens 2"]
    ) -> Float[Tensor, "batch tokens width"]:
        queries, keys, values = rearrange(
            self.qkv(x), "B N (three H E) -> three B H N E", three=3, H=self.num_heads
        )
        attended = F.scaled_dot_product_attention(
            rotate_two_dimensions(self.q_norm(queries), positions),
            rotate_two_dimensions(self.k_norm(keys), positions),
            values,
        )
        return self.proj(rearrange(attended, "B H N E -> B N (H E)"))


class PositionedBlock(nn.Module):
    """Attention and feed-forward, each with a norm before, a scale after and a path around."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width = config.hidden_size
        self.norm1 = nn.LayerNorm(width)
        self.attn = PositionedAttention(width, config.num_heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, config.intermediate_size)
        self.ls2 = LayerScale(width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], positions: Int64[Tensor, "tokens 2"]
    ) -> Float[Tensor, "batch tokens width"]:
        x = x + self.ls1(self.attn(self.norm1(x), positions))
        return x + self.ls2(self.mlp(self.norm2(x)))


class VGGTAggregator(nn.Module):
    """All cameras' images to patch features twice as wide as the network."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        sizes = config.vggt
        self.image_size = config.image_size
        self.raw_width = 2 * sizes.hidden_size
        self.pixels = PixelNormalization(IMAGE_MEAN, IMAGE_STD)
        self.patch_embed = VisionTransformer(
            sizes,
            num_layers=sizes.num_layers,
            num_patches=config.patches_per_camera,
            patch_size=config.patch_size,
            has_class_tokens=True,
        )
        self.norm = nn.LayerNorm(sizes.hidden_size, 1e-6)
        """Of the encoder in front; its weights are called `patch_embed.norm`."""
        # The first frame's tokens, which fix the coordinates, and every other frame's.
        self.camera_token = nn.Parameter(torch.randn(1, 2, 1, sizes.hidden_size) * 1e-6)
        self.register_token = nn.Parameter(torch.randn(1, 2, NUM_REGISTER_TOKENS, sizes.hidden_size) * 1e-6)
        self.frame_blocks = nn.ModuleList(PositionedBlock(sizes) for _ in range(sizes.num_layers))
        self.global_blocks = nn.ModuleList(PositionedBlock(sizes) for _ in range(sizes.num_layers))

    def forward(
        self, images: UInt8[Tensor, "batch cameras height width 3"]
    ) -> Float[Tensor, "batch patches raw"]:
        batch, frames = images.shape[:2]
        pixels = self.pixels(resize_images(images, self.image_size))
        patches = self.norm(self.patch_embed(pixels.to(self.camera_token.dtype)))
        special = torch.cat([self.camera_token, self.register_token], dim=2)[0]
        special = torch.cat([special[:1], special[1:].expand(frames - 1, -1, -1)])
        tokens = torch.cat([repeat(special, "S N D -> (B S) N D", B=batch), patches], dim=1)
        num_special = special.shape[1]
        positions = patch_positions(int(patches.shape[1] ** 0.5), num_special, patches.device)
        within = tokens
        for frame_block, global_block in zip(self.frame_blocks, self.global_blocks, strict=True):
            within = frame_block(tokens, positions)
            joined = rearrange(within, "(B S) N D -> B (S N) D", B=batch)
            tokens = global_block(joined, positions.repeat(frames, 1))
            tokens = rearrange(tokens, "B (S N) D -> (B S) N D", S=frames)
        features = torch.cat([within, tokens], dim=-1)[:, num_special:]
        return rearrange(features, "(B S) N D -> B (S N) D", B=batch)
