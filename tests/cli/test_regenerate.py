"""What a user sees of LIBERO's original demonstrations that are played again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from focusvla.cli import main
from focusvla.data.formats.lerobot_reader import LeRobotSource
from written_datasets import write_pushed_demonstrations

pytest.importorskip("h5py", reason="needs the extra `hdf5`")

FLAGS = ("--suite", "libero_object", "--image-size", "64", "--mesh-cell-meters", "0.008", "--workers", "1")


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the command; its exit code, and what it printed, spaces and line breaks as one space each."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["regenerate", *map(str, arguments)])
        assert isinstance(stopped.value.code, int)
        shown = capsys.readouterr()
        return stopped.value.code, " ".join(shown.out.split()), " ".join(shown.err.split())

    return call


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return write_pushed_demonstrations(tmp_path / "original")


@pytest.mark.simulator
@pytest.mark.slow
def test_what_was_kept_is_counted_by_file(original: Path, tmp_path: Path, run: Callable):
    code, out, err = run(original, "--output", tmp_path / "new", *FLAGS)
    assert code == 0, err
    assert "\u2502 1 \u2502 1 \u2502 2 \u2502" in out  # kept, rejected, no-ops
    assert "1 episodes in" in out
    source = LeRobotSource(tmp_path / "new")
    assert (source.num_episodes, len(source.episode(0))) == (1, 3)


def test_a_folder_without_such_files_and_a_missing_suite_are_named(tmp_path: Path, run: Callable):
    code, _, err = run(tmp_path, "--output", tmp_path / "new", *FLAGS)
    assert (code, "expected files called TASK_demo.hdf5, got none" in err) == (2, True)
    code, _, err = run(tmp_path, "--output", tmp_path / "new")
    assert (code, "--suite" in err) == (2, True)
