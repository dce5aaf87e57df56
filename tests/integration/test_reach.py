"""What another package's simulator costs: a row, an environment and an expert (`tests/reach`). Every command takes it."""

import json
import os
from pathlib import Path

import pytest

from focusvla.cli import main
from focusvla.evaluation.results import read_results

REACH = Path(__file__).parents[1] / "reach"


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 0


def test_demonstrate_train_evaluate_replay_focus_and_report_take_a_suite_of_another_package(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(REACH), os.environ.get("PYTHONPATH", ""))))
    data, trained, results = tmp_path / "data", tmp_path / "run", tmp_path / "results"
    recording = ("--suite", "reach", "--image-size", 32, "--episodes-per-task", 3, "--workers", 1)
    run("demonstrate", *recording, "--output", data)
    run("train", "tiny", "--data", data, "--output", trained, "--steps", 2)
    run("evaluate", "--checkpoint", trained, "--suites", "reach", "--workers", 1, "--output", results)
    episodes = read_results(results / "results.jsonl")
    assert [(each.suite, each.task, each.trial) for each in episodes if not each.error] == [
        ("reach", task, trial) for task in range(2) for trial in range(4)
    ]
    assert {each.protocol for each in episodes} == {"reach"}
    capsys.readouterr()

    run("focus", trained, "--results", results, "--output", tmp_path / "focus", "--json")
    regions = json.loads(capsys.readouterr().out)
    assert regions
    run(
        "report", "--output", tmp_path / "report.html", "--run", trained, "--results", results, "--data", data
    )
    assert "reach the red disc" in (tmp_path / "report.html").read_text()

    undisturbed = tmp_path / "undisturbed"
    run("demonstrate", *recording, "--noise", 0, "--no-pushes", "--output", undisturbed)
    capsys.readouterr()
    run("replay", "--data", undisturbed, "--workers", 1, "--json")
    assert json.loads(capsys.readouterr().out)["success"]["rate"] == 1.0
