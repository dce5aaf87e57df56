"""RoboTwin 2.0's demonstrations, a file per episode, in both layouts that the benchmark has had.

    until July 2026     TASK/CONFIG/data/episode0.hdf5, TASK/CONFIG/instructions/episode0.json
        joint_action/vector                             (rows, 14)
        observation/{head,left,right}_camera/rgb        encoded images
    since (v1.0)        TASK/EMBODIMENT/data/episode_0000000.hdf5
        state/{left,right}_{arm,ee}_joint_states        (rows, 6) and (rows,) or (rows, 1)
        action/...                                      the same names, the state of the next row
        vision/{cam_head,cam_left_wrist,cam_right_wrist}/colors
        instruction, additional_info/frequency

In the older layout an action is the next row's joints too, as in RoboTwin's own conversion to the newer one, and the
last row has no action.

Images were encoded by OpenCV from arrays in RGB order, which it takes for BGR: any standard decoder shows red and
blue exchanged. Images with the comment `XPL-RGB1` were encoded as the standard says.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from focusvla.data.formats.file_source import Damage, FileSource, Recording, shown_spec
from focusvla.data.formats.hdf5 import (
    find_dataset,
    find_images,
    in_order,
    open_hdf5,
    read_array,
    read_columns,
)
from focusvla.data.formats.stored_images import decode_image
from focusvla.errors import DataError
from focusvla_client import Camera, Spec
from focusvla_client.bimanual import ROBOTWIN_PHYSICS_HZ, ROBOTWIN_RATE_HZ, robotwin_spec

_OLDER_CAMERAS = {name: f"observation/{name}_camera/rgb" for name in ("head", "left", "right")}
_CAMERAS = {
    "head": "vision/cam_head/colors",
    "left": "vision/cam_left_wrist/colors",
    "right": "vision/cam_right_wrist/colors",
}
_IMAGE_AXES = (1, 2, 4)
_VECTOR = "joint_action/vector"
_OLDER_JOINTS = ("left_arm", "left_gripper", "right_arm", "right_gripper")
_JOINTS = ("left_arm", "left_ee", "right_arm", "right_ee")

_STANDARD_COLORS = b"XPL-RGB1"
"""The comment of an image whose red and blue are where the standard has them."""


def robotwin_files(path: Path) -> list[Path]:
    """The episodes of a task, of all tasks below a folder, or the one file, in order; empty if they are called
    otherwise."""
    if path.is_file():
        return [path] if path.suffix == ".hdf5" and path.name.startswith("episode") else []
    return in_order(list(path.rglob("episode*.hdf5")))


def is_robotwin(path: Path) -> bool:
    """Whether there is a file that is called as RoboTwin's are."""
    return bool(robotwin_files(path))


class RoboTwinSource(FileSource):
    """RoboTwin's demonstrations of one task or of all below a folder, or one file.

    With `skip_damaged` an episode that cannot be read is left out and told of in `skipped`.

    Raises:
        DataError: a file is damaged or lacks something, or is not what a given spec says.
        MissingDependencyError: h5py is not installed.
    """

    def __init__(self, path: Path, spec: Spec | None = None, *, skip_damaged: bool = False):
        damage = Damage(skip_damaged)
        episodes = [_RoboTwinEpisode(file) for file in robotwin_files(path)]
        super().__init__(path, shown_spec(path, episodes, spec, damage), episodes, damage)


@dataclass(frozen=True)
class _RoboTwinEpisode:
    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def spec(self) -> Spec:
        with open_hdf5(self.path) as file:
            images = find_images(file, _camera_path(file, "head"), _IMAGE_AXES)
            if not len(images):
                raise DataError(f"{self.path}: expected at least one step, got an empty episode. Remove it.")
            height, width, _ = self._decoded(images[0], "head", 0).shape
            return robotwin_spec(height, width, _control_rate(file))

    def recording(self) -> Recording:
        with open_hdf5(self.path) as file:
            if _is_older(file):
                joints = read_array(file, _VECTOR)
                _require_same_joints(file, joints)
                _require_as_many_images(file, len(joints))
                return Recording(joints[:-1], joints[1:], self._instruction(file))
            state, action = (
                read_columns(file, [f"{kind}/{part}_joint_states" for part in _JOINTS])
                for kind in ("state", "action")
            )
            _require_as_many_images(file, len(state))
            return Recording(state, action, self._instruction(file))

    def frames(self, camera: Camera) -> Iterator[np.ndarray]:
        with open_hdf5(self.path) as file:
            images = find_images(file, _camera_path(file, camera.name), _IMAGE_AXES)
            for row in range(len(images) - _is_older(file)):
                yield self._decoded(images[row], camera.name, row)

    def _decoded(self, stored: Any, camera: str, row: int) -> np.ndarray:
        if isinstance(stored, np.ndarray) and stored.ndim == 3:
            return stored
        content = bytes(stored)
        pixels = decode_image(content, None, f"{self.path}, camera {camera!r}, row {row}")
        with Image.open(io.BytesIO(content)) as image:
            standard = image.info.get("comment") == _STANDARD_COLORS
        return pixels if standard else np.ascontiguousarray(pixels[..., ::-1])

    def _instruction(self, file: Any) -> str:
        """One of the episode's instructions, another for each number in the file's name, so that all kinds occur."""
        found = self._own_instructions(file) or self._instructions_beside()
        number = int("".join(filter(str.isdecimal, self.path.stem)) or 0)
        return found[number % len(found)]

    def _own_instructions(self, file: Any) -> list[str]:
        for name in ("instruction", "instructions"):
            if name in file:
                try:
                    stored = file[name].asstr()[()]
                    texts = [stored] if isinstance(stored, str) else [str(text) for text in stored]
                    if len(texts) == 1 and texts[0].startswith("["):
                        texts = [str(text) for text in json.loads(texts[0])]
                except (ValueError, TypeError) as error:
                    raise DataError(
                        f"{self.path}, {name}: expected text, got {error}. Restore it."
                    ) from error
                if any(texts):
                    return texts
        return []

    def _instructions_beside(self) -> list[str]:
        path = self.path.parent.parent / "instructions" / f"{self.path.stem}.json"
        try:
            found = json.loads(path.read_text("utf-8"))["seen"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}: expected the episode's instructions under 'seen', got {error!r}. Restore it from its source."
            ) from error
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found) or not found:
            raise DataError(f"{path}, seen: expected a list of instructions, got {found!r}. Restore it.")
        return found


def _is_older(file: Any) -> bool:
    return "joint_action" in file


def _require_same_joints(file: Any, joints: np.ndarray) -> None:
    """The older layout holds all joints in one table, and those of each arm and gripper beside it."""
    names = [f"joint_action/{part}" for part in _OLDER_JOINTS]
    if all(name in file for name in names):
        parts = read_columns(file, names)
        if parts.shape != joints.shape or not np.array_equal(parts, joints, equal_nan=True):
            raise DataError(
                f"{file.filename}, {_VECTOR}: expected the joints of {', '.join(names)}, side by side, got others. "
                "Restore this file from its source."
            )


def _require_as_many_images(file: Any, rows: int) -> None:
    for name in (_OLDER_CAMERAS if _is_older(file) else _CAMERAS).values():
        if name in file and (images := find_images(file, name, _IMAGE_AXES)).shape[0] != rows:
            raise DataError(
                f"{file.filename}, {name}: expected {rows} images, as there are rows of joints, got {images.shape[0]}. "
                "Restore this file from its source."
            )


def _camera_path(file: Any, camera: str) -> str:
    return (_OLDER_CAMERAS if _is_older(file) else _CAMERAS).get(camera, camera)


def _control_rate(file: Any) -> float:
    if _is_older(file):
        return ROBOTWIN_RATE_HZ
    stored = find_dataset(file, "additional_info/frequency")[()]
    try:
        frequency = np.asarray(stored, np.float64).item()
    except ValueError:
        frequency = np.nan
    if not 0 < frequency < np.inf:
        raise DataError(
            f"{file.filename}, additional_info/frequency: expected a positive number, got {stored}. Restore it."
        )
    # RoboTwin's conversion writes here how many simulation steps lie between two rows (its `save_freq`).
    return ROBOTWIN_PHYSICS_HZ / frequency if file.attrs.get("source_format") == "RoboTwin" else frequency
