"""Checkpoints that installed packages bring, by name: `--checkpoint libero`.

A package brings one by an entry point of the group `focusvla.checkpoints`, which names a `pathlib.Path`, its folder:

    [project.entry-points."focusvla.checkpoints"]
    libero = "focusvla_libero:CHECKPOINT"
"""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from focusvla.errors import CheckpointError

ENTRY_POINTS = "focusvla.checkpoints"
"""The group of entry points by which a package brings checkpoints."""


def installed_checkpoints() -> list[str]:
    """Their names. Nothing of the packages is run."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINTS)})


def installed_checkpoint(name: str) -> Path | None:
    """The folder of the checkpoint of that name; None if no installed package brings one.

    Raises:
        CheckpointError: two packages bring that name, or the one that does cannot be loaded or names no folder.
    """
    points = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
    if len({point.value for point in points}) > 1:
        packages = " and ".join(sorted(_package(point) for point in points))
        raise CheckpointError(
            f"checkpoint={name}: expected one installed package that brings it, got {packages}. Uninstall one, or give "
            "a folder."
        )
    return _load(points[0]) if points else None


def _load(point: EntryPoint) -> Path:
    try:
        folder = point.load()
    except Exception as error:  # whatever another package's import raises
        raise _broken(point, f"cannot be loaded: {error!r}") from error
    if not isinstance(folder, Path) or not folder.is_dir():
        raise _broken(point, f"expected the pathlib.Path of a folder, got {folder!r}")
    return folder


def _broken(point: EntryPoint, fault: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint={point.name}: {point.value} of the installed package {_package(point)!r}: {fault}. Mend or "
        "uninstall that package."
    )


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
