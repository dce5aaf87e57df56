"""The lowest versions that the packages promise to work with, as constraints for pip (`make test-floors`)."""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PACKAGES = (ROOT, ROOT / "packages" / "focusvla-client")
EXTRAS = ("libero", "mini", "hdf5", "rlds")
"""Whose floors are installed; others are of what only some environments have."""


def floors() -> dict[str, Version]:
    """By name, the highest of the lowest versions that requirements state."""
    found: dict[str, Version] = {}
    for package in PACKAGES:
        project = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))["project"]
        extras = project.get("optional-dependencies", {})
        stated = [*project["dependencies"], *(each for name in EXTRAS for each in extras.get(name, ()))]
        for requirement in map(Requirement, stated):
            for bound in requirement.specifier:
                if bound.operator == ">=":
                    version = Version(bound.version)
                    found[requirement.name] = max(version, found.get(requirement.name, version))
    return found


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(floors().items()))
