"""Pictures kept as JPEG files one after the other, decoded where they are read: by the threads that prepare batches.

Departs from VLA-Adapter's data, whose frames were JPEG files with one color for 2 x 2 pixels: here each pixel keeps its
own, so that pictures which were compressed once already lose next to nothing.
"""

import io
import threading
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

QUALITY = 95


def encode(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """A JPEG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling="4:4:4")
    return file.getvalue()


class CompressedFrames:
    """Reads as an array (rows, cameras, size, size, 3) of bytes does, by rows: a number, a slice or an array of numbers.

    Several threads may read at once; Pillow decodes without holding up the others.
    """

    def __init__(self, places: Path, size: int):
        """Open what `CompressedFrameWriter` wrote."""
        self._places: np.ndarray = np.load(
            places, mmap_mode="r"
        )  # (rows, cameras, 2): first byte and number of bytes
        self._bytes = np.memmap(bytes_path(places), np.uint8, "r")
        self.shape = (*self._places.shape[:2], size, size, 3)
        self.ndim = len(self.shape)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | np.ndarray) -> UInt8[np.ndarray, "..."]:
        """Decode all cameras' pictures of these rows."""
        places = self._places[rows]
        pictures = np.empty((*places.shape[:-1], *self.shape[2:]), np.uint8)
        for place in np.ndindex(*places.shape[:-1]):
            begin, length = places[place]
            with Image.open(io.BytesIO(self._bytes[begin : begin + length].tobytes())) as picture:
                pictures[place] = np.asarray(picture)
        return pictures


class CompressedFrameWriter:
    """Appends pictures of any rows; those that were written before it was opened again stay."""

    def __init__(self, places: np.ndarray, path: Path, is_kept: np.ndarray):
        """Write to `path`, and where each picture lies into `places`; what no row of `is_kept` points at is cut off."""
        self._places = places
        self._lock = threading.Lock()
        ends = places[is_kept].sum(axis=-1)
        self._file = path.open("r+b" if ends.size else "w+b")
        self._file.truncate(int(ends.max(initial=0)))
        self._file.seek(0, io.SEEK_END)

    def write(self, rows: slice, pictures: UInt8[np.ndarray, "rows cameras size size 3"]) -> None:
        """Append what belongs to `rows`."""
        files = [[encode(picture) for picture in cameras] for cameras in pictures]
        lengths = np.array([[len(file) for file in cameras] for cameras in files], np.int64)
        with self._lock:
            ends = self._file.tell() + lengths.cumsum().reshape(lengths.shape)
            self._file.writelines(file for cameras in files for file in cameras)
            self._file.flush()
        self._places[rows] = np.stack([ends - lengths, lengths], axis=-1)

    def close(self) -> None:
        """No more is written."""
        self._file.close()


def bytes_path(places: Path) -> Path:
    """Where the pictures lie whose places are in `places`."""
    return places.with_name(f"{places.name}.jpegs")
