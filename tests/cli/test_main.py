"""What a user sees: help at once, one message and exit code 2 for an error, no traceback."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from focusvla.checkpoint import checkpoint_steps
from focusvla.cli import main
from focusvla.data.memory import MemorySource
from focusvla.errors import ConfigurationError
from focusvla.policy import load_policy
from focusvla.training.metrics import read_metrics
from written_datasets import write_lerobot


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    code = stopped.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def data_set(arm_source, tmp_path):
    """Three random episodes as a LeRobot data set that fits the `tiny` preset."""
    return write_lerobot(tmp_path / "data", arm_source())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "minni", "--data", "d", "--output", "o"), "did you mean 'mini'"),
        (("train", "mini", "--data", "nowhere", "--output", "o"), "nowhere"),
        (("train", "paper", "--data", "d", "--output", "o", "--weights.siglip", ""), "siglip and language together"),
        (("train", "mini", "--data", "d", "--output", "o", "--batch-size", "0"), "batch_size: expected a positive"),
        (("evaluate", "--checkpoint", "nowhere", "--output", "o"), "Train one with `focusvla train`"),
        (("evaluate", "--checkpoint", "x", "--output", "o", "--actions-per-inference", "-1"), "actions_per_inference"),
        (("report", "--output", "o.html", "--results", "nowhere"), "nowhere"),
        (("serve", "nowhere"), "Train one with `focusvla train`"),
        (("serve", "nowhere", "--host", "0.0.0.0"), "a key is needed and none is set. Set FOCUSVLA_API_KEY"),
        (("serve", "nowhere", "--max-batch", "0"), "max_batch: expected a positive"),
        (("serve-vla-eval", "nowhere", "--max-batch", "0"), "max_batch: expected a positive"),
        (("serve-vla-eval", "nowhere", "--max-batch-wait-seconds", "-1"), "max_batch_wait_seconds: expected 0 or more"),
        (("serve-vla-eval", "nowhere", "--port", "65536"), "port: expected 1..65535"),
        (("serve-vla-eval", "nowhere", "--host", "0.0.0.0"), "warning: host='0.0.0.0': others can reach this address"),
        (("serve-vla-eval", "nowhere", "--host", "no host"), "host='no host': is no address"),
    ],
)  # fmt: skip
def test_a_users_error_is_one_message_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOCUSVLA_API_KEY", raising=False)
    assert run(*arguments) == 2
    shown = capsys.readouterr().err
    assert message in " ".join(shown.split())
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_a_preset_is_trained_from_the_command_line_and_goes_on_from_where_it_was(data_set, tmp_path, capsys):
    output = tmp_path / "run"
    command = [
        "train",
        "tiny",
        "--data",
        str(data_set),
        "--output",
        str(output),
        "--steps",
        "4",
        "--checkpoint-every",
        "2",
    ]
    assert run(*command) == 0
    assert checkpoint_steps(output) == [2, 4]
    assert str(output / "checkpoints" / "step-00000004") in capsys.readouterr().out.replace("\n", "")
    assert load_policy(output).experiment.training.steps == 4
    assert run(*command) == 0


def test_a_data_set_without_statistics_says_that_they_were_computed(data_set, tmp_path, capsys):
    command = ["train", "tiny", "--data", str(data_set), "--steps", "1"]
    assert run(*command, "--output", str(tmp_path / "with")) == 0
    assert "statistics" not in capsys.readouterr().err
    (data_set / "meta" / "stats.json").unlink()
    assert run(*command, "--output", str(tmp_path / "without")) == 0
    assert "data set: holds no statistics that can be used; they were computed" in capsys.readouterr().err


def test_a_mixture_names_its_parts_and_a_policy_must_say_whose_numbers_it_speaks(data_set, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(data_set, other)
    output = str(tmp_path / "run")
    command = ["train", "tiny", "--data", str(data_set), str(other), "--output", output, "--steps", "1"]
    assert run(*command, "--data-weights", "1") == 2
    assert "weights: expected one for each of 2 data sets, got 1" in capsys.readouterr().err
    assert run(*command, "--data-weights", "1", "3") == 0
    with pytest.raises(ConfigurationError, match=r"one of '.*', 'other'"):
        load_policy(Path(output))
    assert (
        load_policy(Path(output), statistics="other").spec
        == load_policy(Path(output), statistics=data_set.name).spec
    )


def test_recordings_of_one_robot_can_be_trained_on_as_one_data_set(arm_source, data_set, tmp_path, capsys):
    own = arm_source((9, 6))
    far = [replace(own.episode(i), state=own.episode(i).state + 5) for i in range(2)]
    pictures = [{c.name: np.stack(list(own.frames(i, c.name))) for c in own.spec.cameras} for i in range(2)]
    folders = [str(data_set), str(write_lerobot(tmp_path / "far", MemorySource(own.spec, far, pictures)))]
    output = tmp_path / "run"
    command = ["train", "tiny", "--data", *folders, "--output", str(output), "--steps", "2"]
    assert run(*command, "--data-statistics", "joint") == 0
    states = np.concatenate(
        [*(arm_source().episode(i).state for i in range(3)), *(each.state for each in far)]
    )
    policy = load_policy(output)  # whose statistics need no name
    np.testing.assert_allclose(policy.statistics.state.q99, np.quantile(states.astype(float), 0.99, axis=0))
    assert run(*command) == 2
    refused = " ".join(capsys.readouterr().err.split())
    assert "statistics of all data together there, of part 'data', part 'far' here" in refused
    assert run(*command, "--data-statistics", "joint") == 0
    capsys.readouterr()
    assert run("diagnose", str(output), "--data", *folders, "--json") == 0
    measured = json.loads(capsys.readouterr().out)[""]["l1"]["mean"]
    validated = [
        line["validation_loss"]
        for line in read_metrics(output / "metrics.jsonl")
        if "validation_loss" in line
    ]
    assert measured == pytest.approx(validated[-1], rel=1e-3)  # of features in 16 bits
    assert run("diagnose", str(output), "--data", folders[0]) == 2
    assert "all parts in their order" in " ".join(capsys.readouterr().err.split())


def test_a_plan_of_memory_comes_before_the_first_step(data_set, tmp_path, capsys):
    command = ["train", "tiny", "--data", str(data_set), "--steps", "1", "--output", str(tmp_path / "run")]
    assert run(*command, "--memory-gb", "-1") == 2
    assert "memory_gb: expected a positive number of gigabytes, got -1.0" in capsys.readouterr().err
    assert run(*command, "--memory-gb", "0.5") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "memory: expected a plan of at most 0.5 GB, the least is memory plan" in said
    assert not (tmp_path / "run").exists()
    assert run(*command, "--memory-gb", "2") == 0
    assert "1 pass(es) a step" in capsys.readouterr().err


def test_evaluations_on_the_way_need_a_checkpoint_to_evaluate(data_set, tmp_path, capsys):
    command = ["train", "tiny", "--data", str(data_set), "--output", str(tmp_path / "run")]
    assert run(*command, "--checkpoint-every", "4", "--evaluate-every", "6") == 2
    assert "evaluate_every=6: expected a multiple of checkpoint_every=4" in capsys.readouterr().err


def test_values_of_another_run_are_refused_before_anything_is_written(data_set, tmp_path, capsys):
    command = ["train", "tiny", "--data", str(data_set), "--output", str(tmp_path / "run"), "--steps", "2"]
    assert run(*command) == 0
    assert run(*command, "--seed", "1") == 2
    assert "training.seed: 0 there, 1 here" in " ".join(capsys.readouterr().err.split())


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)  # a write beyond fails as on a full disk
from focusvla.cli import main
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_a_disk_that_is_full_at_a_checkpoint_is_one_message_and_the_earlier_checkpoint_stays(
    data_set, tmp_path
):
    output = tmp_path / "run"
    command = ["train", "tiny", "--data", str(data_set), "--output", str(output), "--checkpoint-every", "2"]
    interrupted = subprocess.Popen([sys.executable, "-m", "focusvla", *command, "--steps", "2000"])
    while not checkpoint_steps(output):
        assert interrupted.poll() is None
        time.sleep(0.01)
    interrupted.kill()
    interrupted.wait()
    kept = checkpoint_steps(output)
    full = subprocess.run(
        [sys.executable, "-c", LIMITED, "100000", *command, "--steps", "2000"], capture_output=True, text=True
    )
    assert full.returncode == 2, full.stderr
    assert "File too large" in full.stderr
    assert "Free space or choose another folder" in full.stderr.replace("\n", " ")
    assert "Traceback" not in full.stderr
    assert checkpoint_steps(output) == kept
    assert not list((output / "checkpoints").glob(".*"))
    load_policy(output)


def test_describe_prints_the_counts_of_table_3(capsys):
    assert run("describe", "paper", "--reference") == 0
    shown = capsys.readouterr().out
    for number in ("103,636,992", "239,060,871", "342,697,863", "102,129,695", "217,864,223", "13,185,024"):
        assert number in shown


def test_describe_counts_what_is_executed(capsys):
    assert run("describe", "paper", "--teraflops", "1261.55", "--terabytes-per-second", "2.626") == 0
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if "SigLIP" in line)
    # 26 layers, 2 cameras of 256 patches: linear maps 405.5, patch embedding 0.7, attention 15.7 GFLOP.
    assert "421.7" in row
    assert "1.00 ms to compute and 1.00 ms to read the weights" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("describe", "papper"), "did you mean 'paper'"),
        (("describe", "mini", "--reference"), "expected a preset with the paper's backbones"),
        (("describe", "paper", "--teraflops", "0"), "teraflops: expected a positive number"),
    ],
)
def test_describe_says_what_it_cannot_count(arguments, message, capsys):
    assert run(*arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
