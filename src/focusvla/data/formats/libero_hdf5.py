"""LIBERO's original demonstrations: a file per task, `TASK_demo.hdf5`.

    data                            attributes: problem_info (JSON with the instruction), bddl_file_name, ...
    └── demo_0
        ├── actions                 (rows, 7), the gripper's -1 opens
        ├── states                  (rows, ...), the simulator's state before each action
        └── obs
            ├── agentview_rgb       (rows, 128, 128, 3), bottom up
            ├── eye_in_hand_rgb
            ├── ee_states           (rows, 6), position and axis times angle
            └── gripper_states      (rows, 2)

LIBERO's recorder (`scripts/create_dataset.py`) stores in a row the action and what was seen *after* it. Here an action
comes with what was seen before it, so the first action and the last observation have no partner.

openvla's regeneration (`regenerate_libero_dataset.py`) writes files of the same names and arrays, without attributes,
whose rows hold what was seen *before* the action: each row is a step, and the instruction is in the file's name. Which of
the two a file is, its numbers tell, since both hold the simulator's state before each action: the arm's joints are in it
at another row than in what was seen. Where they do not move, the attributes tell.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Shaped, UInt8

from focusvla.data.formats.file_source import Damage, FileSource, Recording, shown_spec
from focusvla.data.formats.hdf5 import (
    find_dataset,
    find_images,
    names_in,
    numbers_first,
    open_hdf5,
    read_array,
    read_columns,
)
from focusvla.errors import DataError
from focusvla.suites.libero import libero_spec
from focusvla_client import Camera, Spec

FILE_ENDING = "_demo.hdf5"

_CAMERAS = {"image": "agentview_rgb", "image2": "eye_in_hand_rgb"}
_JOINTS = slice(1, 8)
"""Places of the arm's joints in the simulator's state, behind the time."""
_CLEAR_RATIO = 3.0
"""Of the distances of both readings, for the nearer one to be the right one."""
_COMPARED_DEMOS = 3
"""At most, to find one whose arm moves."""
_OWN_ATTRIBUTES = ("bddl_file_name", "env_args", "env_name", "num_demos")
_OWN_DEMO_ATTRIBUTES = ("num_samples", "model_file", "init_state")

Seen = Literal["before", "after"]
"""Whether a row holds what was seen before its action or after it."""


def libero_files(path: Path) -> list[Path]:
    """The files of a folder, or of a folder of suites, or the one file; empty if they are called otherwise."""
    if path.is_file():
        return [path] if path.name.endswith(FILE_ENDING) else []
    return sorted([*path.glob("*" + FILE_ENDING), *path.glob("*/*" + FILE_ENDING)])


def is_libero_hdf5(path: Path) -> bool:
    """Whether there is a file that is called as LIBERO's are."""
    return bool(libero_files(path))


class LiberoHDF5Source(FileSource):
    """LIBERO's original demonstrations or openvla's regenerated ones, all files of a folder or one file.

    With `skip_damaged` an episode that cannot be read is left out and told of in `skipped`.

    Raises:
        DataError: a file is damaged or lacks something, or is not what a given spec says.
        MissingDependencyError: h5py is not installed.
    """

    def __init__(self, path: Path, spec: Spec | None = None, *, skip_damaged: bool = False):
        damage = Damage(skip_damaged)
        demos: list[LiberoDemo] = []
        self._notes: list[str] = []
        for file in libero_files(path):
            with damage.contained():
                found = find_demos(file)
                self._notes += _counted_otherwise(file, len(found))
                demos += found
        super().__init__(path, shown_spec(path, demos, spec, damage), demos, damage)

    @property
    def notes(self) -> list[str]:
        return list(self._notes)


@dataclass(frozen=True)
class LiberoDemo:
    """One demonstration in its file."""

    path: Path
    key: str
    """`demo_0`."""
    instruction: str
    seen: Seen = "after"

    @property
    def name(self) -> str:
        return f"{self.path}, {self.key}"

    def spec(self) -> Spec:
        """LIBERO's conventions with the size of this demonstration's images."""
        with open_hdf5(self.path) as file:
            height = find_images(file, f"data/{self.key}/obs/{_CAMERAS['image']}", axes=(4,)).shape[1]
        return libero_spec(int(height))

    def recording(self) -> Recording:
        with open_hdf5(self.path) as file:
            demo = file[f"data/{self.key}"]
            state = read_columns(demo, ("obs/ee_states", "obs/gripper_states"))
            action = read_array(demo, "actions")
            announced = demo.attrs.get("num_samples", len(action))
        if announced != len(action):
            raise DataError(
                f"{self.name}, actions: expected {announced} rows, as its attribute num_samples says, got {len(action)}. "
                "It was cut: restore this file from its source."
            )
        if self.seen == "before":
            return Recording(state, action, self.instruction)
        return Recording(seen_before(state), chosen_after(action), self.instruction)

    def frames(self, camera: Camera) -> Iterator[np.ndarray]:
        with open_hdf5(self.path) as file:
            name = f"data/{self.key}/obs/{_CAMERAS.get(camera.name, camera.name)}"
            images = find_images(file, name, axes=(4,))
            for row in range(len(images) - (self.seen == "after")):
                yield rotated_180(images[row])

    def replay(self) -> tuple[Float64[np.ndarray, " numbers"], Float64[np.ndarray, "rows 7"]]:
        """The simulator's state before the first action (time, joint positions, velocities), and all actions, also the
        first, for which nothing seen is stored.

        Raises:
            DataError: they are missing or not finite, or the actions are not of seven numbers.
        """
        with open_hdf5(self.path) as file:
            states, actions = (
                find_dataset(file, f"data/{self.key}/{name}") for name in ("states", "actions")
            )
            if len(states.shape) != 2 or not len(states) or actions.shape[1:] != (7,):
                raise DataError(
                    f"{self.name}: expected rows of simulator states and of 7 actions, got {states.shape} and "
                    f"{actions.shape}. Restore this file from its source."
                )
            state, chosen = np.asarray(states[0], np.float64), np.asarray(actions[()], np.float64)
        if not (np.isfinite(state).all() and np.isfinite(chosen).all()):
            raise DataError(
                f"{self.name}: expected finite states and actions, got others. Restore this file."
            )
        return state, chosen


def find_demos(path: Path) -> list[LiberoDemo]:
    """The demonstrations of one file in the order of their numbers.

    Raises:
        DataError: the file is damaged, holds none, has no instruction, or does not show whether it is LIBERO's own or
            regenerated.
    """
    with open_hdf5(path) as file:
        group = file.get("data", {})
        names = map(str, group) if hasattr(group, "keys") else ()
        keys = [name for name in names if re.fullmatch(r"demo_\d+", name)]
        if not keys:
            raise DataError(
                f"{path}: expected demonstrations data/demo_0, ..., got {names_in(file)}. "
                "Restore this file from its source."
            )
        keys = sorted(keys, key=numbers_first)
        seen = _recognized(path, file["data"], keys)
        problem_info = file["data"].attrs.get("problem_info")
        is_named_alone = _is_like_regenerated(file["data"][keys[0]]) and not _has_attributes(
            file["data"], keys[0]
        )
        if problem_info is None and is_named_alone:
            instruction = instruction_of_name(path)
        else:
            instruction = _instruction(path, problem_info)
    return [LiberoDemo(path, key, instruction, seen) for key in keys]


def _counted_otherwise(path: Path, num_demos: int) -> list[str]:
    """A sentence if the file counts other demonstrations than it holds: some were taken out of it, or lost."""
    with open_hdf5(path) as file:
        announced = file["data"].attrs.get("num_demos", num_demos)
    if announced == num_demos:
        return []
    return [f"{path} holds {num_demos} demonstrations, its attribute num_demos says {announced}."]


def _recognized(path: Path, group: Any, keys: Sequence[str]) -> Seen:
    """Which of the two recorders wrote a file.

    Raises:
        DataError: neither its numbers nor its attributes tell.
    """
    for key in keys[:_COMPARED_DEMOS]:
        if told := _told_by_joints(group[key]):
            return told
    if _has_attributes(group, keys[0]) or not _is_like_regenerated(group[keys[0]]):
        return "after"
    if group.attrs.get("problem_info") is not None:
        raise DataError(
            f"{path}, data: expected the attributes of LIBERO's own files ({', '.join(_OWN_ATTRIBUTES)}), or none as in "
            "regenerated ones, got problem_info alone, which does not tell whether a row holds what was seen before its "
            "action or after it. Remove the attribute if openvla's script wrote the file, or restore it from its source."
        )
    return "before"


def _told_by_joints(demo: Any) -> Seen | None:
    """What the simulator's states say of the joints that were seen, if the arm moves and both are there."""
    try:
        states = np.asarray(demo["states"][()], np.float64)[:, _JOINTS]
        joints = np.asarray(demo["obs/joint_states"][()], np.float64)
    except (KeyError, OSError, ValueError, TypeError, IndexError):
        return None  # what is missing or damaged is told when it is read
    if states.shape != joints.shape or len(joints) < 2 or joints.shape[1] != _JOINTS.stop - _JOINTS.start:
        return None
    before = float(np.abs(joints - states).mean())
    after = float(np.abs(joints[:-1] - states[1:]).mean())
    if max(before, after) <= _CLEAR_RATIO * min(before, after):
        return None
    return "before" if before < after else "after"


def _is_like_regenerated(demo: Any) -> bool:
    """Whether it has the joints' angles, as openvla's script writes them."""
    return "joint_states" in demo.get("obs", {})


def _has_attributes(group: Any, key: str) -> bool:
    """Whether LIBERO's recorder left its attributes, of which the instruction is only one."""
    return any(name in group.attrs for name in _OWN_ATTRIBUTES) or any(
        name in group[key].attrs for name in _OWN_DEMO_ATTRIBUTES
    )


def instruction_of_name(path: Path) -> str:
    """The words of a file's name, without the scene that LIBERO-90 and LIBERO-10 put before them.

    >>> instruction_of_name(Path("KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5"))
    'turn on the stove'
    """
    task = re.sub(r"^[A-Z]+(?:_[A-Z]+)*_SCENE\d+_", "", path.name.removesuffix(FILE_ENDING))
    return task.replace("_", " ")


def _instruction(path: Path, problem_info: Any) -> str:
    try:
        words = json.loads(problem_info)["language_instruction"]
        return ("".join(words) if isinstance(words, list) else words).strip().strip('"')
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}, data, attribute problem_info: expected JSON with a language_instruction, got {error!r}. "
            "Restore this file from its source."
        ) from error


def seen_before(rows: Shaped[np.ndarray, "rows ..."]) -> Shaped[np.ndarray, "steps ..."]:
    """What was seen when the actions of `chosen_after` were chosen.

        row      0    1    2
        action   a    b    c        the actions of the steps are    b    c
        seen     u    v    w        and what was seen before them   u    v

    where the file has u, seen after a, in one row with a.
    """
    return rows[:-1]


def chosen_after(rows: Shaped[np.ndarray, "rows ..."]) -> Shaped[np.ndarray, "steps ..."]:
    """The actions that `seen_before` has a partner for."""
    return rows[1:]


def rotated_180(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """A bottom-up picture as `IMAGE_BOTTOM_UP_ROTATED_180`; its own inverse."""
    return np.ascontiguousarray(image[::-1, ::-1])
