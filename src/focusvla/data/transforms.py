"""Pure functions of image batches: resizing, and random shifts and colors for training.

Departs from VLA-Adapter: x and y offsets are drawn independently (its crops lie on the diagonal, since both
draws reuse one seed); a shift by whole pixels replaces crop and zoom; brightness, contrast and saturation are
applied at once and clipped once; there is no hue shift.
"""

import functools

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from focusvla.config import Augmentation

_LUMA = (0.299, 0.587, 0.114)


def augment(
    images: UInt8[Tensor, "batch cameras height width 3"], settings: Augmentation, generator: torch.Generator
) -> UInt8[Tensor, "batch cameras height width 3"]:
    """Vary every image of a batch independently, the same way for the same state of `generator`."""
    if settings.shift_pixels:
        images = shift_randomly(images, settings.shift_pixels, generator)
    if settings.brightness or settings.contrast or settings.saturation:
        images = vary_colors(images, settings, generator)
    return images


def shift_randomly(
    images: UInt8[Tensor, "batch cameras height width 3"], max_pixels: int, generator: torch.Generator
) -> UInt8[Tensor, "batch cameras height width 3"]:
    """Move each image by up to `max_pixels` in either direction.

    A row [1, 2, 3, 4] moved right by one becomes [1, 1, 2, 3].
    """
    batch, cameras, height, width, _ = images.shape
    padded = images.flatten(0, 1)
    for dim in (1, 2):
        first, last = (padded.narrow(dim, place, 1) for place in (0, padded.shape[dim] - 1))
        repeats = [max_pixels if axis == dim else -1 for axis in range(4)]
        padded = torch.cat([first.expand(repeats), padded, last.expand(repeats)], dim)
    offsets = torch.randint(0, 2 * max_pixels + 1, (batch * cameras, 2), generator=generator).tolist()
    windows = [
        image[top : top + height, left : left + width]
        for image, (top, left) in zip(padded, offsets, strict=True)
    ]
    return torch.stack(windows).unflatten(0, (batch, cameras))


def vary_colors(
    images: UInt8[Tensor, "batch cameras height width 3"], settings: Augmentation, generator: torch.Generator
) -> UInt8[Tensor, "batch cameras height width 3"]:
    """Change brightness, contrast and saturation of each image."""
    draws = torch.rand((3, *images.shape[:2], 1, 1, 1), generator=generator) * 2 - 1
    brightness, contrast, saturation = draws.to(images.device)
    pixels = images.float()
    mean = pixels.mean((2, 3), keepdim=True)  # per color channel, as in VLA-Adapter
    factor = 1 + settings.contrast * contrast
    pixels.mul_(factor).add_(mean * (1 - factor) + 255 * settings.brightness * brightness)
    if settings.saturation:
        gray = (pixels @ pixels.new_tensor(_LUMA)).unsqueeze(-1)
        factor = 1 + settings.saturation * saturation
        pixels.mul_(factor).add_(gray * (1 - factor))
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def resize(
    images: UInt8[Tensor, "batch height width 3"], size: int
) -> UInt8[Tensor, "batch size_out size_out 3"]:
    """Resize to a square by a Lanczos-3 filter with antialiasing, rounding once at the end.

    The one resizing for training, evaluation and serving: the policy must see what it was trained on.
    """
    height, width = images.shape[1:3]
    if (height, width) == (size, size):
        return images
    vertical, horizontal = (lanczos_weights(side, size).to(images.device) for side in (height, width))
    resized = torch.einsum("oh,bhwc,pw->bopc", vertical, images.float(), horizontal)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=16)
def lanczos_weights(source: int, target: int) -> Float[Tensor, "target source"]:
    """How much each source pixel contributes to each target pixel of one line; rows sum to 1.

    The kernel is widened by source / target when shrinking. Pixel centers lie at half integers.
    """
    scale = max(source / target, 1.0)
    centers = (torch.arange(target, dtype=torch.float64) + 0.5) * source / target
    distance = (torch.arange(source, dtype=torch.float64) + 0.5 - centers[:, None]) / scale
    weights = torch.where(distance.abs() < 3, torch.sinc(distance) * torch.sinc(distance / 3), 0.0)
    return (weights / weights.sum(1, keepdim=True)).float()
