"""With --json, standard output is one document of the shape that the command's help tells, and nothing else."""

import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from focusvla.cli import main
from focusvla.cli.main import COMMANDS
from focusvla.data.formats.opening import open_source
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.results import EpisodeResult, result_line
from focusvla.presets import fitted, preset
from focusvla.training.trainer import train
from written_datasets import write_lerobot

RATE = {"successes", "episodes", "rate", "interval_95"}


@pytest.fixture
def document(capsys):
    """What a command prints with --json, and its exit code."""

    def call(*arguments: object) -> tuple[dict, int]:
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, arguments), "--json"])
        assert isinstance(stopped.value.code, int)
        return json.loads(capsys.readouterr().out), stopped.value.code

    return call


def write_evaluation(folder: Path, outcomes: str) -> Path:
    """An evaluation of LIBERO-Object's task 0, an episode for each letter: s succeeded, f failed."""
    folder.mkdir()
    episodes = [
        EpisodeResult(
            suite="libero_object", task=0, instruction="pick up the soup", trial=trial, condition="", seed=7,
            success=letter == "s", steps=9, inferences=2, seconds=1.0, protocol="libero_openvla",
            policy=PolicyIdentity(weights="p"),
            actions_per_inference=8, error="", versions={},
        )
        for trial, letter in enumerate(outcomes)
    ]  # fmt: skip
    (folder / "results.jsonl").write_text("".join(map(result_line, episodes)))
    (folder / "protocol.json").write_text(json.dumps({"planned": len(outcomes)}))
    return folder


@pytest.mark.parametrize("command", [
    name for name, command in COMMANDS.items() if "as_json" in inspect.signature(command).parameters
])  # fmt: skip
def test_a_command_that_prints_json_tells_the_shape_and_is_among_those_on_the_page_about_it(command):
    assert "With --json" in " ".join((COMMANDS[command].__doc__ or "").split())
    page = Path(__file__).parents[2] / "docs" / "how-to" / "terminal.md"
    listed = page.read_text("utf-8").partition("have it.")[0].rpartition("\n\n")[2]
    assert f"`{command}`" in listed


def test_two_policies_are_compared_in_numbers(document, tmp_path):
    first, second = write_evaluation(tmp_path / "a", "ssfs"), write_evaluation(tmp_path / "b", "sfff")
    found, code = document("mcnemar", first, second)
    assert (code, found) == (0, {"both": 1, "only_first": 2, "only_second": 0, "neither": 1, "p_value": 0.5})


def test_what_is_unfinished_is_told_beside_numbers(document, capsys, tmp_path):
    first, second = write_evaluation(tmp_path / "a", "ssfs"), write_evaluation(tmp_path / "b", "sfff")
    (second / "protocol.json").write_text(json.dumps({"planned": 9}))
    for found, _ in (document("mcnemar", first, second), document("tables", first, second)):
        (sentence,) = found["unfinished"]
        assert sentence.startswith(f"{second}: 4 of 9 episodes are there")
    with pytest.raises(SystemExit):
        main(["tables", str(second), "--format", "csv"])
    printed = capsys.readouterr()
    assert "unfinished: " in printed.err
    assert all(line.count(",") >= 11 for line in printed.out.splitlines())  # a CSV file and nothing else


def test_a_table_has_its_rates_as_numbers(document, tmp_path):
    found, _ = document("tables", f"paper={write_evaluation(tmp_path / 'a', 'ssfs')}")
    (table,) = found["tables"]
    assert table["columns"][:3] == ["Spatial", "Object", "Goal"]
    assert [cell["success"] is None for cell in table["rows"]["paper"]][:2] == [True, False]
    cell = table["rows"]["paper"][1]
    assert set(cell) == {"success", "paper_percent", "difference_percent"}
    assert set(cell["success"]) == RATE
    assert (cell["success"]["successes"], cell["success"]["episodes"]) == (3, 4)


def test_parts_that_were_merged_are_counted(document, tmp_path):
    part, output = write_evaluation(tmp_path / "a", "sf"), tmp_path / "all"
    assert document("merge", part, "--output", output) == (
        {"results": str(output), "episodes": 2, "planned": 2},
        0,
    )


def test_what_a_preset_costs_is_told_in_numbers(document):
    found, _ = document("describe", "tiny")
    assert set(found) == {"parts", "seconds", "reference"}
    assert found["reference"] is None
    assert set(found["parts"][0]) == {
        *("name", "parameters", "trainable", "inference_flop", "training_flop", "streamed_parameters")
    }
    assert document("describe", "paper", "--reference")[0]["reference"]["vlm"] == 103_636_992


def test_what_was_inspected_is_one_document_even_if_it_cannot_be_trained_on(document, arm_source, tmp_path):
    data = write_lerobot(tmp_path / "data", arm_source())
    found, _ = document("inspect", data, "--preset", "tiny")
    assert {"problems", "picture_difference", "num_episodes", "seconds"} <= set(found)


def test_a_diagnosis_names_its_controls_as_results_do(document, arm_source, tmp_path):
    data, run = write_lerobot(tmp_path / "data", arm_source()), tmp_path / "run"
    experiment = fitted(preset("tiny"), arm_source().spec)
    training = replace(experiment.training, steps=1, validation_share=0.5)
    train(
        replace(experiment, training=training), open_source(str(data)), run, cache_folder=tmp_path / "cache"
    )
    found, _ = document("diagnose", run, "--data", data)
    assert {"", "vision_silenced", "action_queries_silenced"} <= set(found)
    assert set(found["vision_silenced"]) == {"l1", "l1_difference"}
    assert set(found[""]["l1"]) == {"mean", "interval_95", "frames", "episodes"}


@pytest.mark.slow
def test_a_comparison_prints_what_it_writes_while_people_read_standard_error(arm_source, tmp_path):
    data, output = write_lerobot(tmp_path / "data", arm_source()), tmp_path / "compared"
    command = ["compare", "tiny", "mini_blind", "--data", data, "--output", output, "--steps", "2", "--json"]
    ended = subprocess.run(
        [sys.executable, "-m", "focusvla", *map(str, command)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == json.loads((output / "comparison.json").read_text())
    assert "checkpoint: " in ended.stderr


@pytest.mark.simulator
@pytest.mark.slow
def test_an_evaluation_and_a_replay_print_nothing_else_though_simulators_talk(arm_source, recorded, tmp_path):
    def document(*arguments: object) -> dict:
        ended = subprocess.run(
            [sys.executable, "-m", "focusvla", *map(str, arguments), "--workers", "1", "--json"],
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    found = document("replay", "--data", recorded, "--episodes", 1)
    assert found["success"]["rate"] == 1
    assert set(found["episodes"][0]) == {
        *("episode", "task", "success", "steps", "recorded_steps", "state_difference", "picture_difference")
    }
    source = arm_source()
    experiment = fitted(preset("tiny"), source.spec)
    experiment = replace(experiment, training=replace(experiment.training, steps=1))
    checkpoint = train(experiment, source, tmp_path / "run", cache_folder=tmp_path / "cache")
    output = tmp_path / "results"
    found = document(
        *("evaluate", "--checkpoint", checkpoint, "--output", output, "--tasks", 2, "--trials", 1),
        *("--no-videos", "--actions-per-inference", 4),
    )
    assert found["results"] == str(output)
    assert set(found) == {
        "results",
        "protocol",
        "success",
        "tasks",
        "broken",
        "robustness",
        "paraphrases",
        "perturbations",
        "pace",
    }
    assert set(found["pace"]) == {"episodes_per_minute", "seconds_by_activity"}
    (task,) = found["tasks"]
    assert (task["suite"], task["task"], set(task["success"])) == ("libero_object", 2, RATE)
