"""The script that times training says why it cannot, and how far it came."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


@pytest.mark.slow
def test_what_is_said_last_is_why_a_preset_could_not_be_measured():
    ended = run("--presets", "paper_tine")
    assert ended.returncode == 1
    assert "paper_tine" in ended.stderr.splitlines()[-1]
    assert "ConfigurationError" in ended.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_measurement_that_would_be_stopped_has_said_its_plan_and_its_steps():
    ended = run("--presets", "tiny", "--device", "cpu", "--quick")
    assert ended.returncode == 0, ended.stderr
    plan, *steps = [line for line in ended.stderr.splitlines() if line.startswith(("memory plan", "step "))]
    assert plan.startswith("memory plan")
    assert [line.partition(":")[0] for line in steps] == [f"step {number}" for number in (1, 2, 3, 4)]
