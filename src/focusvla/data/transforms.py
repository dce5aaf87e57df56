"""Pure functions of image batches: resizing, and random shifts, crops and colors for training.

Two pipelines, which `Augmentation` describes: `mini`'s shift by whole pixels with all colors at once, and VLA-Adapter's
crop with one color change after the other (dlimp's `augment_image`), whose crops lie on the diagonal because both
offsets are drawn with one seed.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from focusvla.config import Augmentation
from focusvla.data.crops import crop_and_resize, to_uint8
from focusvla.devices import upload

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Variations:
    """What was drawn for each image of a batch."""

    shifts: Int64[Tensor, "batch cameras 2"]
    """Pixels down and right by which the window that is kept moves, up to `settings.shift_pixels` either way."""
    corners: Float[Tensor, "batch cameras 2"]
    """Top and left of the window that is cut out, as shares of height and width."""
    colors: Float[Tensor, "batch cameras 4"]
    """Brightness, contrast, saturation and hue, each from -1 to 1, in units of `settings`."""
    settings: Augmentation

    def part(self, chosen: slice, device: torch.device) -> "Variations":
        """Those of some samples, on the device of their images."""
        shifts, corners, colors = (
            upload(each[chosen], device) for each in (self.shifts, self.corners, self.colors)
        )
        return Variations(shifts, corners, colors, self.settings)


def augment(
    images: UInt8[Tensor, "batch cameras height width 3"], settings: Augmentation, generator: torch.Generator
) -> UInt8[Tensor, "batch cameras height width 3"]:
    """Vary every image of a batch independently, the same way for the same state of `generator`."""
    drawn = draw_variations(settings, images.shape[0], images.shape[1], generator)
    return vary(images, drawn.part(slice(None), images.device))


def draw_variations(
    settings: Augmentation, batch: int, cameras: int, generator: torch.Generator
) -> Variations:
    """Draw what `vary` does, on the CPU. Only what `settings` asks for takes random numbers."""
    size = batch * cameras
    shifts = torch.zeros(size, 2, dtype=torch.int64)
    corners = torch.zeros(size, 2)
    colors = torch.zeros(4, size)
    if settings.shift_pixels:
        shifts = torch.randint(0, 2 * settings.shift_pixels + 1, (size, 2), generator=generator)
        shifts -= settings.shift_pixels
    if settings.crop_area < 1:
        axes = 1 if settings.crop_offsets == "diagonal" else 2
        drawn = torch.rand((size, axes), generator=generator).expand(-1, 2)
        corners = drawn * (1 - math.sqrt(settings.crop_area))
    if _changes_colors(settings):
        num_drawn = 3 if settings.colors == "joint" else 4
        colors[:num_drawn] = torch.rand((num_drawn, size), generator=generator) * 2 - 1
    shifts, corners, colors = (each.unflatten(0, (batch, cameras)) for each in (shifts, corners, colors.T))
    return Variations(shifts, corners, colors, settings)


def vary(
    images: UInt8[Tensor, "batch cameras height width 3"], variations: Variations
) -> UInt8[Tensor, "batch cameras height width 3"]:
    """Apply what was drawn, where the images are. An image's result does not depend on the rest of its batch."""
    settings = variations.settings
    if settings.shift_pixels:
        images = shift(images, variations.shifts, settings.shift_pixels)
    if settings.crop_area == 1 and not _changes_colors(settings):
        return images
    # A CPU is more than twice as fast where the numbers of a few pictures stay in its cache.
    at_once = 4 if images.device.type == "cpu" else len(images)
    groups = zip(
        images.split(at_once),
        variations.corners.split(at_once),
        variations.colors.split(at_once),
        strict=True,
    )
    if settings.colors == "joint":
        return torch.cat([vary_colors(few, colors, settings) for few, _, colors in groups])
    return torch.cat(
        [crop_and_vary_colors(few, corners, colors, settings) for few, corners, colors in groups]
    )


def _changes_colors(settings: Augmentation) -> bool:
    return bool(settings.brightness or settings.contrast or settings.saturation or settings.hue)


def shift(
    images: UInt8[Tensor, "batch cameras height width 3"],
    pixels: Int64[Tensor, "batch cameras 2"],
    max_pixels: int,
) -> UInt8[Tensor, "batch cameras height width 3"]:
    """Move the window that is kept of each image, repeating the border.

    A row [1, 2, 3, 4] whose window moves left by one becomes [1, 1, 2, 3].
    """
    height, width, channels = images.shape[2:]
    rows = images.reshape(-1, height, width, channels)
    left, right = (rows[:, :, place, None].expand(-1, -1, max_pixels, -1) for place in (0, -1))
    padded = torch.cat([left, rows, right], 2)
    down, across = pixels.reshape(-1, 2, 1).unbind(1)
    sources = (torch.arange(height, device=images.device) + down).clamp(0, height - 1)
    sources = sources + height * torch.arange(len(rows), device=images.device)[:, None]
    # Every run of `width` pixels in memory is a row of this view, so that one gather copies whole rows: on a CPU
    # several times as fast as indexing pixels.
    line = width * channels
    runs = padded.flatten().as_strided((padded.numel() - line + 1, line), (1, 1))
    first = channels * (sources * padded.shape[2] + across + max_pixels)
    return runs.index_select(0, first.flatten()).view(images.shape)


def vary_colors(
    images: UInt8[Tensor, "batch cameras height width 3"],
    colors: Float[Tensor, "batch cameras 4"],
    settings: Augmentation,
) -> UInt8[Tensor, "batch cameras height width 3"]:
    """Change brightness, contrast and saturation of each image at once, by shares of `settings`."""
    brightness, contrast, saturation, _ = colors[..., None, None, None].unbind(2)
    pixels = images.float()
    mean = pixels.mean((2, 3), keepdim=True)  # per color channel, as in VLA-Adapter
    factor = 1 + settings.contrast * contrast
    pixels.mul_(factor).add_(mean * (1 - factor) + 255 * settings.brightness * brightness)
    if settings.saturation:
        # A matrix product may round differently at another place in the batch.
        red, green, blue = (weight * pixels[..., place] for place, weight in enumerate(_LUMA))
        gray = red.add_(green).add_(blue).unsqueeze(-1)
        factor = 1 + settings.saturation * saturation
        pixels.mul_(factor).add_(gray.mul_(1 - factor))
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def crop_and_vary_colors(
    images: UInt8[Tensor, "batch cameras height width 3"],
    corners: Float[Tensor, "batch cameras 2"],
    colors: Float[Tensor, "batch cameras 4"],
    settings: Augmentation,
) -> UInt8[Tensor, "batch cameras height width 3"]:
    """Cut a window out of each image, then change brightness, contrast, saturation and hue one after the other, by shares
    of `settings`. Values stay in [0, 1] after each, and become whole numbers once, at the end."""
    pixels = images.float().div_(255)
    if settings.crop_area < 1:
        side = math.sqrt(settings.crop_area)
        pixels = crop_and_resize(pixels.flatten(0, 1), corners.flatten(0, 1), side).view(images.shape)
    brightness, contrast, saturation, hue = colors[..., None, None, None].unbind(2)
    if settings.brightness:
        pixels.add_(settings.brightness * brightness).clamp_(0, 1)
    if settings.contrast:
        mean = pixels.mean((2, 3), keepdim=True)  # per color channel
        factor = 1 + settings.contrast * contrast
        pixels.sub_(mean).mul_(factor).add_(mean).clamp_(0, 1)
    if settings.saturation or settings.hue:
        hues, saturations, values = to_hsv(pixels)
        # Shapes (batch, cameras, height, width), without the axis of colors.
        saturations.mul_(1 + settings.saturation * saturation[..., 0]).clamp_(0, 1)
        hues.add_(settings.hue * hue[..., 0]).remainder_(1)
        pixels = from_hsv(hues, saturations, values)
    return to_uint8(pixels)


def to_hsv(
    pixels: Float[Tensor, "*shape 3"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Hue in turns of the color circle, red at 0 and green at 1/3, saturation and value of colors in [0, 1].

    Gray has a hue and a saturation of 0: [1, 0.5, 0.5] is (0, 0.5, 1), and [0.2, 0.2, 0.2] is (0, 0, 0.2).
    """
    red, green, blue = pixels.unbind(-1)
    value, low = pixels.amax(-1), pixels.amin(-1)
    spread = value - low
    safe = torch.where(spread > 0, spread, 1.0)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    saturation = spread / torch.where(value > 0, value, 1.0)
    return (hue / 6).remainder_(1), saturation, value


def from_hsv(
    hue: Float[Tensor, "*shape"], saturation: Float[Tensor, "*shape"], value: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape 3"]:
    """The inverse of `to_hsv`."""
    sixths = 6 * hue
    pure = torch.stack(
        [(sixths - 3).abs() - 1, 2 - (sixths - 2).abs(), 2 - (sixths - 4).abs()], dim=-1
    ).clamp_(0, 1)
    return pure.sub_(1).mul_(saturation[..., None]).add_(1).mul_(value[..., None])


def resize(
    images: UInt8[Tensor, "batch height width 3"], size: int
) -> UInt8[Tensor, "batch size_out size_out 3"]:
    """Resize to a square by a Lanczos-3 filter with antialiasing, rounding once at the end.

    The one resizing for training, evaluation and serving: the policy must see what it was trained on.
    """
    height, width, channels = images.shape[1:]
    if (height, width) == (size, size):
        return images
    # A row of a picture is one row of numbers, of `channels` for each pixel.
    rows = images.flatten(2).float()
    bands = [
        weights @ rows[:, first:end] for first, end, weights in _lanczos_bands(height, size, 1, images.device)
    ]
    rows = torch.cat(bands, dim=1)
    bands = [
        rows[..., first:end] @ weights.T
        for first, end, weights in _lanczos_bands(width, size, channels, images.device)
    ]
    resized = torch.cat(bands, dim=2).unflatten(2, (size, channels))
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def resize_picture(
    picture: UInt8[np.ndarray, "height width 3"], size: int
) -> UInt8[np.ndarray, "size_out size_out 3"]:
    """Resize one picture as `resize` does a batch; it may be read-only or flipped."""
    return resize(torch.from_numpy(picture.copy())[None], size)[0].numpy()


@functools.lru_cache(maxsize=16)
def _lanczos_bands(
    source: int, target: int, channels: int, device: torch.device
) -> list[tuple[int, int, Float[Tensor, "target_numbers source_numbers"]]]:
    """`lanczos_weights` for pixels of several numbers, in groups of 16 target pixels: for each the first source number
    that counts, the end, and the weights of those between, on `device`.

    A target pixel takes from about 7 of 256, so that bands need a tenth of the multiplications. An accelerator has one
    band: there a product more costs more than its multiplications.
    """
    bands = []
    for weights in lanczos_weights(source, target).split(16 if device.type == "cpu" else target):
        reached = weights.any(0).nonzero()
        first, end = int(reached.min()), int(reached.max()) + 1
        weights = torch.kron(weights[:, first:end].contiguous(), torch.eye(channels))
        bands.append((channels * first, channels * end, weights.to(device)))
    return bands


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
