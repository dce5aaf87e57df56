"""Installed versions against stated ranges and tested versions."""

import importlib.metadata
from pathlib import Path

import pytest

from focusvla.cli.machine import check_machine, check_threads
from focusvla.cli.packages import install_command, required_packages


@pytest.fixture
def install(tmp_path: Path, monkeypatch):
    """Make a package of a name and version be found before all others."""
    monkeypatch.syspath_prepend(tmp_path)

    def call(name: str, version: str, *lines: str) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n" + "\n".join(lines) + "\n")

    return call


def test_a_version_outside_the_stated_range_is_found_with_the_range(install):
    install("torch", "1.13.0")
    (torch,) = (each for each in required_packages() if each.requirement.name == "torch")
    (stated,) = (each for each in importlib.metadata.requires("focusvla") or () if each.startswith("torch>"))
    assert not torch.fits
    assert str(torch) == f"torch 1.13.0 (expected {stated.removeprefix('torch')})"
    assert install_command([torch]) == f"pip install '{stated}'"


@pytest.mark.parametrize(
    ("version", "is_tested"), [("2.13.0", True), ("2.13.0+cu130", True), ("2.14.0", False)]
)
def test_a_version_in_the_range_is_the_tested_one_in_any_build_or_is_not(version, is_tested, install):
    install("torch", version)
    (torch,) = (each for each in required_packages() if each.requirement.name == "torch")
    assert (torch.fits, torch.is_tested) == (True, is_tested)


def test_a_package_of_an_extra_alone_belongs_to_it_only(install):
    install("focusvla", "9", "Requires-Dist: numpy", "Requires-Dist: no-such-package>=2 ; extra == 'drums'")
    assert [str(each) for each in required_packages("drums")] == [
        "no-such-package not installed (expected >=2)"
    ]
    assert [each.requirement.name for each in required_packages()] == ["numpy"]


@pytest.mark.parametrize(
    ("threads", "cores", "set_to", "status", "advice"),
    [
        (8, 8, None, "ok", ""),
        (64, 2, None, "note", "export OMP_NUM_THREADS=2"),
        (1, 8, "1", "note", "unset OMP_NUM_THREADS"),
        (4, 8, None, "ok", ""),  # one per physical core
    ],
)
def test_threads_that_do_not_suit_the_cores_come_with_what_to_set(threads, cores, set_to, status, advice):
    check = check_threads(threads, cores, set_to)
    assert check.status == status
    assert advice in check.advice


def test_another_python_another_version_and_a_missing_extra_are_told_apart(install):
    install(
        "focusvla", "9", "Requires-Python: >=4", "Requires-Dist: torch>=2", "Provides-Extra: drums",
        "Requires-Dist: no-such-package ; extra == 'drums'",
    )  # fmt: skip
    install("torch", "2.5.0")
    checks = {check.name: check for check in check_machine()}
    assert checks["Python"].status == "failed"
    assert ", expected >=4" in checks["Python"].finding
    assert checks["packages"].status == "ok"
    assert checks["tested set"].finding == "torch 2.5.0 (tested: 2.13.0)"
    assert checks["extra drums"].status == "note"
    assert checks["extra drums"].advice == "If you need it: pip install 'focusvla[drums]'"
