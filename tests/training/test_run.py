"""A run's folder belongs to one experiment, one data set and one training at a time."""

import pytest

from focusvla.errors import ConfigurationError
from focusvla.training.trainer import train
from training.train_tiny import shortened


def test_a_folder_of_another_experiment_is_refused_with_the_differing_values(arm_source, tmp_path):
    train(shortened(steps=2), arm_source(), tmp_path / "run", cache_folder=tmp_path)
    with pytest.raises(ConfigurationError, match=r"training.batch_size: 4 there, 2 here"):
        train(shortened(steps=2, batch_size=2), arm_source(), tmp_path / "run", cache_folder=tmp_path)


def test_a_run_that_is_being_trained_is_left_to_who_trains_it(arm_source, tmp_path):
    run, said = tmp_path / "run", []

    def train_too(report) -> None:
        if not said:
            before = (run / "metrics.jsonl").read_bytes()
            with pytest.raises(ConfigurationError, match="another training is writing there") as error:
                train(shortened(), arm_source(), run, cache_folder=tmp_path)
            said.append(str(error.value))
            assert (run / "metrics.jsonl").read_bytes() == before

    train(shortened(), arm_source(), run, cache_folder=tmp_path, on_step=train_too)
    assert said
    train(shortened(), arm_source(), run, cache_folder=tmp_path)  # and who comes later finds it finished


def test_a_run_does_not_go_on_with_other_data(arm_source, tmp_path):
    train(shortened(steps=4), arm_source(), tmp_path / "run", cache_folder=tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    with pytest.raises(ConfigurationError, match=r"got other data \(steps \(24 there, 21 here\); numbers"):
        train(shortened(steps=4), arm_source((9, 7, 5)), tmp_path / "run", cache_folder=tmp_path)
    assert {path: path.read_bytes() for path in before} == before
