"""Training learns, resumes bit for bit, and refuses what does not fit."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from focusvla.config import ExperimentConfig
from focusvla.errors import CheckpointError, ConfigurationError, DataError, StorageError
from focusvla.policy import checkpoint_steps, load_policy
from focusvla.presets import paper_tiny, tiny
from focusvla.training.metrics import read_metrics
from focusvla.training.trainer import train


def shortened(**changes) -> ExperimentConfig:
    experiment = tiny()
    return dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, **changes))


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line]


def test_the_loss_falls_on_a_data_set_that_can_be_learned_by_heart(arm_source, tmp_path):
    experiment = shortened(
        steps=60, learning_rate=3e-3, validation_share=0.0, state_noise=0.0, augmented_copies=0
    )
    train(experiment, arm_source(), tmp_path / "run", cache_folder=tmp_path)
    found = losses(tmp_path / "run")
    assert sum(found[-5:]) < 0.7 * sum(found[:5])


def test_the_paper_at_toy_widths_learns_through_its_adapters_and_keeps_its_pretrained_weights(
    arm_source, tmp_path
):
    experiment = paper_tiny()
    training = dataclasses.replace(
        experiment.training, steps=60, learning_rate=3e-3, validation_share=0.0, checkpoint_every=30
    )
    experiment = dataclasses.replace(experiment, training=training)
    train(experiment, arm_source(), tmp_path / "run", cache_folder=tmp_path)
    found = losses(tmp_path / "run")
    assert sum(found[-5:]) < 0.8 * sum(found[:5])
    early, late = (
        load_file(tmp_path / "run" / "checkpoints" / f"step-{step:08d}" / "model.safetensors")
        for step in (30, 60)
    )
    changed = {name for name in early if not early[name].equal(late[name])}
    assert {name for name in changed if name.startswith(("vision", "projector", "language"))} == {
        name for name in early if "lora_" in name
    }
    assert "action_queries" in changed
    merged = load_policy(tmp_path / "run").model.state_dict()
    assert not [name for name in merged if "lora_" in name]
    key = "language_model.body.layers.0.mlp.up_proj"
    base, a, b = (late[f"{key}.{part}.weight"] for part in ("base_layer", "lora_A.default", "lora_B.default"))
    torch.testing.assert_close(merged[f"{key}.weight"], base + 2.0 * b @ a)


def test_two_runs_of_a_seed_are_equal_and_another_seed_is_not(arm_source, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(shortened(steps=4, seed=seed), arm_source(), tmp_path / name, cache_folder=tmp_path)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_a_run_interrupted_at_a_checkpoint_goes_on_bit_for_bit(arm_source, tmp_path):
    experiment = shortened(steps=6, checkpoint_every=2, validate_every=3)
    train(experiment, arm_source(), tmp_path / "undisturbed", cache_folder=tmp_path)

    class Interruption(Exception):
        pass

    def interrupt(report):
        if report.step == 5:
            raise Interruption

    with pytest.raises(Interruption):
        train(experiment, arm_source(), tmp_path / "resumed", cache_folder=tmp_path, on_step=interrupt)
    assert checkpoint_steps(tmp_path / "resumed") == [2, 4]
    train(experiment, arm_source(), tmp_path / "resumed", cache_folder=tmp_path)
    expected = read_metrics(tmp_path / "undisturbed" / "metrics.jsonl")
    assert read_metrics(tmp_path / "resumed" / "metrics.jsonl") == expected
    weights = [
        (tmp_path / name / "checkpoints" / "step-00000006" / "model.safetensors").read_bytes()
        for name in ("undisturbed", "resumed")
    ]
    assert weights[0] == weights[1]


KILLED_RUN = """
import dataclasses, sys, time
from pathlib import Path
from focusvla.data.memory import random_source
from focusvla.presets import paper_tiny, tiny
from focusvla.simulation.libero import libero_spec
from focusvla.training.trainer import train

run, cache = map(Path, sys.argv[1:])
experiment = tiny()
training = dataclasses.replace(experiment.training, steps=40, checkpoint_every=3)
experiment = dataclasses.replace(experiment, training=training)
source = random_source(libero_spec(32), (9, 7, 8))
train(experiment, source, run, cache_folder=cache, on_step=lambda report: time.sleep(0.02))
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_losses_of_an_undisturbed_one(arm_source, tmp_path):
    experiment = shortened(steps=40, checkpoint_every=3)
    train(experiment, arm_source(), tmp_path / "undisturbed", cache_folder=tmp_path)
    run = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED_RUN, str(run), str(tmp_path)]
    kills = 0
    for seconds in (0.15, 0.3, 0.07):
        process = subprocess.Popen(command)
        before = len(checkpoint_steps(run))
        while len(checkpoint_steps(run)) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills == 3
    assert 0 < checkpoint_steps(run)[-1] < 40
    subprocess.run(command, check=True)
    assert losses(run) == losses(tmp_path / "undisturbed")


def test_only_the_newest_checkpoint_keeps_the_training_state(arm_source, tmp_path):
    train(shortened(steps=4, checkpoint_every=2), arm_source(), tmp_path / "run", cache_folder=tmp_path)
    with_state = [p.parent.name for p in (tmp_path / "run").rglob("training.safetensors")]
    assert with_state == ["step-00000004"]
    load_policy(tmp_path / "run" / "checkpoints" / "step-00000002")


def test_a_finished_run_is_not_trained_again(arm_source, tmp_path):
    train(shortened(steps=2), arm_source(), tmp_path / "run", cache_folder=tmp_path)
    steps = []
    train(shortened(steps=2), arm_source(), tmp_path / "run", cache_folder=tmp_path, on_step=steps.append)
    assert steps == []


def test_a_folder_of_another_experiment_is_refused_with_the_differing_values(arm_source, tmp_path):
    train(shortened(steps=2), arm_source(), tmp_path / "run", cache_folder=tmp_path)
    with pytest.raises(ConfigurationError, match=r"training.batch_size: 4 there, 2 here"):
        train(shortened(steps=2, batch_size=2), arm_source(), tmp_path / "run", cache_folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_cameras": 3}, "cameras: the model expects 3, the data set has 2"),
        ({"state_dim": 9}, "state width: the model expects 9, the data set has 8"),
        ({"action_dim": 14}, "action width: the model expects 14, the data set has 7"),
    ],
)
def test_a_data_set_that_does_not_fit_the_model_is_named_before_the_first_step(
    change, message, arm_source, tmp_path
):
    experiment = tiny()
    experiment = dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, **change))
    with pytest.raises(DataError, match=message):
        train(experiment, arm_source(), tmp_path / "run", cache_folder=tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_damaged_training_state_is_named_and_nothing_is_lost(arm_source, tmp_path):
    run = tmp_path / "run"
    train(shortened(steps=2, checkpoint_every=2), arm_source(), run, cache_folder=tmp_path)
    file = run / "checkpoints" / "step-00000002" / "training.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    experiment = json.loads((run / "experiment.json").read_text())
    experiment["training"]["steps"] = 4
    (run / "experiment.json").write_text(json.dumps(experiment))
    with pytest.raises(CheckpointError, match=r"training.safetensors: cannot be read"):
        train(shortened(steps=4, checkpoint_every=2), arm_source(), run, cache_folder=tmp_path)
    assert len(read_metrics(run / "metrics.jsonl")) == 3


def test_an_output_that_cannot_be_written_is_an_error_of_storage(arm_source, tmp_path):
    with pytest.raises(StorageError, match="/proc/run"):
        train(shortened(steps=2), arm_source(), Path("/proc/run"), cache_folder=tmp_path)
