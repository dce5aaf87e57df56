"""The scripts that time inference run, and compare what they time."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from benchmark_scripts import script

FOLDER = Path(__file__).parents[2] / "benchmarks"


def run(name: str, *arguments: str) -> dict:
    command = [sys.executable, str(FOLDER / name), *arguments, "--quick", "--threads", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_policy_is_timed_beside_the_reference():
    found = run("latency.py", "--presets", "paper_tiny", "--modes", "plain", "eager", "reference")
    assert set(found["modes"]) == {"plain", "eager", "reference"}
    times = {mode: values["median_ms"] for mode, values in found["modes"].items()}
    fastest = min(times["plain"], times["eager"])
    assert found["median_ms"] == fastest
    assert found["speedup_over_reference_path"] == pytest.approx(times["reference"] / fastest, rel=1e-2)
    assert found["times_floor"] == pytest.approx(fastest / found["floor_ms"], rel=1e-2)
    assert set(found["parts_ms"]) == {"preprocessing", "vision", "policy", "postprocessing", "language"}
    shown = "\n".join(script("latency").section(found))
    assert "| reference |" in shown


def arguments(latency: ModuleType, monkeypatch: pytest.MonkeyPatch, *flags: str) -> argparse.Namespace:
    monkeypatch.setattr(sys, "argv", ["latency.py", "--quick", "--threads", "1", *flags])
    return latency.parsed()


def test_a_way_that_cannot_be_run_leaves_the_others_their_times(monkeypatch):
    latency = script("latency")
    found = latency.measure("tiny", arguments(latency, monkeypatch, "--modes", "graph", "eager"))
    assert found["failed"]["graph"].startswith("RuntimeError: no CUDA graph was recorded on cpu")
    assert set(found["modes"]) == {"eager"}
    assert found["median_ms"] == found["modes"]["eager"]["median_ms"]


def test_ways_that_answer_otherwise_are_timed_and_are_not_the_fastest(monkeypatch):
    latency = script("latency")
    monkeypatch.setitem(latency.TOLERANCES, torch.float32, -1.0)
    found = latency.measure("tiny", arguments(latency, monkeypatch, "--modes", "plain", "eager"))
    assert set(found["failed"]) == set(found["modes"]) == {"plain", "eager"}
    assert "median_ms" not in found
    assert "- failed: plain: actions differ by 0 of their deviation" in latency.section(found)


def test_other_actions_are_far_from_those_that_were_expected():
    expected = np.random.default_rng(0).standard_normal((3, 1, 8, 7))
    difference = script("latency").difference
    assert difference(expected, expected) == 0
    other = expected.copy()
    other[1, 0, 2, 3] += 1
    assert difference(other, expected) > script("latency").TOLERANCES[torch.float32]
    swapped = expected[::-1]
    assert difference(swapped, expected) > script("latency").TOLERANCES[torch.bfloat16]


@pytest.mark.slow
def test_cost_is_measured_against_cameras_patches_steps_and_batch(tmp_path):
    found = run("cost_against_work.py", "--preset", "tiny", "--plot", str(tmp_path / "plot.png"))
    assert [point["value"] for point in found["cameras"]] == [1, 2, 3]
    assert [point["value"] for point in found["kept_patches"]] == [4, 8, 16, 32]
    assert [point["value"] for point in found["action_steps"]] == [8, 16, 32]
    assert (tmp_path / "plot.png").stat().st_size > 10_000
