"""One recorded episode as one self-contained folder, so that many processes can record and any may be killed.

    episodes/libero_object-3-000017/
    ├── episode.json          length, instruction, spec, the collector's own metadata
    ├── episode.safetensors   state, action, and a color histogram per camera
    ├── image.mp4
    └── image2.mp4

A folder appears under its name only when it is complete.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from focusvla.data.episodes import require_valid_vectors
from focusvla.data.feature_statistics import add_to_histogram
from focusvla.data.video import encode_video
from focusvla.errors import DataError
from focusvla.storage import publish_folder, usual_mode
from focusvla_client import Spec

_HISTOGRAM_PERIOD = 10
"""Every tenth frame enters the color statistics; neighbors look alike."""


@dataclass(frozen=True)
class Shard:
    """A finished episode folder; vectors and videos are read when asked for."""

    folder: Path
    spec: Spec
    length: int
    """Control steps."""
    instruction: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the collector noted: task, seed, expert, noise."""

    def tensors(self) -> dict[str, np.ndarray]:
        """`state`, `action` and one `histogram.CAMERA` per camera.

        Raises:
            DataError: the file is missing or damaged.
        """
        path = self.folder / "episode.safetensors"
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"{path}: expected state and action, got {error}. "
                f"Remove {self.folder.name} and record it again."
            ) from error

    def video(self, camera: str) -> Path:
        """The file with that camera's frames."""
        return self.folder / f"{camera}.mp4"

    def num_histogram_frames(self) -> int:
        """Frames that entered the color histograms."""
        return len(range(0, self.length, _HISTOGRAM_PERIOD))


def write_episode_shard(
    folder: Path,
    spec: Spec,
    *,
    frames: Mapping[str, Iterable[np.ndarray]],
    state: np.ndarray,
    action: np.ndarray,
    instruction: str,
    metadata: Mapping[str, Any] | None = None,
) -> Shard:
    """Record one episode into `folder`, which exists afterwards completely or not at all.

    `frames` holds one (height, width, 3) uint8 RGB image per step for every camera of the spec. `metadata` is any
    JSON-ready mapping.

    Raises:
        DataError: lengths, widths, cameras or images do not fit the spec, or a number is not finite.
        StorageError: the folder exists already, or the disk is full.
    """
    where = f"episode {folder.name}"
    state, action = np.asarray(state, np.float32), np.asarray(action, np.float32)
    require_valid_vectors(where, state, action, spec)
    if not instruction.strip():
        raise DataError(f"{where}, instruction: expected a sentence, got {instruction!r}. Name the task.")
    names = [camera.name for camera in spec.cameras]
    if set(frames) != set(names):
        raise DataError(
            f"{where}, frames: expected the cameras {', '.join(names)}, got {', '.join(frames) or 'none'}. "
            "Give the frames of exactly these cameras."
        )
    with publish_folder(folder) as partial:
        tensors = {"state": np.ascontiguousarray(state), "action": np.ascontiguousarray(action)}
        for camera in spec.cameras:
            histogram = np.zeros((3, 256), np.int64)
            counted = _counted(frames[camera.name], histogram)
            count = encode_video(partial / f"{camera.name}.mp4", counted, camera, spec.control_rate_hz)
            if count != len(action):
                raise DataError(
                    f"{where}, camera {camera.name!r}: expected {len(action)} frames, one per action, "
                    f"got {count}. Record an image for each action and none after the last."
                )
            tensors[f"histogram.{camera.name}"] = histogram
        with usual_mode(partial / "episode.safetensors"):
            save_file(tensors, partial / "episode.safetensors")
        description = {
            "length": len(action),
            "instruction": instruction,
            "spec": spec.to_dict(),
            "metadata": dict(metadata or {}),
        }
        (partial / "episode.json").write_text(json.dumps(description, indent=2, ensure_ascii=False), "utf-8")
    return Shard(folder, spec, len(action), instruction, dict(metadata or {}))


def _counted(frames: Iterable[np.ndarray], histogram: np.ndarray) -> Iterator[np.ndarray]:
    for index, frame in enumerate(frames):
        yield frame  # first, so that the encoder has refused a frame of a wrong shape
        if index % _HISTOGRAM_PERIOD == 0:
            add_to_histogram(histogram, frame)


def read_shard(folder: Path) -> Shard:
    """Open one finished episode folder.

    Raises:
        DataError: `episode.json` is missing or not what `write_episode_shard` writes.
    """
    path = folder / "episode.json"
    try:
        values = json.loads(path.read_text("utf-8"))
        return Shard(
            folder=folder,
            spec=Spec.from_dict(values["spec"]),
            length=values["length"],
            instruction=values["instruction"],
            metadata=values["metadata"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected the description of a recorded episode, got {error!r}. "
            f"Remove {folder.name} and record it again."
        ) from error


def read_shard_index(staging: Path) -> list[Shard]:
    """All finished episodes in a staging folder, sorted by folder name; unfinished ones are not seen.

    A collector asks this which episodes it need not record again.

    Raises:
        DataError: a folder is not a recorded episode.
    """
    if not staging.is_dir():
        return []
    folders = [path for path in staging.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [read_shard(folder) for folder in sorted(folders)]
