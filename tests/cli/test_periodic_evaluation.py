"""Evaluation on the way plays what the data came from, in a process whose failure costs the training nothing."""

import json
from pathlib import Path
from typing import Annotated

import pytest
import torch
import tyro

from focusvla.cli.parsing import parse
from focusvla.cli.periodic_evaluation import Evaluations, flags
from focusvla.cli.training import PeriodicEvaluation
from focusvla.config import EvaluationConfig, GivenPictures, InferenceConfig

USUAL = EvaluationConfig()


@pytest.mark.parametrize(
    "config",
    [
        USUAL,
        EvaluationConfig(
            suites=("libero_goal", "libero_10"), tasks=(2, 3), trials=4, videos=False, statistics=("libero_goal=a",),
            controls=("vision_blind",), inference=InferenceConfig(precision="bfloat16"),
            pictures=GivenPictures(center_crop_area=0.9), device="cuda:1",
        ),
    ],
)  # fmt: skip
def test_what_is_typed_for_a_configuration_is_read_as_that_configuration(config):
    read = []

    def evaluate(config: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = USUAL) -> None:
        read.append(config)

    parse("evaluate", evaluate, flags(config, USUAL))()
    assert read == [config]


def test_an_evaluation_that_fails_is_remarked_on_with_its_own_message_and_is_worth_no_number(tmp_path: Path):
    checkpoint = tmp_path / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").touch()
    remarks: list[str] = []
    periodic = PeriodicEvaluation(evaluate_every=2, evaluation=EvaluationConfig(trials=1))
    with Evaluations(tmp_path, 4, periodic, torch.device("cpu"), remarks.append) as evaluations:
        assert evaluations.begin(tmp_path / "checkpoints" / "step-00000003") == {}
        found = evaluations.begin(checkpoint)
        assert not isinstance(found, dict)
        assert found.result(120) == {}
    (remark,) = remarks
    assert "evaluation after step 2 failed, and the training goes on: error: " in remark
    assert "step-00000002" in remark


def test_an_evaluation_that_runs_when_training_ends_is_ended_too(tmp_path: Path, monkeypatch):
    checkpoint = tmp_path / "checkpoints" / "step-00000004"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").touch()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr("sys.executable", str(_sleeper(tmp_path)))
    remarks: list[str] = []
    periodic = PeriodicEvaluation(evaluate_every=2, evaluation=EvaluationConfig(trials=1))
    with Evaluations(tmp_path, 4, periodic, torch.device("cpu"), remarks.append) as evaluations:
        found = evaluations.begin(checkpoint)
        assert not isinstance(found, dict)
        while not (tmp_path / "environment").exists():
            assert not found.done()
    assert found.result(10) == {}
    assert remarks == []
    assert not {"RANK", "WORLD_SIZE"} & json.loads((tmp_path / "environment").read_text()).keys()


def _sleeper(folder: Path) -> Path:
    """A program in Python's place that writes down its environment and sleeps."""
    program = folder / "sleeper"
    program.write_text(
        f"""#!/bin/sh
env | sed 's/"//g; s/^\\([A-Z_a-z0-9]*\\)=.*/"\\1": 0,/; /^"/!d' | (echo '{{'; cat; echo '"end": 0}}') > {folder}/partial
mv {folder}/partial {folder}/environment
exec sleep 60
"""
    )
    program.chmod(0o755)
    return program
