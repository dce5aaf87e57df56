"""`focusvla focus` from the command line, and what it says to those who ask for what is not there."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from focusvla.cli import main
from focusvla.data.memory import random_source
from focusvla.presets import tiny, with_policy_head
from focusvla.suites.libero import libero_spec
from focusvla.training.trainer import train
from written_datasets import write_lerobot


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data set of two episodes, and policies trained on it for a step: cascaded, mixed, blind, and one that does not
    attend."""
    folder = tmp_path_factory.mktemp("focus")
    source = random_source(libero_spec(32), (9, 20))
    write_lerobot(folder / "data", source)
    experiment = dataclasses.replace(tiny(), training=dataclasses.replace(tiny().training, steps=1))
    model = experiment.model
    mlp = with_policy_head(
        dataclasses.replace(experiment, model=dataclasses.replace(model, num_action_queries=28)),
        attention="mlp", latent="action_queries", num_kept_patches=32,
    )  # fmt: skip
    blind = dataclasses.replace(model.vision, encoder="none")
    for name, made in {
        "cascaded": experiment,
        "mixed": with_policy_head(
            experiment, attention="mixed", gate="scalar", values="vlm", num_kept_patches=32
        ),
        "mlp": mlp,
        "blind": dataclasses.replace(
            with_policy_head(experiment, num_kept_patches=2), model=dataclasses.replace(model, vision=blind)
        ),
    }.items():
        train(made, source, folder / name, cache_folder=folder / "cache")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / "picture.png")
    return folder


def test_two_policies_look_at_an_episode_side_by_side(folder, tmp_path, capsys):
    output = tmp_path / "focus"
    policies = (f"first={folder / 'cascaded'}", folder / "mixed")
    assert run("focus", *policies, "--data", folder / "data", "--episode", 1, "--output", output) == 0
    shown = capsys.readouterr().out
    assert "3 frame(s) of 1 episode(s)" in shown
    assert "| mixed minus first, all layers |" in shown
    numbers = json.loads((output / "focus.json").read_text())
    assert numbers["checkpoints"] == {"first": str(folder / "cascaded"), "mixed": str(folder / "mixed")}
    assert [frame["step"] for frame in numbers["frames"]] == [0, 8, 16]
    assert (output / "first" / "episode-000001.mp4").is_file()


def test_pictures_are_looked_at_with_a_state_or_with_the_middle_of_those_seen_in_training(folder, tmp_path):
    picture = folder / "picture.png"
    command = ("focus", folder / "cascaded", "--images", f"image={picture}", f"image2={picture}")
    for name, state in (("middle", ()), ("given", ("--state", *range(8)))):
        assert run(*command, "--instruction", "lift", *state, "--output", tmp_path / name) == 0
        assert (tmp_path / name / "cascaded" / "images-step-0000-heads.png").is_file()
        assert not list((tmp_path / name / "cascaded").glob("*.mp4"))


@pytest.mark.parametrize("source", ["data", "images"])
def test_a_second_policy_of_other_conventions_is_refused_too(source, folder, tmp_path, capsys):
    picture = folder / "picture.png"
    pictures = ("--images", f"image={picture}", f"image2={picture}", "--instruction", "lift")
    given = {"data": ("--data", folder / "data"), "images": pictures}[source]
    flipped = shutil.copytree(folder / "cascaded", tmp_path / "flipped")
    for file in flipped.rglob("spec.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"image_orientation": "upright"}))
    assert run("focus", folder / "cascaded", flipped, *given, "--output", tmp_path / "focus") == 2
    assert "policy 'flipped' and what was seen in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [flipped]


@pytest.mark.parametrize(
    ("policy", "arguments", "message"),
    [
        ("cascaded", (), "expected one of --data, --results, --suite and --images, got none"),
        ("cascaded", ("--data", "DATA", "--suite", "aloha"), "got data and suite"),
        ("cascaded", ("--data", "DATA", "--episode", "2"), "episode 2: expected 0..1"),
        ("cascaded", ("--data", "DATA", "--step", "9"), "step=9: expected 0..8 in episode 0"),
        ("cascaded", ("--data", "DATA", "--every", "0"), "every: expected a positive number of steps, got 0"),
        ("cascaded", ("--images", "image=PICTURE", "--instruction", "lift"), "expected camera 'image2', got image"),
        ("cascaded", ("--images", "imgae=PICTURE", "--instruction", "lift"), "did you mean 'image'"),
        ("cascaded", ("--images", "PICTURE", "--instruction", "lift"), "images: expected CAMERA=FILE"),
        ("cascaded", ("--images", "image=PICTURE"), "instruction: expected one with --images, got none"),
        ("cascaded", ("--results", "nowhere"), "expected a results file"),
        (
            "cascaded",
            ("--suite", "aloha", "--every", "4", "--protocol", "libero_openvla"),
            "protocol 'libero_openvla' covers libero_spatial",
        ),
        ("cascaded", ("--suite", "aloha"), "every=8: expected at most the policy's chunk of 4 steps"),
        ("cascaded", ("--suite", "aloha", "--task"), "task: expected at least one number with --suite, got none"),
        ("cascaded", ("--suite", "aloha", "--trial"), "trial: expected at least one number with --suite, got none"),
        ("blind", ("--data", "DATA"), "expected one that sees, got vision.encoder='none'"),
        ("mlp", ("--data", "DATA"), "expected a kind that attends, such as 'cascaded', got 'mlp'"),
        ("cascaded", ("--data", "DATA", "--device", "abacus"), "device='abacus': expected auto"),
        ("x=", ("--data", "DATA"), "expected FOLDER or NAME=FOLDER"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_message_and_nothing_is_written(
    policy, arguments, message, folder, tmp_path, capsys
):
    data, picture = str(folder / "data"), str(folder / "picture.png")
    given = [text.replace("DATA", data).replace("PICTURE", picture) for text in arguments]
    checkpoint = policy if policy == "x=" else folder / policy
    assert run("focus", checkpoint, *given, "--output", tmp_path / "focus") == 2
    shown = capsys.readouterr().err
    assert message in " ".join(shown.split())
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []
