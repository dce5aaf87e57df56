"""Corrections begin where the policy has led, whatever is interrupted, and are not recorded where none are needed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from reach.environment import FULL_COMMAND, RADIUS, ReachEnvironment
from reach.suite import reach_spec

from focusvla.cli import main
from focusvla.config import CorrectionConfig
from focusvla.corrections.attempt import Player, _Expert
from focusvla.corrections.collect import collect_corrections, record_corrections
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.errors import ConfigurationError
from focusvla.evaluation.episodes import PlannedEpisode, Question
from focusvla.evaluation.policies import PolicySource
from focusvla.evaluation.replay import replay
from focusvla.presets import fitted, preset
from focusvla.suites import Start, protocol
from focusvla.suites.libero import libero_spec
from seeing_policies import SeeingPolicy
from untrained_checkpoints import write_checkpoint

CONFIG = CorrectionConfig(
    suite="reach", tasks=(0, 3), attempts_per_task=10, policy_steps=(1, 30), image_size=48, workers=1
)


def player(wanted: str) -> Player:
    source = PolicySource(SeeingPolicy, (wanted,), f"seeing {wanted}")
    return Player(source, f"seeing-{wanted}", protocol("reach"), actions_per_inference=4)


def record(output: Path, wanted: str, config: CorrectionConfig = CONFIG) -> dict:
    return record_corrections(player(wanted), config, output, lambda done, total, line: None)


@pytest.fixture(scope="module")
def corrected(tmp_path_factory) -> Path:
    """Corrections of a policy that knows the discs on the left."""
    output = tmp_path_factory.mktemp("corrected") / "data"
    record(output, "left")
    return output


def record_of(output: Path) -> dict:
    return json.loads((output / "meta/corrections.json").read_text())


def test_an_episode_begins_where_the_policy_stood_when_the_expert_took_over(corrected):
    source = LeRobotSource(corrected)
    moved = 0.0
    for index in range(source.num_episodes):
        metadata, episode = source.metadata(index), source.episode(index)
        task = ReachEnvironment.tasks("reach")[metadata["task"]]
        environment, policy = ReachEnvironment(task, 32), SeeingPolicy("left")
        environment.reset(Start(**metadata["start"]))
        began = environment.observe(()).state
        for step in range(metadata["takeover"]):
            if step % 4 == 0:
                seen = environment.observe(("image",))
                chunk = policy.infer([Question(PlannedEpisode("reach", task.index, 0), 0, seen)])[0]
            environment.apply(chunk[step % 4])
        np.testing.assert_array_equal(environment.observe(()).state, episode.state[0])
        moved = max(moved, np.abs(episode.state[0] - began).max())
    assert moved > 0.1


def test_pictures_have_the_data_sets_size_and_the_expert_solves_what_it_took_over(corrected):
    source = LeRobotSource(corrected)
    assert [camera.height for camera in source.spec.cameras] == [48, 48]
    assert next(source.frames(0, "image")).shape == (48, 48, 3)
    metadata, episode = source.metadata(0), source.episode(0)
    environment = ReachEnvironment(ReachEnvironment.tasks("reach")[metadata["task"]], 32)
    environment.reset(Start(**metadata["start"]))
    disc = environment.observe(()).state + environment.offset
    distances = np.linalg.norm(episode.state - disc, axis=1)
    assert distances[0] > 2 * RADIUS
    assert distances[-1] < RADIUS + FULL_COMMAND


def test_the_record_says_whose_corrections_they_are_and_what_became_of_each_attempt(corrected):
    said, source = record_of(corrected), LeRobotSource(corrected)
    assert said["config"]["policy"] == "seeing-left"
    assert said["config"]["protocol"] == "reach"
    assert (said["config"]["seed"], said["config"]["policy_steps"]) == (0, [1, 30])
    for counts in said["tasks"].values():
        assert counts["attempts"] == 10 == counts["solved"] + counts["kept"] + sum(counts["failed"].values())
    assert sum(counts["kept"] for counts in said["tasks"].values()) == source.num_episodes
    assert sum(counts["solved"] for counts in said["tasks"].values()) > 0
    assert 0 < said["policy_alone"]["solved"] < said["policy_alone"]["attempts"] == 20
    takeovers = [source.metadata(index)["takeover"] for index in range(source.num_episodes)]
    assert len(set(takeovers)) > 3
    assert all(1 <= takeover <= 30 for takeover in takeovers)
    assert {source.metadata(index)["policy"] for index in range(source.num_episodes)} == {"seeing-left"}


def test_an_interrupted_recording_ends_as_an_undisturbed_one(corrected, tmp_path):
    def interrupt(done: int, total: int, line: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_corrections(player("left"), CONFIG, tmp_path / "data", interrupt)
    assert not (tmp_path / "data").exists()
    two = dataclasses.replace(CONFIG, workers=2, regardless=True)
    record(tmp_path / "data", "left", two)
    one, other = LeRobotSource(corrected), LeRobotSource(tmp_path / "data")
    assert one.num_episodes == other.num_episodes
    for index in range(one.num_episodes):
        np.testing.assert_array_equal(one.episode(index).state, other.episode(index).state)
        np.testing.assert_array_equal(one.episode(index).action, other.episode(index).action)
    assert record_of(corrected)["tasks"] == record_of(tmp_path / "data")["tasks"]
    assert record(tmp_path / "data", "left", two) == record_of(tmp_path / "data")  # nothing is left to do


def test_an_unfinished_recording_of_another_policy_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        record_corrections(player("left"), CONFIG, tmp_path / "data", _stop)
    with pytest.raises(
        ConfigurationError, match=r"other values \(policy='seeing-left' there, 'seeing-all' here"
    ):
        record(tmp_path / "data", "all")


def _stop(done: int, total: int, line: str) -> None:
    if done:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("all", "solved all of its first 20 attempts"), ("none", "solved none of its first 20 attempts")],
)
def test_a_policy_that_always_or_never_succeeds_is_told_so_and_nothing_is_left(wanted, said, tmp_path):
    config = dataclasses.replace(CONFIG, attempts_per_task=40, workers=2)
    with pytest.raises(ConfigurationError, match=said):
        record(tmp_path / "data", wanted, config)
    assert list(tmp_path.iterdir()) == []


def test_who_insists_gets_corrections_of_a_policy_that_never_succeeds(tmp_path):
    config = dataclasses.replace(CONFIG, regardless=True)
    summary = record(tmp_path / "data", "none", config)
    assert summary["policy_alone"] == {"solved": 0, "attempts": 20}
    assert LeRobotSource(tmp_path / "data").num_episodes == 20


def test_without_a_single_correction_it_is_said_what_became_of_the_attempts(tmp_path):
    config = dataclasses.replace(CONFIG, attempts_per_task=2, policy_steps=(40, 40))
    with pytest.raises(ConfigurationError, match="Of 4 attempts the policy solved 4 before"):
        record(tmp_path / "data", "all", config)
    assert list(tmp_path.iterdir()) == []


def test_an_expert_that_runs_out_of_steps_is_counted_with_that_reason(tmp_path):
    config = dataclasses.replace(CONFIG, attempts_per_task=6, max_steps=12)
    summary = record(tmp_path / "data", "left", config)
    reasons = {reason for counts in summary["tasks"].values() for reason in counts["failed"]}
    assert reasons == {"ran out of steps"}
    assert {each["reason"] for each in summary["rejected"]} >= reasons


def test_a_script_that_raises_ends_its_episode_and_says_why():
    class Odd(ReachEnvironment):
        offset = property(lambda self: 1 / 0)  # type: ignore[assignment]

    environment = Odd(ReachEnvironment.tasks("reach")[0])
    environment.reset(Start(init_state=0))
    expert = _Expert(environment)
    expert.reset()
    assert expert.infer(environment.observe(())).shape == (0, 2)
    assert "ZeroDivisionError" in expert.failure


def test_corrections_are_not_played_back_from_where_the_policy_began(tmp_path):
    config = dataclasses.replace(CONFIG, attempts_per_task=1, noise=0.0, pushes=False)
    record(tmp_path / "data", "none", config)
    with pytest.raises(ConfigurationError, match="expected undisturbed demonstrations, got none"):
        replay(tmp_path / "data", workers=1)


def test_the_command_takes_a_checkpoint_and_prints_what_became_of_each_tasks_attempts(tmp_path, capsys):
    checkpoint = write_checkpoint(
        tmp_path / "policy", fitted(preset("tiny"), reach_spec(32)), reach_spec(32), vocabulary=("reach",)
    )
    call = ["correct", str(checkpoint), "--suite", "reach", "--tasks", "1", "--image-size", "32"]
    few = ["--attempts-per-task", "2", "--policy-steps", "1", "3", "--workers", "1"]
    with pytest.raises(SystemExit) as stopped:
        main([*call, *few, "--output", str(tmp_path / "data")])
    assert stopped.value.code == 0
    assert "reach the blue disc" in capsys.readouterr().out
    from focusvla.checkpoint import open_checkpoint

    assert record_of(tmp_path / "data")["config"]["policy"] == open_checkpoint(checkpoint).digest
    with pytest.raises(SystemExit) as stopped:
        main([*call, "--workers", "2", "--output", str(tmp_path / "other")])
    assert stopped.value.code == 2
    assert "of its first 20 attempts" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("other")]


@pytest.mark.simulator
@pytest.mark.slow
def test_pictures_of_another_detail_show_the_same_scene(tmp_path):
    """LIBERO's stove, which each reset places anew: drawn where the policy played, and by an environment beside it."""
    spec = libero_spec(128)
    checkpoint = write_checkpoint(tmp_path / "policy", fitted(preset("tiny"), spec), spec, ("stove",))
    config = CorrectionConfig(
        suite="libero_goal",
        tasks=(7,),
        attempts_per_task=2,
        policy_steps=(8, 24),
        actions_per_inference=4,
        image_size=128,
        steps_per_picture=50,
        workers=1,
    )
    sources = []
    for name, cell in (("same", 0.0), ("simplified", 0.008)):
        collect_corrections(checkpoint, dataclasses.replace(config, mesh_cell_meters=cell), tmp_path / name)
        sources.append(LeRobotSource(tmp_path / name))
    same, simplified = sources
    assert same.num_episodes == simplified.num_episodes > 0
    for index in range(same.num_episodes):
        np.testing.assert_array_equal(same.episode(index).action, simplified.episode(index).action)
        assert set(np.unique(same.episode(index).action[:, -1])) == {-1.0, 1.0}
        one, other = (np.array(next(source.frames(index, "image")), int) for source in sources)
        assert np.abs(one - other).mean() < 2  # 3.3 with the stove a centimeter off
