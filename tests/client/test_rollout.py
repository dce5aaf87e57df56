"""The episode loop, on an environment that counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from focusvla_client import Camera, Observation, Observer, OpenLoopPlayer, OverlappedPlayer, Spec, rollout
from focusvla_client.spec import ACTION_END_EFFECTOR_DELTA, ACTION_JOINT_POSITION


def spec_of(action_space: str) -> Spec:
    return Spec(
        (Camera("wrist", 1, 1),), "upright", ("x",), ("x", "gripper"), action_space, "none", "absolute", 10.0
    )


@dataclass
class CountingEnvironment:
    """Succeeds while the number of applied actions is in `succeeds_at`, and notes every call."""

    succeeds_at: tuple[int, ...] = ()
    spec: Any = None
    calls: list[str] = field(default_factory=list)
    steps: int = 0

    def reset(self, start):
        self.calls.append(f"reset {start}")
        self.steps = 0

    def observe(self, cameras):
        self.calls.append(f"observe {','.join(cameras)}")
        return Observation({}, np.array([self.steps], np.float32), "count")

    def apply(self, action):
        self.calls.append(f"apply {action[0]:g}")
        self.steps += 1

    def success(self):
        return self.steps in self.succeeds_at


@dataclass
class CountingPolicy:
    """Answers step n with the actions n, n + 1, n + 2, until it gives up after `inferences` chunks."""

    inferences: int = 1000
    cameras: tuple[str, ...] = ("wrist",)

    def reset(self):
        self.given = 0

    def infer(self, observation):
        if self.given == self.inferences:
            return np.zeros((0, 1), np.float32)
        self.given += 1
        return observation.state[0] + np.arange(3, dtype=np.float32)[:, None]


def play(environment, policy, **options):
    chosen: dict[str, Any] = {"max_steps": 5, "actions_per_inference": 2, **options}
    return rollout(environment, policy, "here", **chosen)


def test_the_first_actions_of_each_chunk_are_played_open_loop_and_the_policy_chooses_the_cameras():
    environment = CountingEnvironment()
    result = play(environment, CountingPolicy())
    assert environment.calls == [
        "reset here",
        "observe wrist",
        "apply 0",
        "apply 1",
        "observe wrist",
        "apply 2",
        "apply 3",
        "observe wrist",
        "apply 4",
    ]
    assert (result.success, result.steps, result.inferences) == (False, 5, 3)


def test_an_episode_ends_at_success_in_the_middle_of_a_chunk():
    result = play(CountingEnvironment(succeeds_at=(3,)), CountingPolicy())
    assert (result.success, result.steps, result.inferences) == (True, 3, 2)


def test_success_that_does_not_last_does_not_count_when_the_policy_plays_to_its_end():
    played = play(CountingEnvironment(succeeds_at=(1,)), CountingPolicy(inferences=2), stop_on_success=False)
    assert (played.success, played.steps) == (False, 4)
    lasting = play(CountingEnvironment(succeeds_at=(4,)), CountingPolicy(inferences=2), stop_on_success=False)
    assert (lasting.success, lasting.steps) == (True, 4)


def test_observers_see_each_action_before_it_is_applied():
    class Watcher(Observer):
        def __init__(self):
            self.seen = []

        def on_action(self, environment: Any, action):
            self.seen.append((environment.steps, float(action[0])))

        def on_end(self, environment, success):
            self.seen.append(success)

    watcher = Watcher()
    play(CountingEnvironment(), CountingPolicy(), max_steps=3, observers=[watcher])
    assert watcher.seen == [(0, 0.0), (1, 1.0), (2, 2.0), False]


def test_an_action_that_breaks_the_environment_reaches_the_caller():
    class Broken(CountingEnvironment):
        def apply(self, action):
            raise RuntimeError("motor")

    with pytest.raises(RuntimeError, match="motor"):
        play(Broken(), CountingPolicy())


def applied(player, latency_steps, max_steps=9, action_space=ACTION_JOINT_POSITION):
    environment = CountingEnvironment()
    environment.spec = spec_of(action_space)
    result = play(
        environment,
        CountingPolicy(),
        max_steps=max_steps,
        actions_per_inference=None,
        player=player,
        latency_steps=latency_steps,
    )
    actions = [float(call.removeprefix("apply ")) for call in environment.calls if call.startswith("apply")]
    return actions, result.inferences


def test_the_robot_waits_for_the_first_answer_and_holds_still_for_later_ones():
    # Asked at 0, 2 and 6, each answered 2 steps later but the first: a target that stands is held.
    assert applied(OpenLoopPlayer(2), 2) == ([0, 1, 1, 1, 2, 3, 3, 3, 6], 3)


def test_an_overlapped_answer_goes_on_from_the_step_it_comes_at():
    assert applied(OverlappedPlayer(2), 1) == ([0, 1, 2, 3, 4, 5, 6, 7, 8], 5)


@pytest.mark.parametrize(
    ("action_space", "held"), [(ACTION_JOINT_POSITION, [5, 1]), (ACTION_END_EFFECTOR_DELTA, [0, 1])]
)
def test_holding_repeats_a_target_and_moves_no_further_and_leaves_grippers(action_space, held):
    assert spec_of(action_space).holding(np.array([5, 1], np.float32)).tolist() == held


def test_nobody_guesses_how_to_hold_still():
    with pytest.raises(ValueError, match="action_space='torque'"):
        spec_of("torque").holding(np.zeros(2, np.float32))


@pytest.mark.parametrize("options", [{"actions_per_inference": None}, {"player": OpenLoopPlayer(1)}])
def test_either_a_number_of_actions_or_a_player_says_how_chunks_are_played(options):
    with pytest.raises(ValueError, match="either that or a player"):
        play(CountingEnvironment(), CountingPolicy(), **options)
