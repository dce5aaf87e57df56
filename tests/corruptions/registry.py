"""Formats that are broken, what corruptions are called, and what they share."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from focusvla.data.memory import MemorySource
from focusvla.suites.libero import libero_spec
from focusvla_client import Spec
from focusvla_client.bimanual import robotwin_spec
from written_datasets import (
    encoded,
    gray_memory,
    store_images_in_tables,
    write_lerobot,
    write_libero_hdf5,
    write_older_lerobot,
    write_rlds,
    write_robotwin,
    write_timed_video,
)

LENGTHS = (4, 3, 4)
"""Of the episodes; two are of one length, so that not all confusion shows in lengths."""
CAMERA = "observation.images.image"
SHARED_VIDEO = f"videos/{CAMERA}/chunk-000/file-000.mp4"
SHARED_ROWS = "data/chunk-000/file-000.parquet"
LISTED = "meta/episodes/chunk-000/file-000.parquet"
INFO = "meta/info.json"

Corrupt = Callable[[Path, Random], object]


@dataclass(frozen=True)
class Format:
    """A format, and the episodes that are written in it."""

    memory: MemorySource
    write: Callable[[Path, MemorySource], object]
    needs_spec: bool = False
    package: str = ""
    """Without which it is not tried."""

    @property
    def spec(self) -> Spec | None:
        return self.memory.spec if self.needs_spec else None


_ARM = gray_memory(replace(libero_spec(16), control_rate_hz=10.0, gripper="none"), LENGTHS)
LIBERO = gray_memory(libero_spec(16), LENGTHS)
_ONE_TASK = gray_memory(libero_spec(16), LENGTHS, ("push",))
_ROBOTWIN = gray_memory(robotwin_spec(16, 24), LENGTHS)


def _write_images(root: Path, memory: MemorySource) -> None:
    store_images_in_tables(write_lerobot(root, memory), memory)


FORMATS: dict[str, Format] = {
    "LeRobot 3.0": Format(_ARM, write_lerobot),
    "LeRobot 2.1": Format(_ARM, write_older_lerobot, needs_spec=True),
    "LeRobot 3.0 of images": Format(_ARM, _write_images),
    "RLDS": Format(LIBERO, write_rlds, package="google_crc32c"),
    "LIBERO": Format(
        _ONE_TASK, lambda root, memory: write_libero_hdf5(root / "push_demo.hdf5", memory), package="h5py"
    ),
    "RoboTwin": Format(
        _ROBOTWIN, lambda root, memory: write_robotwin(root, memory, older=False), package="h5py"
    ),
    "RoboTwin, older": Format(
        _ROBOTWIN, lambda root, memory: write_robotwin(root, memory, older=True), package="h5py"
    ),
}

CORRUPTIONS: dict[tuple[str, str], Corrupt] = {}


def corruption(*formats: str) -> Callable[[Corrupt], Corrupt]:
    """Register a function for some formats; its name says what is wrong afterwards."""

    def register(function: Corrupt) -> Corrupt:
        for name in formats:
            CORRUPTIONS[name, getattr(function, "__name__", "").replace("_", " ")] = function
        return function

    return register


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def change_info(root: Path, **changes: object) -> None:
    change_json(root / INFO, lambda info: info.update(changes))


def listed_episodes(root: Path) -> list[dict[str, Any]]:
    older = root / "meta/episodes.jsonl"
    if older.exists():
        return [json.loads(line) for line in older.read_text().splitlines()]
    table = pq.read_table(root / LISTED)
    return table.select([name for name in table.column_names if not name.startswith("stats/")]).to_pylist()


def write_entries(root: Path, entries: Sequence[dict[str, Any]]) -> None:
    older = root / "meta/episodes.jsonl"
    if older.exists():
        older.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    else:
        pq.write_table(pa.Table.from_pylist(list(entries)), root / LISTED)


def tables(root: Path) -> list[Path]:
    return sorted(root.glob("data/*/*.parquet"))


def videos(root: Path) -> list[Path]:
    return sorted(root.glob("videos/**/*.mp4"))


def change_column(path: Path, name: str, change: Callable[[list], list]) -> None:
    table = pq.read_table(path)
    values = pa.array(change(table[name].to_pylist()), table.schema.field(name).type)
    pq.write_table(table.set_column(table.column_names.index(name), name, values), path)


def rewrite_video(
    path: Path,
    frames: Callable[[list[np.ndarray]], list[np.ndarray]] = lambda frames: frames,
    times: Callable[[int], int] = lambda frame: frame,
    rate: int = 10,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> None:
    with av.open(str(path)) as container:
        shown = frames([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    write_timed_video(
        path, shown, list(map(times, range(len(shown)))), rate, codec, {"crf": "3", **(options or {})}
    )


VIDEOS = ("LeRobot 3.0", "LeRobot 2.1")
LEROBOT = (*VIDEOS, "LeRobot 3.0 of images")
LATEST = ("LeRobot 3.0", "LeRobot 3.0 of images")


def cut(path: Path, random: Random) -> None:
    content = path.read_bytes()
    if path.name in ("spec.json", "stats.json") and not content:
        return
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    path.write_bytes(random.choice([b"", pointer, content[: len(content) // 2]]))


def stored_image(kind: str) -> bytes:
    gray = np.full((16, 16), 90, np.uint8)
    if kind == "of 16 bits":
        image, name = Image.fromarray(gray.astype(np.uint16) * 257), "PNG"
    elif kind == "of floating-point numbers":
        image, name = Image.fromarray(gray.astype(np.float32) / 255), "TIFF"
    elif kind == "of another size":
        image, name = Image.fromarray(gray[:8]), "PNG"
    else:
        return encoded(np.repeat(gray[..., None], 3, 2), "PNG")[:60]
    buffer = io.BytesIO()
    image.save(buffer, name)
    return buffer.getvalue()


KINDS = ["of 16 bits", "of floating-point numbers", "of another size", "cut off"]
