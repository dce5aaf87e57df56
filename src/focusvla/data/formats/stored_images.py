"""Encoded images, one in a cell or a file: what data sets have in place of videos."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from focusvla.errors import DataError
from focusvla_client import Camera

_DEEPER_MODES = ("I", "F")
"""Pillow's modes of more than 8 bits begin with these. It cuts off what is above 255, so a depth map turns white."""

_MOST_PIXELS = 2**24
"""More are of no robot's camera but of a damaged header, for which no memory is taken."""


def decode_image(content: object, camera: Camera | None, where: str) -> UInt8[np.ndarray, "height width 3"]:
    """An encoded image in RGB; where a camera is given, of no other size than its.

    Raises:
        DataError: it is none, or damaged, or of more than 8 bits; `where` names it.
    """
    if not isinstance(content, bytes):
        raise DataError(
            f"{where}: expected an encoded image, got {type(content).__name__}. Restore it from its source."
        )
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode.startswith(_DEEPER_MODES):
                raise DataError(
                    f"{where}: expected an image of 8 bits for each color, got {image.format} of mode {image.mode}. "
                    "Leave the camera out of the spec if it is a depth map; otherwise scale it to 8 bits."
                )
            if image.width * image.height > _MOST_PIXELS:
                raise DataError(
                    f"{where}: expected a camera's image, got {image.height}x{image.width}. Restore it from its source."
                )
            if camera is not None and image.size != (camera.width, camera.height):
                raise DataError(
                    f"{where}, camera {camera.name!r}: expected uint8 {(camera.height, camera.width, 3)}, got an image "
                    f"of {image.height}x{image.width}. Correct the size in the spec."
                )
            return np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{where}: expected an encoded image, got {error}. Restore it from its source."
        ) from error
