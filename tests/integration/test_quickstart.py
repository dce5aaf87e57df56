"""The quickstart, made small: real simulator, real training, real page."""

import json
import subprocess
import sys

import pytest

from focusvla.cli.quickstart import play_shipped
from focusvla.errors import MissingDependencyError
from focusvla.evaluation.results import read_results
from focusvla.installed_checkpoints import installed_checkpoint

pytestmark = [pytest.mark.simulator, pytest.mark.long]


def test_learning_from_nothing_leaves_a_summary_and_a_page_and_repeats_nothing(tmp_path):
    output = tmp_path / "quickstart"
    command = [sys.executable, "-m", "focusvla", "quickstart", "--train", "--output", str(output)]
    command += ["--tasks", "2", "--episodes-per-task", "2", "--steps", "20", "--trials", "1"]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "Traceback" not in first.stderr + first.stdout
    assert first.stdout.split()[-1] == str(output / "report.html")
    summary = json.loads((output / "summary.json").read_text())
    for name in ("standard", "wide", "wide_blind"):
        assert summary[name]["episodes"] == 1
        assert summary[name]["successes"] in (0, 1)
    assert summary["tasks"] == {"2": "pick up the salad dressing and place it in the basket"}
    assert set(summary["minutes"]) == {"demonstrate", "train", "evaluate", "report"}
    page = (output / "report.html").read_text()
    assert "salad dressing" in page
    assert page.count('class="episode"') == 3

    results = {path: path.read_bytes() for path in output.rglob("results.jsonl")}
    checkpoints = {path: path.stat().st_mtime_ns for path in output.rglob("model.safetensors")}
    assert (len(results), len(checkpoints)) == (3, 2)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert {path: path.read_bytes() for path in results} == results
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints


def test_the_policy_that_ships_plays_a_task_of_each_suite_and_succeeds_at_most(tmp_path):
    """A floor for the policy itself, which succeeded in all eight where it was made."""
    if installed_checkpoint("libero") is None:
        pytest.skip("focusvla-libero is not installed")
    output = tmp_path / "quickstart"
    command = [sys.executable, "-m", "focusvla", "quickstart", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = read_results(output / "results" / "libero" / "results.jsonl")
    assert {each.suite for each in results} == {"libero_spatial", "libero_object", "libero_goal", "libero_10"}
    assert len(results) == 8
    assert sum(each.success for each in results) >= 5
    page = (output / "report.html").read_text()
    assert page.count('class="episode"') >= 4
    assert "No checkpoint was given" not in page


def test_without_that_policy_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("focusvla.installed_checkpoints.entry_points", lambda group: [])
    with pytest.raises(MissingDependencyError, match=r"--train.*focusvla-libero.*pip install"):
        play_shipped(tmp_path, trials=1)
