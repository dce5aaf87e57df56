"""Writing so that a killed process never leaves something half-written under a final name."""

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from focusvla.errors import ConfigurationError, StorageError

_FULL_OR_FORBIDDEN = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.EEXIST),  # the folder to write into cannot be made
}


def partial_path(final: Path) -> Path:
    """Where `final` is built before it is renamed. Hidden, so that no listing of finished things shows it."""
    return final.with_name(f".{final.name}.partial")


@contextmanager
def publish_folder(final: Path) -> Generator[Path]:
    """Yield an empty folder to fill, which becomes `final` when the block ends, and goes if the block fails.

    A process that is killed inside the block leaves `.NAME.partial` behind, which the next attempt replaces.
    One process at a time may write a given `final`.

    Raises:
        StorageError: `final` exists already, the disk is full or the folder may not be written.
    """
    final = final.absolute()
    if final.exists():
        raise StorageError(
            f"{final}: expected a folder that does not exist yet. Remove it or choose another."
        )
    partial = partial_path(final)
    with explained_storage_errors(final):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        os.replace(partial, final)


@contextmanager
def publish_file(final: Path) -> Generator[Path]:
    """Yield a path to write, whose file takes the place of `final` when the block ends, and goes if the block fails.

    The folder is made if there is none. Whenever the process is killed, `final` is what it was or the whole new file.

    Raises:
        StorageError: the disk is full or the folder may not be written.
    """
    partial = partial_path(final)
    with explained_storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            with usual_mode(partial):
                yield partial
            os.replace(partial, final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def replace_text(path: Path, text: str) -> None:
    """Write a whole file in UTF-8 through `publish_file`."""
    with publish_file(path) as partial:
        partial.write_text(text, "utf-8")


def replace_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as indented JSON through `publish_file`."""
    replace_text(path, json.dumps(values, indent=2, ensure_ascii=False))


def append_line(path: Path, line: str) -> None:
    """Add a line of text to a file, on the disk when this returns; `complete_lines` reads around one cut off by a kill.

    Raises:
        StorageError: the disk is full or the file may not be written.
    """
    with explained_storage_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(line.removesuffix("\n") + "\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path, *, waiting: bool = True) -> Generator[None]:
    """Hold the lock file `path`, which the system lets go of when the process ends, however it ends.

    Raises:
        BlockingIOError: another process holds it, and `waiting` is off.
        StorageError: the folder may not be written.
    """
    with explained_storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=-1 if waiting else 0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BlockingIOError(f"{path} is held by another process") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def usual_mode(path: Path) -> Generator[None]:
    """What the block writes as `path` can be read by whom the umask lets, as any file that a process creates.

    safetensors makes its files readable to their owner alone.
    """
    path.touch()
    mode = path.stat().st_mode
    yield
    path.chmod(mode)


@contextmanager
def explained_storage_errors(path: Path) -> Generator[None]:
    """Turn a full disk or a forbidden folder into an error that names `path`.

    Raises:
        StorageError: in place of an `OSError` of that kind.
    """
    try:
        yield
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:
        # safetensors writes by itself and gives the system's error number in its message only
        number = error.errno if isinstance(error, OSError) else _number_in(str(error))
        if number not in _FULL_OR_FORBIDDEN:
            raise
        free = shutil.disk_usage(nearest_existing(path)).free
        raise StorageError(
            f"{path}: expected a folder that can be written, got {os.strerror(number)!r} "
            f"({free} bytes free). Free space or choose another folder."
        ) from error


def _number_in(message: str) -> int | None:
    found = re.search(r"(?:os error|code:) (\d+)", message)  # as it and its releases before 0.5 write it
    return int(found.group(1)) if found else None


@contextmanager
def only_writer(folder: Path, who: str) -> Generator[None]:
    """Hold `folder`, which is made if there is none, for one command at a time.

    Raises:
        ConfigurationError: another process holds it; `who` is what it would be.
        StorageError: the folder may not be written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / ".lock", waiting=False))
        except BlockingIOError as error:
            raise ConfigurationError(
                f"output={folder}: another {who} is writing there. Wait for it."
            ) from error
        yield


def complete_lines(text: str) -> list[str]:
    """The lines of `text` that end with a line break: a killed process may have left a part of one more."""
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]


def require_free_space(path: Path, needed: int, purpose: str) -> None:
    """Raise unless the disk that will hold `path` has `needed` bytes free.

    Raises:
        StorageError: naming the needed and the free bytes.
    """
    free = shutil.disk_usage(nearest_existing(path)).free
    if free < needed:
        raise StorageError(
            f"{path}: {purpose} needs {needed} bytes, {free} are free. Free space or choose another folder."
        )


def create_table(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """Create a `.npy` file that is written through memory, its space taken at once.

    In a file whose space is not, writing on a full disk kills the process instead of raising an error.

    Raises:
        OSError: the disk is full; the file is gone.
    """
    try:
        table = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if sys.platform == "linux":  # others have no such call
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, table.offset + table.nbytes)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return table


def nearest_existing(path: Path) -> Path:
    """`path` or the first folder above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
