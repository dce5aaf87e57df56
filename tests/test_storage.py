"""A file is what it was or the whole new one; a lock is let go of with its process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from focusvla.errors import StorageError
from focusvla.storage import locked, publish_file, replace_json, replace_text


@pytest.mark.parametrize("ending", [ValueError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_file_that_was_there_alone(tmp_path: Path, ending: type[BaseException]):
    file = tmp_path / "new" / "notes.txt"
    replace_text(file, "first\n")

    def fail() -> None:
        with publish_file(file) as partial:
            partial.write_text("half")
            raise ending

    with pytest.raises(ending):
        fail()
    assert [path.read_text() for path in file.parent.iterdir()] == ["first\n"]


def test_a_process_killed_within_a_write_leaves_the_file_that_was_there(tmp_path: Path):
    file = tmp_path / "notes.json"
    replace_json(file, {"word": "ü"})
    script = (
        "import os, sys; from pathlib import Path; from focusvla.storage import publish_file\n"
        "with publish_file(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", script, file])
    assert ended.returncode == -signal.SIGKILL
    assert file.read_text("utf-8") == '{\n  "word": "ü"\n}'
    replace_text(file, "whole")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_a_file_has_the_mode_that_the_umask_lets(tmp_path: Path):
    usual = os.umask(0o027)
    try:
        with publish_file(tmp_path / "weights") as partial:
            partial.unlink()
            os.close(os.open(partial, os.O_CREAT, 0o600))  # as safetensors does
    finally:
        os.umask(usual)
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/notes: expected a folder that can be written"):
        replace_text(tmp_path / "file" / "notes", "")
    with (
        pytest.raises(StorageError, match=r"file/lock: expected a folder"),
        locked(tmp_path / "file" / "lock"),
    ):
        pass


def test_a_lock_is_held_against_other_processes_and_let_go_of_by_a_killed_one(tmp_path: Path):
    lock = tmp_path / "lock"
    script = (
        "import sys; from pathlib import Path; from focusvla.storage import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), locked(lock, waiting=False):
        pass
    holder.kill()
    holder.communicate()
    with locked(lock, waiting=False):
        pass
