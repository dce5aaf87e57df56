"""What a camera's picture goes through before the encoder, step by step as the published evaluations do it.

    the camera's picture -> JPEG and back -> resized by Lanczos-3, rounded -> its middle stretched to the whole -> encoder

JPEG is Pillow's. Pillow's own packages hold libjpeg-turbo, as TensorFlow does, and both take the same integer transforms;
a Pillow that was built against the older libjpeg enlarges chroma otherwise, so that pixels differ along colored edges.
"""

import io

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from focusvla.config import PictureConfig
from focusvla.data.crops import crop_and_resize, to_uint8
from focusvla.data.transforms import resize

CHROMA = "4:2:0"
"""One number of color for 2 x 2 pixels, as TensorFlow's `encode_jpeg` has it by default."""


def prepare_pictures(
    pictures: UInt8[Tensor, "batch height width 3"],
    size: int,
    steps: PictureConfig,
    device: torch.device | None = None,
) -> UInt8[Tensor, "batch size_out size_out 3"]:
    """All steps, of which those after JPEG are done on `device`, by default where the pictures are."""
    compressed = compress(pictures, steps.jpeg_quality)
    return crop_center(resize(compressed.to(device or pictures.device), size), steps.center_crop_area)


def compress(
    pictures: UInt8[Tensor, "batch height width 3"], quality: int
) -> UInt8[Tensor, "batch height width 3"]:
    """Each picture as it comes back from a JPEG file of `quality`, 1 to 100; 0 is none."""
    if not quality:
        return pictures
    decoded = []
    for picture in pictures.cpu().numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=CHROMA)
        decoded.append(np.array(Image.open(file)))
    return torch.from_numpy(np.stack(decoded)).to(pictures.device)


def crop_center(
    pictures: UInt8[Tensor, "batch height width 3"], area: float
) -> UInt8[Tensor, "batch height width 3"]:
    """The middle of each picture, `area` of it, stretched to the whole size. Of 224 pixels and 0.9 pixel i reads at
    5.72182 + 0.948683 i."""
    if area == 1:
        return pictures
    return to_uint8(stretch_center(pictures.float() * (1 / 255), area))


def stretch_center(
    values: Float[Tensor, "batch height width channels"], area: float
) -> Float[Tensor, "batch height width channels"]:
    """`crop_center` without rounding, of any values. Measured from edge to edge, the middle sqrt(area) of each side is
    left, whatever the size."""
    side = np.sqrt(
        np.float32(area)
    )  # in float32, as in the published pipelines; torch's root is not the nearest number
    corners = torch.full((values.shape[0], 2), float((1 - side) / 2), device=values.device)
    return crop_and_resize(values, corners, float(side))
