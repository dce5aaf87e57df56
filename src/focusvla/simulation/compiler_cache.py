"""A place for what the simulator's packages compile, where neither their own folder nor HOME can be written."""

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from focusvla.errors import StorageError


def give_compilers_a_cache() -> None:
    """Set `NUMBA_CACHE_DIR` for this process and its children, unless it is set or numba finds a place by itself.

    Raises:
        StorageError: no folder can be written, not even a temporary one.
    """
    if "NUMBA_CACHE_DIR" in os.environ or any(map(_can_be_written, _own_places())):
        return
    try:
        folder = Path(tempfile.gettempdir()) / f"focusvla-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        # What is read from there runs: it must be this user's own.
        if folder.is_symlink() or folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022:
            folder = Path(tempfile.mkdtemp(prefix="focusvla-"))
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
    except OSError as error:
        raise StorageError(
            f"NUMBA_CACHE_DIR: expected a folder that can be written, for what the simulator compiles, got none: neither "
            f"its packages' nor HOME nor {tempfile.gettempdir()} ({error.strerror}). Set it to one."
        ) from error


def _own_places() -> Iterator[Path]:
    """Where numba keeps what robosuite compiles: beside its sources, or in the user's cache."""
    spec = find_spec("robosuite")
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        yield Path(location) / "utils" / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"


def _can_be_written(folder: Path) -> bool:
    """Really, since a file system mounted for reading does not show in permissions."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
