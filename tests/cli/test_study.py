"""A study's file is read as its commands would be, and what it starts ends with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from focusvla.cli import main
from focusvla.cli.study import described, planned, read_study
from focusvla.errors import ConfigurationError

STUDY = """
question = "Does a gate help?"
data = "--data data --cache cache"
train = "--steps 20"
evaluate = "--suites reach --tasks 0 1 --trials 2"
seeds = [0]

[rows]
gated = "tiny"
open = "tiny --model.policy-head.gate none"
odd = "tiny --model.policy-head.gate narrow"

[[claims]]
better = "gated"
worse = "open"
source = "97.0 against 96.0, Table 2"
"""


def written(folder: Path, text: str = STUDY) -> Path:
    file = folder / "study.toml"
    file.write_text(text)
    return file


def test_rows_are_what_train_would_make_of_them_and_one_that_cannot_be_built_is_named(tmp_path):
    read = read_study(written(tmp_path))
    assert [row.experiment.model.policy_head.gate for row in read.rows] == ["element_wise", "none"]
    assert {row.experiment.training.steps for row in read.rows} == {20}
    assert "odd" in read.refused
    assert "narrow" in read.refused["odd"]
    assert "'element_wise'" in read.refused["odd"]
    assert read.evaluation.trials == 2
    lines = "\n".join(described(planned(read, 4, 2)))
    assert "2 rows x 1 seeds" in lines
    assert "every claim stays open" in lines
    assert "row 'odd' cannot be built" in lines


def test_a_plan_is_told_as_json_and_nothing_is_made(tmp_path, capsys):
    file = written(tmp_path, STUDY.replace("seeds = [0]", "seeds = [0, 1, 2]"))
    output = tmp_path / "out"
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["study", str(file), "--output", str(output), "--plan", "--json", "--jobs", "2"])
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["seeds"], told["at_once"]) == (["gated", "open"], [0, 1, 2], 2)
    assert {*told["refused"]} == {"odd"}
    assert 0 < told["detectable_difference"] <= 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("seeds = [0]", 'seeds = ["a"]', "seeds: expected a list of whole numbers"),
        ("seeds = [0]", "seed = [0]", "got seed as well"),
        ("[rows]", "[row]", "got row as well"),
        ("--trials 2", "--trial 2", "trial"),
        ("--trials 2", "--trials 2 --output x", "--output: expected none, since the study gives it"),
        ('worse = "open"', 'slower = "open"', r"claims\[0\]: expected the fields better, worse, source"),
        ("question =", "question", "expected a TOML file"),
        ("[[claims]]", "[claims]", "claims: expected tables, each under"),
        ("--data data", "--data 'data", "data: expected arguments as in a shell.*No closing quotation"),
        ('question = "Does a gate help?"', "question = 3", "question: expected text, got 3"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_the_field(tmp_path, before, after, said):
    assert before in STUDY
    file = written(tmp_path, STUDY.replace(before, after))
    with pytest.raises(ConfigurationError, match=said):
        read_study(file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--steps 3", "expected a preset first, got '--steps'"),
        ("tin", "tin"),
        ("tiny --seed 3", "--seed: expected none, since the study gives it"),
        ("tiny --steps 0", "steps: expected a positive number"),
        ("", "expected a preset first, got ''"),
        ("tiny --chunk-length '4", "rows.odd: expected arguments as in a shell"),
        ("tiny --threads 1", "the same experiment as 'gated'"),
    ],
)
def test_a_row_of_wrong_arguments_is_named_with_what_is_wrong(tmp_path, arguments, said):
    file = written(tmp_path, STUDY.replace("tiny --model.policy-head.gate narrow", arguments))
    assert said in read_study(file).refused["odd"]


def test_rows_are_a_table(tmp_path):
    file = written(tmp_path, 'data = ""\nevaluate = ""\nseeds = [0]\nrows = "tiny"\n')
    with pytest.raises(ConfigurationError, match="rows: expected a table of names and arguments, got 'tiny'"):
        read_study(file)


@pytest.mark.slow
def test_a_killed_study_takes_its_commands_along_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record = "demonstrate --suite reach --tasks 0 1 --image-size 32 --episodes-per-task 2 --workers 1 --output data"
    with pytest.raises(SystemExit):
        main(record.split())
    written(tmp_path, STUDY.replace('odd = "tiny --model.policy-head.gate narrow"\n', ""))
    command = [sys.executable, "-m", "focusvla", "study", "study.toml", "--output", "out"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    logs = tmp_path / "out" / "logs"
    wait_until(lambda: list(logs.glob("*-train.log")))
    wait_until(lambda: children(tmp_path))
    process.kill()
    process.wait()
    wait_until(lambda: not children(tmp_path))

    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "study.json").read_text())
    assert [found["rows"][name]["trainings"][0]["success"]["episodes"] for name in ("gated", "open")] == [
        4,
        4,
    ]
    assert found["claims"][0]["verdict"] == "open"
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*") if path.is_file()
    }
    with pytest.raises(SystemExit) as stopped:
        main(["study", "study.toml", "--output", "out"])
    assert stopped.value.code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def children(folder: Path) -> list[int]:
    """Processes of the commands that the study in `folder` began."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().split(b"\0")
            inside = os.readlink(path / "cwd") == str(folder)
        except OSError:
            continue
        if inside and b"focusvla" in line and b"study" not in line:
            found.append(int(path.name))
    return found


def wait_until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_command_that_another_began_ends_with_it(tmp_path):
    script = (
        "import sys, time; from focusvla.child_commands import end_with_parent; end_with_parent(); "
        "print('up', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"FOCUSVLA_ENDS_WITH_PARENT": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == b"up\n"
        child.stdin.close()  # as the system does when who holds it is killed
        assert child.wait(20) == -signal.SIGTERM
