"""Suites are rows: the package's own, and those that other packages bring by an entry point."""

import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

from focusvla.errors import ConfigurationError
from focusvla.suites import (
    clean_task,
    conventions,
    playable_suite,
    registry,
    suite_of,
    suites,
    task_in_variant,
)


def test_a_variant_is_of_the_suite_that_it_was_made_from_and_knows_its_tasks_by_their_numbers():
    assert suite_of("libero_goal_with_milk") is suite_of("libero_goal")
    there = [task_in_variant("libero_goal_with_milk", task) for task in range(10)]
    assert there == [0, 4, 8, 1, 5, 2, 6, 9, 3, 7]
    assert [clean_task("libero_goal_with_milk", task) for task in there] == list(range(10))
    assert (task_in_variant("libero_goal_swap", 4), clean_task("never_heard_of", 4)) == (4, 4)


@pytest.mark.parametrize("suite", [suite for suite in suites().values() if suite.environment])
def test_every_row_names_classes_that_there_are_and_a_protocol_that_covers_it(suite):
    assert resolve_name(suite.environment).tasks
    assert not suite.expert or resolve_name(suite.expert).infer
    assert suite.protocols[0].covers(suite.name)
    assert suite.spec(32).cameras[0].height == 32


def test_a_suite_that_is_played_elsewhere_is_known_and_refused_here():
    assert "robotwin" in conventions()
    with pytest.raises(ConfigurationError, match=r"own Python, not here\. See integrations/robotwin"):
        playable_suite("robotwin")


def test_an_installed_package_brings_a_suite():
    assert suites()["reach"].environment == "reach.environment:ReachEnvironment"


_LIBERO_AGAIN = """
from dataclasses import replace
from focusvla.suites import suite_of
NO_PROTOCOL = [replace(suite_of("libero_goal"), name="other", protocols=())]
SAME_PROTOCOL = [replace(suite_of("libero_goal"), name="other")]
"""


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("no_such_module:SUITES", "cannot be loaded: ModuleNotFoundError"),
        ("reach.suite:reach_spec", "cannot be loaded: TypeError"),
        ("reach.environment:COLORS", "is no sequence of focusvla.suites.Suite"),
        ("reach.suite:SUITES", "brings a suite 'reach', which there is already"),
        ("libero_again:NO_PROTOCOL", "brings a suite 'other' with an environment and no protocol"),
        ("libero_again:SAME_PROTOCOL", "brings a protocol 'libero_disturbed', which there is already"),
    ],
)
def test_a_package_that_brings_something_else_is_named(value, fault, tmp_path: Path, monkeypatch):
    folder = tmp_path / "other-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[focusvla.suites]\nother = {value}\n")
    (tmp_path / "libero_again.py").write_text(_LIBERO_AGAIN)
    monkeypatch.delitem(sys.modules, "libero_again", raising=False)
    suites()  # which what the package imports asks
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"of the installed package '(other|reach)'") as refused:
        registry.suites.__wrapped__()
    assert fault in str(refused.value)
    assert "Mend or uninstall" in str(refused.value)
