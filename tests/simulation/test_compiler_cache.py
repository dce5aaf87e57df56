"""What the simulator compiles finds a place, or one message says that there is none."""

import os
import tempfile
from pathlib import Path

import pytest

from focusvla.errors import StorageError
from focusvla.simulation import compiler_cache
from focusvla.simulation.compiler_cache import give_compilers_a_cache


@pytest.fixture
def places(tmp_path: Path, monkeypatch):
    """Let numba's own places be below a file, where nothing can be written, and the temporary folder be ours."""
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(compiler_cache, "_own_places", lambda: [tmp_path / "file" / "cache"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield tmp_path
    os.environ.pop("NUMBA_CACHE_DIR", None)


def test_a_place_of_numbas_own_or_the_users_choice_is_left_alone(places: Path, monkeypatch):
    monkeypatch.setattr(compiler_cache, "_own_places", lambda: [places / "file", places / "cache"])
    give_compilers_a_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/nowhere")
    give_compilers_a_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == "/nowhere"


def test_without_one_it_is_a_temporary_folder_that_nobody_else_can_write(places: Path):
    give_compilers_a_cache()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert (folder.parent, folder.stat().st_mode & 0o777) == (places / "temporary", 0o700)


def test_a_folder_that_others_could_have_filled_is_not_read(places: Path):
    planted = places / "temporary" / f"focusvla-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    give_compilers_a_cache()
    assert os.environ["NUMBA_CACHE_DIR"] != str(planted)


def test_where_nothing_can_be_written_the_variable_is_named(places: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(places / "file"))
    with pytest.raises(StorageError, match="NUMBA_CACHE_DIR: expected a folder that can be written"):
        give_compilers_a_cache()
