"""What another package's simulator costs: a row, an environment and an expert (`tests/reach`). Every command takes it."""

import json

import pytest

from focusvla.cli import main
from focusvla.evaluation.results import read_results


def run(line: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 0


def test_demonstrate_train_evaluate_replay_focus_and_report_take_a_suite_of_another_package(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    record = "demonstrate --suite reach --tasks 0 1 --image-size 32 --episodes-per-task 2 --workers 1"
    run(f"{record} --output data")
    run("train tiny --data data --output run --steps 2")
    run("evaluate --checkpoint run --suites reach --tasks 0 1 --trials 2 --workers 1 --output results")
    episodes = read_results(tmp_path / "results/results.jsonl")
    assert [(each.suite, each.task, each.trial) for each in episodes if not each.error] == [
        ("reach", task, trial) for task in range(2) for trial in range(2)
    ]
    assert {each.protocol for each in episodes} == {"reach"}
    capsys.readouterr()

    run("focus run --results results --output focus")
    assert (
        "| run, all layers | - |" in capsys.readouterr().out
    )  # of the object: nothing is moved in this world
    run("report --output report.html --run run --results results --data data")
    assert "reach the red disc" in (tmp_path / "report.html").read_text()

    run(f"{record} --noise 0 --no-pushes --output undisturbed")
    capsys.readouterr()
    run("replay --data undisturbed --workers 1 --json")
    assert json.loads(capsys.readouterr().out)["success"]["rate"] == 1.0
