"""The quickstart, made small: real simulator, real training, real page."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.simulator, pytest.mark.long]


def test_quickstart_leaves_a_summary_and_a_page_and_repeats_nothing(tmp_path):
    output = tmp_path / "quickstart"
    command = [sys.executable, "-m", "focusvla", "quickstart", "--output", str(output)]
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
