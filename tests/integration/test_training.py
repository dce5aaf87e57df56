"""Training through the command line: evaluations on the way, and two presets compared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from reach.suite import reach_spec

from focusvla.checkpoint import checkpoint_steps
from focusvla.data.memory import random_source
from focusvla.training.metrics import read_metrics
from written_datasets import write_lerobot

pytestmark = pytest.mark.slow


@pytest.fixture
def data_set(tmp_path) -> Path:
    """Three short random episodes under the small world's conventions."""
    return write_lerobot(tmp_path / "data", random_source(reach_spec(32), (9, 7, 8)))


@pytest.mark.long
def test_two_presets_are_trained_evaluated_on_the_way_and_compared(data_set, tmp_path):
    output = tmp_path / "compare"
    command = [sys.executable, "-m", "focusvla", "compare", "tiny", "paper_tiny", "--data", str(data_set)]
    command += ["--output", str(output), "--steps", "2", "--checkpoint-every", "2", "--evaluate-every", "2"]
    command += ["--evaluation.suites", "reach", "--evaluation.tasks", "2", "--evaluation.trials", "1"]
    too_many = [*command, "--evaluation.actions-per-inference", "8"]
    refused = subprocess.run(too_many, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "actions_per_inference=8: expected at most the policy's chunk of 4" in refused.stderr
    assert not output.exists()
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "| tiny | 0 | not reached | 0 |" in first.stdout
    found = json.loads((output / "comparison.json").read_text())
    assert found["measure"] == "success_rate"
    assert found["presets"]["paper_tiny"]["runs"][0]["points"] == [[2, 0.0]]
    for name in ("tiny", "paper_tiny"):
        run = output / f"{name}-seed-0"
        assert checkpoint_steps(run) == [2]
        evaluated = run / "evaluations" / "step-00000002" / "results.jsonl"
        assert len(evaluated.read_text().splitlines()) == 1
        measured = [line for line in read_metrics(run / "metrics.jsonl") if "success_rate" in line]
        assert [(line["step"], line["episodes"]) for line in measured] == [(2, 1)]
    before = (output / "comparison.json").read_bytes()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert (output / "comparison.json").read_bytes() == before
