"""Cropping as the published policies' input pipelines do it: bilinear, corner pixel to corner pixel."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def crop_and_resize(
    images: Float[Tensor, "batch height width channels"], corners: Float[Tensor, "batch 2"], side: float
) -> Float[Tensor, "batch height width channels"]:
    """Cut a window out of each image and stretch it to the whole size.

    `corners` are the window's top and left, `side` its height and width, as shares of the image's. Pixel i of n reads at
    (corner + side * i / (n - 1)) * (n - 1), between its two neighbors linearly (TensorFlow's `crop_and_resize`): a row
    [0, 10, 20, 30, 40] with corner 0.25 and side 0.5 becomes [10, 15, 20, 25, 30]. Its float32 operations are done in its
    order, columns first, since what is cut off to 8 bits afterwards depends on the last of them. An image's result does
    not depend on the rest of its batch.
    """
    for axis in (2, 1):
        last = images.shape[axis] - 1
        begin = corners[:, axis - 1, None]
        step = ((begin + side) - begin) * last / max(last, 1)
        places = begin * last + torch.arange(last + 1, device=images.device, dtype=torch.float32) * step
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


def crop_center(
    pictures: UInt8[Tensor, "*batch height width 3"], area: float
) -> UInt8[Tensor, "*batch height width 3"]:
    """The middle of each picture, `area` of it, stretched to the whole size: what a policy sees that was trained on
    random crops of that area. Of 224 pixels and 0.9 pixel i reads at 5.72182 + 0.948683 i."""
    if area == 1:
        return pictures
    values = pictures.flatten(0, -4) if pictures.ndim > 3 else pictures[None]
    return to_uint8(stretch_center(values.float() * (1 / 255), area)).view(pictures.shape)


def stretch_center(
    values: Float[Tensor, "batch height width channels"], area: float
) -> Float[Tensor, "batch height width channels"]:
    """`crop_center` without rounding, of any values. Measured from edge to edge, the middle sqrt(area) of each side is
    left, whatever the size."""
    # In float32, as in the published pipelines; torch's root is not the nearest number.
    side = np.sqrt(np.float32(area))
    corners = torch.full((values.shape[0], 2), float((1 - side) / 2), device=values.device)
    return crop_and_resize(values, corners, float(side))


def to_uint8(images: Float[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    """Values in [0, 1] as the published pipelines store them: 255.5 times, cut off, at most 255."""
    return (images * 255.5).clamp(0, 255).to(torch.uint8)
