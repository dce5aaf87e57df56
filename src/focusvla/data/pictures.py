"""What a camera's picture goes through before the encoder, step by step as the published evaluations do it.

    the camera's picture -> JPEG and back -> resized by Lanczos-3, rounded -> its middle stretched to the whole -> encoder

JPEG is Pillow's. Pillow's own packages hold libjpeg-turbo, as TensorFlow does, and both take the same integer transforms;
a Pillow that was built against the older libjpeg enlarges chroma otherwise, so that pixels differ along colored edges.
"""

import io

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from focusvla.config import PictureConfig
from focusvla.data.crops import crop_center
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
