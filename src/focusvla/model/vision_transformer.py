"""DINOv2 with registers and SigLIP, side by side: the paper's visual features.

One plain vision transformer serves both, and VGGT. Its parameters are named as in timm, whose layout the published
policies have: one map for queries, keys and values, which is also what the paper's count of adapter weights
(Table 3) is made of. transformers' classes have three, under names that changed between 4.57 and 5, so that a
checkpoint would not open in both; tests hold the features equal to theirs.

Features are those after the second-to-last layer; the last layer and the final norm are not built.

Legend: B batch, C cameras, N tokens, H heads, E head width, D width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from focusvla.config import TransformerConfig, VisionConfig
from focusvla.model.side_stream import SideStream

# What VLA-Adapter's processor applies: ImageNet's values, rounded to bfloat16.
DINOV2_MEAN, DINOV2_STD = (0.484375, 0.455078125, 0.40625), (0.228515625, 0.2236328125, 0.224609375)
SIGLIP_MEAN = SIGLIP_STD = (0.5, 0.5, 0.5)
NUM_REGISTER_TOKENS = 4
LAYER_NORM_EPSILON = 1e-6


def resize_images(
    images: UInt8[Tensor, "batch cameras height width 3"], image_size: int
) -> Float[Tensor, "images 3 size size"]:
    """All cameras' images as one batch of values from 0 to 1, resized bicubically with antialiasing."""
    x = rearrange(images, "B C H W rgb -> (B C) rgb H W").float()
    if x.shape[-2:] != (image_size, image_size):
        x = F.interpolate(x, (image_size, image_size), mode="bicubic", antialias=True).clamp_(0, 255)
    return x / 255


class PixelNormalization(nn.Module):
    """Subtracts the mean of each channel and divides by its deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Float[Tensor, "images 3 size size"]) -> Float[Tensor, "images 3 size size"]:
        return (images - self.mean) / self.std


class LayerScale(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens width"]:
        return x * self.gamma


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to one another."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        queries, keys, values = rearrange(
            self.qkv(x), "B N (three H E) -> three B H N E", three=3, H=self.num_heads
        )
        attended = F.scaled_dot_product_attention(queries, keys, values)
        return self.proj(rearrange(attended, "B H N E -> B N (H E)"))


class FeedForward(nn.Module):
    """Two linear maps with GELU between them."""

    def __init__(self, width: int, intermediate_size: int):
        super().__init__()
        self.fc1 = nn.Linear(width, intermediate_size)
        self.fc2 = nn.Linear(intermediate_size, width)

    def forward(self, x: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens width"]:
        return self.fc2(F.gelu(self.fc1(x)))


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each with a norm before, a scale after and a path around."""

    def __init__(self, config: TransformerConfig, has_scales: bool):
        super().__init__()
        width = config.hidden_size
        self.norm1 = nn.LayerNorm(width, LAYER_NORM_EPSILON)
        self.attn = SelfAttention(width, config.num_heads)
        self.ls1 = LayerScale(width) if has_scales else nn.Identity()
        self.norm2 = nn.LayerNorm(width, LAYER_NORM_EPSILON)
        self.mlp = FeedForward(width, config.intermediate_size)
        self.ls2 = LayerScale(width) if has_scales else nn.Identity()

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    """One linear map of each patch's pixels."""

    def __init__(self, width: int, patch_size: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(self, images: Float[Tensor, "images 3 size size"]) -> Float[Tensor, "images patches width"]:
        return rearrange(self.proj(images), "B D h w -> B (h w) D")


class VisionTransformer(nn.Module):
    """Images to patch features: the first `num_layers` layers of a transformer, without its final norm.

    With `has_class_tokens` it is DINOv2's: a class token and registers go before the patches, without positions, and
    layers have scales. Otherwise it is SigLIP's.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        num_layers: int,
        num_patches: int,
        patch_size: int,
        has_class_tokens: bool,
    ):
        super().__init__()
        width = config.hidden_size
        self.patch_embed = PatchEmbedding(width, patch_size)
        self.pos_embed = nn.Parameter(torch.randn(1, num_patches, width) * 0.02)
        self.has_class_tokens = has_class_tokens
        if has_class_tokens:
            self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
            self.reg_token = nn.Parameter(torch.randn(1, NUM_REGISTER_TOKENS, width) * 0.02)
        self.blocks = nn.ModuleList(TransformerBlock(config, has_class_tokens) for _ in range(num_layers))

    def forward(self, images: Float[Tensor, "images 3 size size"]) -> Float[Tensor, "images patches width"]:
        x = self.patch_embed(images) + self.pos_embed
        num_patches = x.shape[1]
        if self.has_class_tokens:
            before = torch.cat([self.cls_token, self.reg_token], dim=1)
            x = torch.cat([before.expand(x.shape[0], -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return x[:, -num_patches:]


class DinoSiglipEncoder(nn.Module):
    """Both networks on every camera's image, their channels side by side: 1024 + 1152 per patch at full size."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.image_size = config.image_size
        self.raw_width = config.dinov2.hidden_size + config.siglip.hidden_size
        self.dinov2_pixels = PixelNormalization(DINOV2_MEAN, DINOV2_STD)
        self.siglip_pixels = PixelNormalization(SIGLIP_MEAN, SIGLIP_STD)
        shape = {"num_patches": config.patches_per_camera, "patch_size": config.patch_size}
        self.dinov2 = VisionTransformer(
            config.dinov2, num_layers=config.dinov2.num_layers - 1, has_class_tokens=True, **shape
        )
        self.siglip = VisionTransformer(
            config.siglip, num_layers=config.siglip.num_layers - 1, has_class_tokens=False, **shape
        )

    def forward(
        self, images: UInt8[Tensor, "batch cameras height width 3"]
    ) -> Float[Tensor, "batch patches raw"]:
        dtype = self.dinov2.pos_embed.dtype
        pixels = resize_images(images, self.image_size)
        beside = SideStream(pixels.device)
        with beside:
            dinov2 = self.dinov2(self.dinov2_pixels(pixels).to(dtype))
        siglip = self.siglip(self.siglip_pixels(pixels).to(dtype))
        beside.join()
        features = torch.cat([dinov2, siglip], dim=-1)
        return rearrange(features, "(B C) N D -> B (C N) D", B=images.shape[0])


def resample_positions(
    positions: Float[Tensor, "1 patches width"], num_patches: int
) -> Float[Tensor, "1 new_patches width"]:
    """A square position table at another resolution: bicubic with antialiasing, as timm and DINOv2 do it.

    DINOv2 is published for 518 px, 37 x 37 patches; at 224 px there are 16 x 16.
    """
    if positions.shape[1] == num_patches:
        return positions
    old, new = int(positions.shape[1] ** 0.5), int(num_patches**0.5)
    grid = rearrange(positions.float(), "one (h w) D -> one D h w", h=old)
    grid = F.interpolate(grid, (new, new), mode="bicubic", antialias=True)
    return rearrange(grid, "one D h w -> one (h w) D").to(positions.dtype)
