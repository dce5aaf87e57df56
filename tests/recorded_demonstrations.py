"""Demonstrations that a test run records once, however many of its processes ask for them."""

from pathlib import Path

from filelock import FileLock

from focusvla.config import DemonstrationConfig

CONFIG = DemonstrationConfig(
    tasks=(2,), episodes_per_task=2, image_size=64, mesh_cell_meters=0.008, noise=0.0, pushes=False, workers=2
)


def record_once(folder: Path) -> Path:
    """The data set of `CONFIG` in `folder`, which the processes share."""
    from focusvla.demonstrations.collect import collect_demonstrations

    with FileLock(folder / "recorded.lock"):
        collect_demonstrations(CONFIG, folder / "recorded")  # which does nothing where it was done
    return folder / "recorded"
