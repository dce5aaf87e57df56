"""Cropping as the published policies' input pipelines do it: bilinear, corner pixel to corner pixel."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def crop_and_resize(
    images: Float[Tensor, "batch height width 3"], corners: Float[Tensor, "batch 2"], side: float
) -> Float[Tensor, "batch height width 3"]:
    """Cut a window out of each image and stretch it to the whole size.

    `corners` are the window's top and left, `side` its height and width, as shares of the image's. Pixel i of n reads at
    (corner + side * i / (n - 1)) * (n - 1), between its two neighbours linearly (TensorFlow's `crop_and_resize`): a row
    [0, 10, 20, 30, 40] with corner 0.25 and side 0.5 becomes [10, 15, 20, 25, 30]. An image's result does not depend on
    the rest of its batch.
    """
    for axis in (2, 1):  # columns first, as there
        last = images.shape[axis] - 1
        steps = torch.arange(last + 1, device=images.device, dtype=torch.float32)
        places = corners[:, axis - 1, None] * last + side * steps
        first = places.floor().clamp(0, max(last - 1, 0))
        share = (places - first)[..., None]
        low = first.long()
        high = (low + 1).clamp(max=last)
        # Both axes are treated as rows of a (batch, axis, rest) table.
        moved = images.movedim(axis, 1)
        rows = moved.flatten(2)
        low, high = (rows.gather(1, i[..., None].expand(-1, -1, rows.shape[2])) for i in (low, high))
        # Not `lerp`, which may round differently at another place in the batch.
        images = high.sub_(low).mul_(share).add_(low).view(moved.shape).movedim(1, axis)
    return images.contiguous()


def center_crop(
    images: UInt8[Tensor, "batch cameras height width 3"], area: float
) -> UInt8[Tensor, "batch cameras height width 3"]:
    """Stretch the middle of each image, a share `area` of it, to the whole size; 1 leaves images alone.

    What a policy sees that was trained on random crops of that area. With 224 pixels and an area of 0.9, pixel i reads at
    5.72182 + 0.948683 i.
    """
    if area == 1:
        return images
    side = math.sqrt(area)
    values = images.flatten(0, 1).float() / 255
    corners = torch.full((len(values), 2), (1 - side) / 2, device=values.device)
    return to_uint8(crop_and_resize(values, corners, side)).view(images.shape)


def to_uint8(images: Float[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    """Values in [0, 1] as the published pipelines store them: 255.5 times, cut off, at most 255."""
    return (images * 255.5).clamp(0, 255).to(torch.uint8)
