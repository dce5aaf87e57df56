"""What the doctor prints, and when it fails."""

import json
import os
import subprocess
import sys

import pytest


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "focusvla", "doctor", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.simulator
@pytest.mark.slow
def test_a_machine_that_has_what_the_quickstart_needs_passes():
    ended = doctor("--json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["ok"] is True
    assert {
        "Python",
        "packages",
        "torch",
        "device",
        "threads",
        "simulator",
        "rendering",
        "simulation",
        "disk",
    } <= {check["name"] for check in document["checks"]}
    assert all(check["advice"] for check in document["checks"] if check["status"] == "note")


@pytest.mark.slow
def test_what_the_quickstart_needs_and_is_not_there_fails_with_exit_code_2_in_words_and_in_json():
    broken = {"MUJOCO_GL": "no_such_back_end"}
    in_words, in_json = doctor(**broken), doctor("--json", **broken)
    assert in_words.returncode == in_json.returncode == 2
    assert "error: rendering" in in_words.stderr
    document = json.loads(in_json.stdout)
    assert document["ok"] is False
    (rendering,) = (check for check in document["checks"] if check["name"] == "rendering")
    assert rendering["status"] == "failed"
    assert "no_such_back_end" in rendering["finding"]
    assert "no_such_back_end" in in_words.stdout
