"""Scripts of the folder `benchmarks` as modules."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

_FOLDER = str(Path(__file__).parents[1] / "benchmarks")


def script(name: str) -> ModuleType:
    """Import one; the others that it imports lie in its folder, as when it is run."""
    sys.path.insert(0, _FOLDER)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(_FOLDER)
