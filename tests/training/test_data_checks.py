"""What a training asks of its data before the first step, and how a run knows its data again."""

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from focusvla.checkpoint import checkpoint_steps, open_checkpoint
from focusvla.config import ExperimentConfig
from focusvla.data.episodes import Episode
from focusvla.data.inspection.data_set import inspect_source
from focusvla.data.inspection.problems import find_problems
from focusvla.data.memory import MemorySource
from focusvla.data.mixture import MixturePart, MixtureSource
from focusvla.data.normalization import Quantiles, Statistics
from focusvla.errors import CheckpointError, ConfigurationError, DataError
from focusvla.presets import tiny
from focusvla.training.data_checks import DATA_FILE, check_data
from focusvla.training.metrics import read_metrics
from focusvla.training.trainer import train


class StoredStatistics(MemorySource):
    """A data set that holds the statistics it is told to hold."""

    stored: Statistics

    def statistics(self) -> Statistics:
        return self.stored


@pytest.fixture
def make(arm_source) -> Callable[..., MemorySource]:
    """Episodes of the test's data set whose gripper is told -1 or +1, or as `gripper` maps that, with other words or
    actions."""

    def build(
        lengths: Sequence[int] = (9, 7, 8),
        gripper: Callable[[np.ndarray], np.ndarray] = lambda command: command,
        words: Sequence[str] = ("lift the cup", "push the bowl", "lift the cup"),
        change: Callable[[np.ndarray], None] = lambda action: None,
        kind: type[MemorySource] = MemorySource,
    ) -> MemorySource:
        drawn, episodes, images = arm_source(tuple(lengths)), [], []
        for index in range(len(lengths)):
            action = drawn.episode(index).action.copy()
            action[:, 6] = gripper(np.where(action[:, 6] > 0, 1.0, -1.0))
            change(action)
            state = drawn.episode(index).state.copy()
            state[:, 6:] = (
                0.02,
                -0.02,
            )  # of fingers that are random, half look as if they closed when told to open
            episodes.append(Episode(index, state, action, words[index % len(words)]))
            images.append({c.name: np.stack([*drawn.frames(index, c.name)]) for c in drawn.spec.cameras})
        return kind(drawn.spec, episodes, images)

    return build


def shortened(steps: int = 2, **changes) -> ExperimentConfig:
    experiment = tiny()
    return dataclasses.replace(
        experiment, training=dataclasses.replace(experiment.training, steps=steps, **changes)
    )


def go(source, folder: Path, steps: int = 2, **changes) -> list[str]:
    """Train and return the remarks."""
    told: list[str] = []
    train(
        shortened(steps, **changes),
        source,
        folder / "run",
        cache_folder=folder / "cache",
        on_remark=told.append,
    )
    return told


def written(run: Path) -> dict:
    return json.loads((run / DATA_FILE).read_text())


def test_sound_data_is_trained_on_without_a_word_and_by_the_statistics_that_it_holds(make, tmp_path):
    source = make()
    assert go(source, tmp_path) == []
    assert (
        open_checkpoint(tmp_path / "run/checkpoints/step-00000002").statistics.choose() == source.statistics()
    )
    assert written(tmp_path / "run")["problems"] == []


def test_statistics_of_other_data_are_computed_anew_which_is_told_and_written(make, tmp_path):
    source = make(kind=StoredStatistics)
    right = Statistics.from_source(source)
    half = Quantiles(
        *(tuple(0.5 * value for value in limits) for limits in (right.action.q01, right.action.q99))
    )
    source.stored = Statistics(action=half, state=right.state)
    (told,) = go(source, tmp_path)
    assert told.startswith("warning: data, action: the stored statistics are not of this data in x, y, z, ")
    assert open_checkpoint(tmp_path / "run/checkpoints/step-00000002").statistics.choose() == right
    (problem,) = written(tmp_path / "run")["problems"]
    assert (problem["part"], problem["severity"]) == ("", "warning")
    inspected = find_problems(inspect_source(source, chunk_length=4))
    assert problem["finding"] in [each.finding for each in inspected]
    go(source, tmp_path, steps=4)  # and goes on with them
    assert open_checkpoint(tmp_path / "run/checkpoints/step-00000004").statistics.choose() == right


def test_a_dimension_that_rarely_moves_is_trained_over_its_whole_range(make, tmp_path):
    def rarely(action: np.ndarray) -> None:
        action[:, 3] = 0
        action[100:101, 3] = 0.5

    (told,) = go(make((120, 90, 110), change=rarely), tmp_path)
    assert told.startswith(
        "warning: data, action: q01 and q99 lie together although values vary in axis_angle_x"
    )
    ranges = open_checkpoint(tmp_path / "run/checkpoints/step-00000002").statistics.choose().action
    assert (ranges.q01[3], ranges.q99[3]) == (0.0, 0.5)


@pytest.mark.parametrize("gripper", [lambda command: (command + 1) / 2, lambda command: (command - 1) / 2])
def test_a_gripper_of_one_sign_is_refused_before_a_run_is_begun(gripper, make, tmp_path):
    with pytest.raises(
        DataError, match=r"data, action gripper: from .* of one sign, .* Map the values to -1 and \+1"
    ):
        go(make(gripper=gripper), tmp_path)
    assert not (tmp_path / "run").exists()


def test_the_parts_of_a_mixture_are_told_apart(make):
    sound, halved = make(), make(gripper=lambda command: 0.5 * command)
    mixture = MixtureSource([MixturePart(name="a", source=sound), MixturePart(name="b", source=halved)])
    told: list[str] = []
    checked = check_data(mixture, told.append)
    assert [line.split(":")[1] for line in told] == [" data set 'b', action gripper"]
    assert {name: len(found) for name, found in checked.problems.items()} == {"a": 0, "b": 1}


def reordered(source: MemorySource) -> MemorySource:
    """The same episodes in another order, so that no range differs."""
    order = [2, 1, 0]
    return MemorySource(
        source.spec,
        [dataclasses.replace(source.episode(old), index=new) for new, old in enumerate(order)],
        [{c.name: np.stack([*source.frames(old, c.name)]) for c in source.spec.cameras} for old in order],
    )


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda make: make(words=("push the bowl", "lift the cup", "push the bowl")), "instructions"),
        (lambda make: reordered(make()), "numbers"),
        (lambda make: make((9, 7, 8, 7)), r"episodes \(3 there, 4 here\); steps \(24 there, 31 here\)"),
    ],
)
def test_a_run_does_not_go_on_with_data_of_which_the_ranges_alone_may_be_the_same(
    other, named, make, tmp_path
):
    go(make(), tmp_path, steps=2, checkpoint_every=1)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match=rf"got other data \(.*{named}.*Continue it with its own"):
        go(other(make), tmp_path, steps=4, checkpoint_every=1)
    assert {path: path.read_bytes() for path in before} == before


def test_a_mixture_drawn_by_other_weights_is_other_data(make, tmp_path):
    parts = [MixturePart(name=name, source=make()) for name in ("a", "b")]
    go(MixtureSource(parts), tmp_path)
    heavier = [parts[0], dataclasses.replace(parts[1], weight=2.0)]
    with pytest.raises(ConfigurationError, match=r"weight \(1.0 there, 2.0 here\) of 'b'"):
        go(MixtureSource(heavier), tmp_path)


def test_a_run_of_before_fingerprints_goes_on_and_says_what_it_cannot_tell(make, tmp_path):
    go(make(), tmp_path, steps=2, checkpoint_every=1)
    (tmp_path / "run" / DATA_FILE).unlink()
    told = go(make(), tmp_path, steps=4, checkpoint_every=1)
    assert "holds no fingerprint of its data" in told[0]
    assert checkpoint_steps(tmp_path / "run")[-1] == 4
    (tmp_path / "run" / DATA_FILE).unlink()
    with pytest.raises(ConfigurationError, match="ranges of action"):
        go(make((9, 7, 5)), tmp_path, steps=4, checkpoint_every=1)


def test_a_record_that_cannot_be_read_is_named(make, tmp_path):
    go(make(), tmp_path)
    (tmp_path / "run" / DATA_FILE).write_text('{"parts": [{}]}')
    with pytest.raises(CheckpointError, match=r"data\.json: cannot be read .* Remove it"):
        go(make(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "consequence"),
    [
        ({}, "The cosine now ends at step 6: the learning rate goes from "),
        ({"schedule": "constant"}, r"Its schedule \(constant\) does not depend on their number"),
    ],
)
def test_a_finished_run_is_trained_longer_and_told_what_that_does(changes, consequence, make, tmp_path):
    go(make(), tmp_path, steps=4, checkpoint_every=2, **changes)
    with pytest.raises(
        ConfigurationError, match=r"training.steps: 4 there, 2 here.*--steps alone may be greater"
    ):
        go(make(), tmp_path, steps=2, checkpoint_every=2, **changes)
    told = go(make(), tmp_path, steps=6, checkpoint_every=2, **changes)
    assert "was begun for 4 steps and goes on from step 4 to 6." in told[0]
    assert re.search(consequence, told[0])
    assert checkpoint_steps(tmp_path / "run")[-1] == 6
    assert go(make(), tmp_path, steps=6, checkpoint_every=2, **changes) == []
    if changes:  # by such a schedule it is the run that six steps from the start are
        go(make(), tmp_path / "whole", steps=6, checkpoint_every=2, **changes)
        losses = [
            [line["loss"] for line in read_metrics(run / "run/metrics.jsonl") if "loss" in line]
            for run in (tmp_path, tmp_path / "whole")
        ]
        assert losses[0] == losses[1]


def test_a_single_episode_is_trained_on_without_validation(make, tmp_path):
    (told,) = go(make((20,)), tmp_path)
    assert told == "one episode, so that none is held out: trained without validation (--validation-share 0)"
    assert not any("validation_loss" in line for line in read_metrics(tmp_path / "run/metrics.jsonl"))
