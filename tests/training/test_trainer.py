"""Training learns, resumes bit for bit, and refuses what does not fit."""

import dataclasses
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from focusvla.checkpoint import checkpoint_step, checkpoint_steps
from focusvla.config import ExecutionConfig
from focusvla.data.memory import random_source
from focusvla.data.mixture import MixturePart, MixtureSource
from focusvla.errors import CheckpointError, DataError, StorageError
from focusvla.policy import load_policy
from focusvla.presets import paper_tiny, tiny, with_policy_head
from focusvla.suites.libero import libero_spec
from focusvla.training.metrics import read_metrics
from focusvla.training.trainer import train
from training.train_tiny import shortened, small


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line]


def learned(run: Path) -> list[dict[str, Any]]:
    """All metrics but those of speed."""
    speed = {"samples_per_second", "data_wait_share", "device_utilization", "peak_memory_bytes"}
    return [
        {name: value for name, value in line.items() if name not in speed}
        for line in read_metrics(run / "metrics.jsonl")
    ]


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


@pytest.mark.parametrize(
    ("normalized_by", "head"),
    [(None, {}), ("joint", {}), (None, {"latent": "training_noise", "positions": "rotary"})],
    ids=["parts", "joint", "noise"],
)
def test_a_run_interrupted_at_a_checkpoint_goes_on_bit_for_bit(normalized_by, head, arm_source, tmp_path):
    experiment = with_policy_head(shortened(steps=6, checkpoint_every=2, validate_every=3), **head)
    source = arm_source()
    if normalized_by:
        parts = [
            MixturePart(name=name, source=arm_source(lengths))
            for name, lengths in (("a", (9, 7)), ("b", (8, 5)))
        ]
        source = MixtureSource(parts, normalized_by=normalized_by)
    train(experiment, source, tmp_path / "undisturbed", cache_folder=tmp_path)

    class Interruption(Exception):
        pass

    def interrupt(report):
        if report.step == 5:
            raise Interruption

    with pytest.raises(Interruption):
        train(experiment, source, tmp_path / "resumed", cache_folder=tmp_path, on_step=interrupt)
    assert checkpoint_steps(tmp_path / "resumed") == [2, 4]
    train(experiment, source, tmp_path / "resumed", cache_folder=tmp_path)
    expected = learned(tmp_path / "undisturbed")
    assert len(expected) == 8
    assert learned(tmp_path / "resumed") == expected
    weights = [
        (tmp_path / name / "checkpoints" / "step-00000006" / "model.safetensors").read_bytes()
        for name in ("undisturbed", "resumed")
    ]
    assert weights[0] == weights[1]


TRAIN_TINY = Path(__file__).with_name("train_tiny.py")


def wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    """Until the metrics tell of `step`, in a process that is still training."""
    while not any(line["step"] >= step for line in read_metrics(run / "metrics.jsonl")):
        assert process.poll() is None, "the process ended before that step"
        time.sleep(0.005)


@pytest.mark.slow
def test_a_run_killed_at_five_random_steps_ends_with_the_losses_of_an_undisturbed_one(arm_source, tmp_path):
    train(
        shortened(steps=40, checkpoint_every=3), arm_source(), tmp_path / "undisturbed", cache_folder=tmp_path
    )
    run = tmp_path / "killed"
    command = [sys.executable, TRAIN_TINY, "tiny", run, tmp_path, *map(str, (40, 3, "ddp", 0.02))]
    steps = sorted(random.Random(0).sample(range(4, 36), 5))
    for step in steps:
        process = subprocess.Popen(command)
        wait_for_step(run, step, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert step - 3 <= checkpoint_steps(run)[-1] < 40
    subprocess.run(command, check=True)
    assert losses(run) == losses(tmp_path / "undisturbed")


@pytest.mark.slow
def test_sigterm_saves_the_running_step_and_says_how_to_go_on(arm_source, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, TRAIN_TINY, "tiny", run, tmp_path, *map(str, (40, 100, "ddp", 0.02))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    wait_for_step(run, 7, process)
    process.terminate()
    said, _ = process.communicate()
    (step,) = checkpoint_steps(run)
    assert 7 <= step < 40
    assert process.returncode == 128 + signal.SIGTERM
    assert f"stopped by SIGTERM after step {step} of 40" in said
    assert "The same command goes on from there" in said
    subprocess.run(command, check=True)
    train(shortened(steps=40, checkpoint_every=100), arm_source(), tmp_path / "whole", cache_folder=tmp_path)
    assert losses(run) == losses(tmp_path / "whole")


@pytest.mark.long
@pytest.mark.parametrize(("name", "parallelism"), [("tiny", "ddp"), ("paper_tiny", "fsdp2")])
def test_two_processes_learn_what_one_does_and_one_goes_on_alone(name, parallelism, arm_source, tmp_path):
    """Begun by two and stopped, continued by one: all losses are those of one, up to rounding."""
    alone = small(name, 8, 4, ExecutionConfig())
    train(alone, random_source(libero_spec(32), (9, 7, 8)), tmp_path / "alone", cache_folder=tmp_path)
    run = tmp_path / "together"
    arguments = [TRAIN_TINY, name, run, tmp_path, *map(str, (8, 4, parallelism, 0.3))]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with subprocess.Popen([*torchrun, *arguments], stderr=subprocess.PIPE, text=True) as process:
        wait_for_step(run, 5, process)
        process.terminate()
        process.communicate()
    assert 5 <= checkpoint_steps(run)[-1] < 8
    subprocess.run([sys.executable, *arguments], check=True)
    expected, found = learned(tmp_path / "alone"), learned(run)
    assert losses(run) == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
    assert found[-1]["validation_l1_by_chunk_step"] == pytest.approx(
        expected[-1]["validation_l1_by_chunk_step"], rel=1e-3
    )


def test_a_loss_that_is_not_finite_stops_with_the_batch_kept_and_no_weight_changed(arm_source, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(
        DataError, match=r"step 2: the loss is nan.*failed/step-00000002-process-0.safetensors"
    ):
        train(
            shortened(steps=4, learning_rate=1e30, warmup_steps=0, checkpoint_every=1),
            arm_source(),
            run,
            cache_folder=tmp_path,
        )
    kept = load_file(run / "failed" / "step-00000002-process-0.safetensors")
    assert kept["actions"].shape == (4, 4, 7)
    assert kept["features"].shape[0] == kept["state"].shape[0] == 4
    assert checkpoint_steps(run) == [1]


def test_a_full_disk_leaves_the_earlier_checkpoint_and_its_training_state(arm_source, tmp_path):
    """The file-size limit is a real one of the system: writing past it fails as on a full disk."""
    run = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(folder: Path) -> dict[str, Any]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        return {}

    try:
        with pytest.raises(StorageError, match=r"step-00000004.*File too large"):
            train(
                shortened(steps=4, checkpoint_every=2),
                arm_source(),
                run,
                cache_folder=tmp_path,
                on_checkpoint=fill_disk,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint_steps(run) == [2]
    assert not list((run / "checkpoints").glob(".*"))
    train(shortened(steps=4, checkpoint_every=2), arm_source(), run, cache_folder=tmp_path)
    train(shortened(steps=4, checkpoint_every=2), arm_source(), tmp_path / "whole", cache_folder=tmp_path)
    assert losses(run) == losses(tmp_path / "whole")


def test_too_little_space_is_found_before_a_checkpoint_is_begun(arm_source, tmp_path, monkeypatch):
    run = tmp_path / "run"
    seen = []

    def fill_disk(folder: Path) -> dict[str, Any]:
        monkeypatch.setattr(
            shutil, "disk_usage", lambda path: seen.append(path) or shutil._ntuple_diskusage(9, 9, 0)
        )
        return {}

    with pytest.raises(StorageError, match=r"step-00000004: a checkpoint needs \d+ bytes, 0 are free"):
        train(
            shortened(steps=4, checkpoint_every=2),
            arm_source(),
            run,
            cache_folder=tmp_path,
            on_checkpoint=fill_disk,
        )
    assert checkpoint_steps(run) == [2]
    assert (run / "checkpoints" / "step-00000002" / "training.safetensors").exists()


def test_the_newest_checkpoints_and_the_best_stay(arm_source, tmp_path):
    rates = iter([0.1, 0.9, 0.9, 0.3, 0.2])
    experiment = shortened(steps=5, checkpoint_every=1)
    train(
        dataclasses.replace(experiment, execution=ExecutionConfig(keep_checkpoints=2)),
        arm_source(),
        tmp_path / "run",
        cache_folder=tmp_path,
        on_checkpoint=lambda folder: {"success_rate": next(rates)},
    )
    assert checkpoint_steps(tmp_path / "run") == [2, 4, 5]
    found = [
        line["success_rate"]
        for line in read_metrics(tmp_path / "run" / "metrics.jsonl")
        if "success_rate" in line
    ]
    assert found == [0.1, 0.9, 0.9, 0.3, 0.2]


def test_what_is_found_out_later_is_written_under_its_step_and_nobody_waits_before_the_end(
    arm_source, tmp_path
):
    run, asked = tmp_path / "run", {}

    def find_out(folder: Path) -> Future[dict[str, Any]]:
        asked[checkpoint_step(folder)] = Future()
        if checkpoint_step(folder) == 5:
            assert checkpoint_steps(run) == [
                1,
                2,
                3,
                4,
                5,
            ]  # of which none is superseded before it was evaluated
            for step, rate in ((1, 0.1), (2, 0.9), (3, 0.2), (4, 0.3), (5, 0.4)):
                asked[step].set_result({"success_rate": rate} if step != 3 else {})
        return asked[checkpoint_step(folder)]

    train(
        dataclasses.replace(
            shortened(steps=5, checkpoint_every=1), execution=ExecutionConfig(keep_checkpoints=1)
        ),
        arm_source(),
        run,
        cache_folder=tmp_path,
        on_checkpoint=find_out,
    )
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert {line["step"]: line["success_rate"] for line in lines if "success_rate" in line} == {
        1: 0.1,
        2: 0.9,
        4: 0.3,
        5: 0.4,
    }
    assert checkpoint_steps(run) == [2, 5]


def test_a_checkpoint_that_was_being_evaluated_when_the_run_was_stopped_is_evaluated_when_it_goes_on(
    arm_source, tmp_path
):
    run, asked = tmp_path / "run", []

    def never(folder: Path) -> Future[dict[str, Any]]:
        if checkpoint_step(folder) == 4:
            raise KeyboardInterrupt
        return Future()

    def at_once(folder: Path) -> dict[str, Any]:
        asked.append(checkpoint_step(folder))
        return {"success_rate": 0.5}

    experiment = shortened(steps=5, checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        train(experiment, arm_source(), run, cache_folder=tmp_path, on_checkpoint=never)
    train(experiment, arm_source(), run, cache_folder=tmp_path, on_checkpoint=at_once)
    assert asked == [2, 4, 5]


def test_validation_tells_each_dimension_and_each_step_of_the_chunk(arm_source, tmp_path):
    train(shortened(steps=2, validate_every=2), arm_source(), tmp_path / "run", cache_folder=tmp_path)
    (line,) = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "validation_loss" in line]
    by_dimension, by_step = line["validation_l1_by_dimension"], line["validation_l1_by_chunk_step"]
    assert list(by_dimension) == list(libero_spec(32).action)
    assert len(by_step) == 4
    assert sum(by_dimension.values()) / 7 == pytest.approx(line["validation_loss"])
    assert min(by_step) <= line["validation_loss"] <= max(by_step)


def test_metrics_tell_how_fast_training_is(arm_source, tmp_path):
    train(shortened(steps=3), arm_source(), tmp_path / "run", cache_folder=tmp_path)
    line = read_metrics(tmp_path / "run" / "metrics.jsonl")[0]
    assert line["samples_per_second"] > 0
    assert 0 <= line["data_wait_share"] <= 1
    assert 0 < line["device_utilization"] <= 1
    assert line["peak_memory_bytes"] > 1e8


def test_tensorboard_gets_the_metrics(arm_source, tmp_path):
    run = tmp_path / "run"
    experiment = shortened(steps=2)
    tracked = dataclasses.replace(experiment, execution=ExecutionConfig(trackers=("tensorboard",)))
    train(tracked, arm_source(), run, cache_folder=tmp_path)
    (folder,) = {
        path.parent for path in (run / "tracking").rglob("events.*") if path.parent.name == "focusvla"
    }
    events = EventAccumulator(str(folder)).Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(step, pytest.approx(loss)) for step, loss in enumerate(losses(run), start=1)]
    assert events.Scalars("validation_l1_by_dimension/gripper")


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
    with pytest.raises(
        CheckpointError, match=r"training.safetensors: .* damaged: .* Or remove .*step-00000002, and the run"
    ):
        train(shortened(steps=4, checkpoint_every=2), arm_source(), run, cache_folder=tmp_path)
    assert len(read_metrics(run / "metrics.jsonl")) == 3


def test_an_output_that_cannot_be_written_is_an_error_of_storage(arm_source, tmp_path):
    with pytest.raises(StorageError, match="/proc/run"):
        train(shortened(steps=2), arm_source(), Path("/proc/run"), cache_folder=tmp_path)
