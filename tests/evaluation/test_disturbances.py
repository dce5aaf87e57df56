"""What goes wrong in a disturbed episode is a function of its start, and the results tell of it."""

from dataclasses import replace

import numpy as np
import pytest
from reach.environment import ReachEnvironment
from reach.suite import reach_spec

from focusvla.evaluation.disturbances import Disturbed
from focusvla.evaluation.episodes import EpisodePlayer, PlannedEpisode, PlayedEpisode, Setting
from focusvla.evaluation.results import (
    EpisodeResult,
    describe_disturbed,
    read_results,
    result_line,
    summarize,
)
from focusvla.suites import Start, protocol
from focusvla_client.spec import GRIPPER_OPEN_NEGATIVE
from seeing_policies import SeeingPolicy


def play(wanted: str, trial: int, rules: str = "reach_disturbed") -> PlayedEpisode:
    policy, player = SeeingPolicy(wanted), EpisodePlayer()
    setting = Setting(protocol(rules), actions_per_inference=4, traits=policy.traits())
    found = player.begin(setting, PlannedEpisode("reach", 0, trial))
    while not isinstance(found, PlayedEpisode):
        found = player.proceed(policy.infer([found])[0])
    return found


def target_of(played: PlayedEpisode) -> np.ndarray:
    """Where the disc is before each step and at the end, (steps + 1, 2)."""
    return played.trajectory["snapshots"][:, :2]


def test_the_target_moves_once_at_the_step_that_the_result_says():
    for trial in range(4):
        played = play("all", trial)
        step = played.result.disturbed_at
        assert played.result.disturbance == "moved"
        assert step is not None
        assert 2 <= step <= 8
        moved = np.abs(np.diff(target_of(played), axis=0)).max(axis=1) > 0
        # It is moved after the action of that step was chosen, which is when its snapshot was taken.
        assert np.flatnonzero(moved).tolist() == [step]
        assert played.result.success  # who looks follows it


def test_it_depends_on_the_start_and_not_on_the_policy_unless_the_episode_ends_before():
    steps = [play("all", trial).result.disturbed_at for trial in range(4)]
    assert steps == [play("none", trial).result.disturbed_at for trial in range(4)]
    assert len(set(steps)) > 1


def test_other_protocols_disturb_nothing():
    result = play("all", 0, "reach").result
    assert (result.disturbance, result.disturbed_at, result.closings_after) == ("", None, None)


class Gripping(ReachEnvironment):
    """A world whose hand closes."""

    def __init__(self):
        super().__init__(ReachEnvironment.tasks("reach")[0])
        self.spec = replace(reach_spec(32), action=("x", "y", "gripper"), gripper=GRIPPER_OPEN_NEGATIVE)

    def apply(self, action: np.ndarray) -> None:
        super().apply(action[:2])


@pytest.mark.parametrize(
    ("commands", "closings"),
    [
        ([1, 1, 1, 1, 1, 1], 0),  # it goes on as if it still held something
        ([1, 1, 1, -1, 1, 1], 1),
        ([-1, -1, -1, 1, -1, 1], 2),
        ([-1, 1, -1, -1, -1, -1], 0),  # before it was disturbed
    ],
)
def test_how_often_the_gripper_closes_anew_is_counted_from_the_disturbance_on(commands, closings):
    environment = Gripping()
    environment.reset(Start(init_state=0))
    disturbed = Disturbed(environment, replace(protocol("reach_disturbed"), disturbed_steps=(2, 2)), (0, 0))
    for command in commands:
        disturbed.apply(np.array([0.0, 0.0, command]))
    assert (disturbed.step, disturbed.closings) == (2, closings)


def test_results_are_summed_up_by_what_went_wrong_and_lines_of_before_are_read(tmp_path):
    result = play("all", 0).result
    dropped = replace(result, trial=1, disturbance="dropped", closings_after=2, success=False)
    spared = replace(result, trial=2, disturbance="", disturbed_at=None, closings_after=None)
    summary = summarize([result, dropped, spared])
    assert summary["success"]["episodes"] == 3
    assert {kind: summary["disturbed"][kind]["successes"] for kind in ("moved", "dropped")} == {
        "moved": 1,
        "dropped": 0,
    }
    assert summary["disturbed"]["closings_after"] == 1.0
    assert "disturbed" not in summarize([spared])
    assert describe_disturbed([spared]) == ""
    assert describe_disturbed([result, dropped]).startswith("disturbed: dropped 0/1")

    lines = [result_line(each) for each in (result, spared)]
    without = lines[1].replace(', "disturbance": "", "disturbed_at": null, "closings_after": null', "")
    assert without != lines[1]
    (tmp_path / "results.jsonl").write_text(lines[0] + without)
    read: list[EpisodeResult] = read_results(tmp_path / "results.jsonl")
    assert read == [result, spared]
