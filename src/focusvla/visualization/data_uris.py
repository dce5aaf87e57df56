"""Pictures and videos as text inside a page, so that the page needs no other file and no network."""

import base64
import io
from pathlib import Path

import matplotlib.image
import numpy as np
from jaxtyping import UInt8

from focusvla.errors import DataError

_JPEG_QUALITY = 82


def image_uri(image: UInt8[np.ndarray, "height width 3"]) -> str:
    """The image as a JPEG."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(
        buffer, np.ascontiguousarray(image), format="jpeg", pil_kwargs={"quality": _JPEG_QUALITY}
    )
    return _uri("image/jpeg", buffer.getvalue())


def video_uri(path: Path) -> str:
    """The MP4 file as it is.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return _uri("video/mp4", path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: expected a video, got {error.strerror}. Remove it and run `focusvla evaluate` again."
        ) from error


def _uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
