"""What a fingerprint tells apart, and what it does not."""

import shutil
from pathlib import Path

import pytest

from focusvla.data.fingerprint import Fingerprint, fingerprint_of
from focusvla.data.formats.opening import open_source
from written_datasets import gray_memory, write_lerobot

pytest.importorskip("av")


@pytest.fixture
def data(tmp_path: Path, spec) -> Path:
    return write_lerobot(tmp_path / "data", gray_memory(spec))


def of(path: Path) -> Fingerprint:
    return fingerprint_of(open_source(path))


def test_a_copy_in_another_place_is_the_same_data(data: Path, tmp_path: Path):
    before = of(data)
    copy = shutil.copytree(data, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    (copy / "README.md").write_text("what it is")
    (copy / "meta" / "stats.json").write_text("{}")
    assert of(copy) == before


def test_videos_that_changed_places_are_other_pictures_alone(data: Path):
    before = of(data)
    first, second = sorted((data / "videos").iterdir())
    kept = first.rename(data / "kept")
    second.rename(first)
    kept.rename(second)
    assert before.differences(of(data)) == ["files of pictures"]
