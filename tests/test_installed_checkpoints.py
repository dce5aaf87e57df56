"""Checkpoints that other packages bring are found by name, and what is wrong with such a package is said."""

import sys
from pathlib import Path

import pytest

from focusvla.checkpoint import open_checkpoint
from focusvla.errors import CheckpointError
from focusvla.presets import tiny
from focusvla.suites.libero import libero_spec
from untrained_checkpoints import write_checkpoint


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package of that name whose module is that text and whose entry point `tabletop` has that value."""

    def install(name: str, module: str, value: str) -> None:
        folder = tmp_path / name
        information = folder / f"{name}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[focusvla.checkpoints]\ntabletop = {value}\n")
        (folder / f"{name}.py").write_text(module)
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(folder)

    return install


def test_a_name_is_that_of_an_installed_checkpoint_unless_it_is_a_folder(install, tmp_path, monkeypatch):
    brought, local = (
        write_checkpoint(tmp_path / name, tiny(), libero_spec(32), ("lift",)) for name in ("brought", "local")
    )
    install("weights", f"from pathlib import Path\nFOLDER = Path({str(brought)!r})", "weights:FOLDER")
    monkeypatch.chdir(tmp_path)
    assert open_checkpoint(Path("tabletop")).folder == brought
    local.rename(tmp_path / "tabletop")
    assert open_checkpoint(Path("tabletop")).folder == Path("tabletop")


def test_an_unknown_name_says_which_are_installed_and_runs_none_of_them(install, tmp_path, monkeypatch):
    install("weights", "raise SystemExit('this was run')", "weights:FOLDER")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"checkpoint=table: .*one that is installed: (\w+, )*tabletop"):
        open_checkpoint(Path("table"))


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        ("", "cannot be loaded: AttributeError"),
        ("raise ValueError('no weights')", "cannot be loaded: ValueError"),
        ("FOLDER = '/tmp'", "expected the pathlib.Path of a folder, got '/tmp'"),
        (
            "from pathlib import Path; FOLDER = Path('gone')",
            "expected the pathlib.Path of a folder, got PosixPath.'gone'.",
        ),
    ],
)
def test_a_package_that_brings_something_else_is_named(module, fault, install, tmp_path, monkeypatch):
    install("weights", module, "weights:FOLDER")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=rf"installed package 'weights': {fault}"):
        open_checkpoint(Path("tabletop"))


def test_a_name_that_two_packages_bring_is_none(install, tmp_path, monkeypatch):
    install("one", "", "one:FOLDER")
    install("two", "", "two:FOLDER")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match="expected one installed package that brings it, got one and two"
    ):
        open_checkpoint(Path("tabletop"))
