"""HDF5 files whose arrays are broken."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from corruptions.registry import KINDS, corruption, cut, stored_image

_HDF5 = ("LIBERO", "RoboTwin", "RoboTwin, older")


def _files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.hdf5"))


def _arrays(path: Path) -> list[str]:
    """Names of all arrays that are read."""
    import h5py

    found: list[str] = []

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.shape and not name.endswith("/states"):
            found.append(name)

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def change_array(path: Path, name: str, change: Callable[[np.ndarray], Any]) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        values = change(file[name][()])  # pyright: ignore
        del file[name]
        if values is not None:
            file[name] = values


@corruption(*_HDF5)
def an_array_has_fewer_rows(root: Path, random: Random) -> None:
    path = random.choice(_files(root))
    fewer = random.choice([lambda v: v[1:], lambda v: v[:-1], lambda v: v[:0], lambda v: None])
    change_array(path, random.choice(_arrays(path)), fewer)


@corruption(*_HDF5)
def an_array_has_more_rows(root: Path, random: Random) -> None:
    path = random.choice(_files(root))
    change_array(path, random.choice(_arrays(path)), lambda values: np.concatenate([values, values[-1:]]))


@corruption(*_HDF5)
def an_array_is_of_another_kind(root: Path, random: Random) -> None:
    path = random.choice(_files(root))
    other = random.choice(
        [lambda v: np.array(b"no"), lambda v: np.zeros((3, 3, 3, 3, 3)), lambda v: np.zeros((len(v), 99))]
    )
    change_array(path, random.choice(_arrays(path)), other)


@corruption(*_HDF5)
def numbers_of_an_array_are_not_finite(root: Path, random: Random) -> None:
    path = random.choice(_files(root))

    def change(values: np.ndarray) -> np.ndarray:
        return np.full_like(values, np.nan) if values.dtype.kind == "f" else values[:1]

    change_array(path, random.choice(_arrays(path)), change)


@corruption(*_HDF5)
def an_hdf5_file_is_cut_off_or_a_pointer(root: Path, random: Random) -> None:
    cut(random.choice(_files(root)), random)


@corruption("LIBERO")
def pictures_have_more_bits(root: Path, random: Random) -> None:
    kind = random.choice([np.uint16, np.float32])
    path = _files(root)[0]
    names = [name for name in _arrays(path) if name.endswith("rgb")]
    change_array(path, random.choice(names), lambda values: values.astype(kind) * 257)


@corruption("RoboTwin", "RoboTwin, older")
def an_encoded_picture_cannot_be_used(root: Path, random: Random) -> None:
    path, image = random.choice(_files(root)), stored_image(random.choice(KINDS))
    names = [name for name in _arrays(path) if name.endswith(("rgb", "colors"))]

    def change(values: np.ndarray) -> np.ndarray:
        images = values.tolist()
        images[random.randrange(len(images) - 1)] = image
        return np.array(images, f"S{max(map(len, images))}")

    change_array(path, random.choice(names), change)


@corruption("RoboTwin, older")
def joints_are_stored_twice_and_differ(root: Path, random: Random) -> None:
    import h5py

    path, wrong = random.choice(_files(root)), random.randrange(4)
    with h5py.File(path, "r+") as file:
        joints: np.ndarray = file["joint_action/vector"][()]  # pyright: ignore
        parts = np.split(joints, [6, 7, 13], axis=1)
        parts[wrong] = parts[wrong] + random.choice([0, 1])
        for name, values in zip(
            ("left_arm", "left_gripper", "right_arm", "right_gripper"), parts, strict=True
        ):
            file[f"joint_action/{name}"] = values


@corruption("RoboTwin, older")
def instructions_are_missing(root: Path, random: Random) -> None:
    path = random.choice(sorted((root / "instructions").iterdir()))
    cut(path, random) if random.random() < 0.5 else path.unlink()
