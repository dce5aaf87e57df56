"""A simulated arm at a fixed rate: what it is told in each period, whatever the policy, the clock or a signal does."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

from client.policy_server import planned
from client.simulated_arm import PERIOD, PlannedPolicy, SimulatedArm, SimulatedClock, send_signal
from focusvla_client.chunks import OpenLoopPlayer, OverlappedPlayer
from focusvla_client.errors import ServerUnavailableError
from focusvla_client.realtime import RealtimeObserver, realtime_rollout
from focusvla_client.robot import DryRun, JointLimit
from stepped_inference import SteppedInference

WIDE = {"shoulder": JointLimit(-3, 3, 100.0), "elbow": JointLimit(-3, 3, 100.0)}


def play(arm: Any, clock, policy, *, player=None, latency_steps: int = 1, **options):
    chosen = {"limits": WIDE, "max_steps": 8, "watchdog_seconds": 1.0, **options}
    return realtime_rollout(
        arm,
        policy,
        player or OpenLoopPlayer(4),
        (0.0, 0.5),
        inference=lambda asked: SteppedInference(asked, latency_steps),
        clock=clock,
        sleep=clock.sleep,
        **chosen,
    )


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def arm(clock):
    return SimulatedArm(clock)


def test_the_arm_holds_until_the_first_answer_and_then_plays_it(arm, clock):
    result = play(arm, clock, PlannedPolicy(), latency_steps=2, max_steps=6)
    assert arm.calls == ["hold", "hold", "apply", "apply", "apply", "apply", "stop"]
    np.testing.assert_array_equal(arm.commands, planned(np.array([0.0, 0.5], np.float32)))
    assert (result.steps, result.held_steps, result.inferences, result.largest_latency_steps) == (4, 2, 1, 2)
    assert result.ended_by == "max_steps"


def test_steps_are_due_at_multiples_of_the_period_and_do_not_drift(arm, clock):
    def work() -> None:
        clock.now += 0.7 * PERIOD

    arm.on_apply = work
    play(arm, clock, PlannedPolicy(), max_steps=500)
    np.testing.assert_allclose(arm.times[:-1], 1000 + PERIOD * np.arange(500), atol=1e-9)


def test_steps_that_come_too_late_are_skipped_and_counted_and_the_rest_keeps_its_times(arm, clock):
    def work() -> None:
        clock.now += 2.5 * PERIOD if len(arm.commands) == 2 else 0

    arm.on_apply = work
    result = play(arm, clock, PlannedPolicy(), max_steps=9)
    began = np.round((np.array(arm.times[:-1]) - 1000) / PERIOD, 6)
    np.testing.assert_array_equal(began, [0, 1, 2, 5, 6, 7, 8])
    assert result.missed_steps == 2


def test_what_is_missed_at_the_end_is_counted_up_to_the_last_step(arm, clock):
    def work() -> None:
        clock.now += 9.5 * PERIOD if len(arm.commands) == 2 else 0

    arm.on_apply = work
    result = play(arm, clock, PlannedPolicy(), max_steps=5)
    assert (result.held_steps, result.steps, result.missed_steps) == (1, 2, 2)


def test_overlapped_chunks_leave_no_gap_and_drop_what_is_past(arm, clock):
    result = play(arm, clock, PlannedPolicy(), player=OverlappedPlayer(1), latency_steps=2, max_steps=10)
    assert arm.calls == ["hold"] * 2 + ["apply"] * 8 + ["stop"]
    np.testing.assert_allclose(arm.commands[0], [0.03, 0.53], atol=1e-6)  # the chunk's third action
    assert result.inferences == 4


def test_positions_and_speeds_stay_within_their_limits_and_it_is_told_which_joint_was_limited(arm, clock):
    watcher = Watcher()
    policy = PlannedPolicy({0: np.array([[1.0, 0.5], [-9.0, 0.5], [0.3, 0.51], [0.3, 0.51]], np.float32)})
    limits = {"shoulder": JointLimit(-0.1, 0.5, 10.0), "elbow": JointLimit(-1, 1, 1.0)}
    result = play(arm, clock, policy, max_steps=5, limits=limits, observers=[watcher])
    np.testing.assert_allclose(arm.commands, [[0.2, 0.5], [0, 0.5], [0.2, 0.51], [0.3, 0.51]], atol=1e-6)
    assert watcher.limited == [(), ("shoulder",), ("shoulder",), ("shoulder",), ()]
    assert result.limited_steps == 3


def test_after_a_hold_speed_is_measured_from_where_the_arm_is(arm, clock):
    limits = {"shoulder": JointLimit(-3, 3, 1.0), "elbow": JointLimit(-3, 3, 1.0)}
    policy = PlannedPolicy({1: np.full((4, 2), 0.5, np.float32)})

    def sag() -> None:
        if len(arm.commands) == 4:
            arm._positions = np.array([-1.0, 0.5])

    arm.on_apply = sag
    play(arm, clock, policy, max_steps=7, limits=limits)
    assert arm.calls == ["hold", "apply", "apply", "apply", "apply", "hold", "apply", "stop"]
    np.testing.assert_allclose(arm.commands[-1], [-0.98, 0.5], atol=1e-6)


@pytest.mark.parametrize(
    "fault",
    [
        np.full((4, 2), np.nan, np.float32),
        np.full((4, 2), np.inf),
        np.zeros((4, 3), np.float32),
        np.zeros(2, np.float32),
        np.array(0.0),
        np.zeros((4, 2), np.int64),
        ServerUnavailableError("policy server: not reachable"),
    ],
    ids=["nan", "infinity", "three joints", "one step", "a number", "integers", "server lost"],
)
def test_the_arm_holds_after_an_answer_that_may_not_be_carried_out_and_the_policy_is_asked_again(
    arm, clock, fault
):
    watcher = Watcher()
    result = play(arm, clock, PlannedPolicy({0: fault}), max_steps=4, observers=[watcher])
    assert arm.calls == ["hold", "hold", "apply", "apply", "stop"]
    assert (result.failed_inferences, result.inferences) == (1, 1)
    assert watcher.reasons[1].startswith(type(watcher.failures[0]).__name__)


def test_a_failure_that_is_over_is_no_reason_to_hold(arm, clock):
    watcher = Watcher()
    policy = PlannedPolicy({0: ServerUnavailableError("gone")})
    play(arm, clock, policy, max_steps=7, observers=[watcher])
    assert [reason.split(":")[0] for reason in watcher.reasons] == [
        "no answer of the policy for this step yet",
        "ServerUnavailableError",
        "",
        "",
        "",
        "",
        "no answer of the policy for this step yet",
    ]


def test_an_arm_that_lags_is_led_on_from_the_last_command(arm, clock):
    limits = {"shoulder": JointLimit(-3, 3, 1.0), "elbow": JointLimit(-3, 3, 1.0)}
    arm.positions = lambda: np.array([0.0, 0.5])
    far = PlannedPolicy({0: np.full((4, 2), 0.5, np.float32)})
    play(arm, clock, far, max_steps=5, limits=limits)
    np.testing.assert_allclose(np.array(arm.commands)[:, 0], [0.02, 0.04, 0.06, 0.08], atol=1e-6)


def test_the_watchdog_stops_the_arm_after_the_stated_time_without_an_action(arm, clock):
    dead = PlannedPolicy(dict.fromkeys(range(1, 1000), ServerUnavailableError("gone")))
    result = play(arm, clock, dead, max_steps=1000, watchdog_seconds=0.19)
    assert result.ended_by == "watchdog"
    assert arm.calls == ["hold"] + ["apply"] * 4 + ["hold"] * 10 + ["stop"]


def test_the_watchdog_counts_from_the_beginning_when_there_never_was_an_action(arm, clock):
    result = play(arm, clock, PlannedPolicy(), latency_steps=10**6, max_steps=1000, watchdog_seconds=0.09)
    assert (result.ended_by, result.steps) == ("watchdog", 0)
    assert clock.now == pytest.approx(1000.1, abs=1e-6)


def test_success_and_an_empty_chunk_end_the_rollout_and_the_arm_is_stopped(arm, clock):
    arm.succeeds_after = 3
    result = play(arm, clock, PlannedPolicy())
    assert (result.success, result.ended_by, arm.calls[-2:]) == (True, "success", ["apply", "stop"])
    given_up = play(
        SimulatedArm(clock), clock, PlannedPolicy({1: np.zeros((0, 2))}), player=OverlappedPlayer(1)
    )
    assert (given_up.success, given_up.ended_by, given_up.steps) == (False, "policy", 3)


def test_an_error_of_the_policy_itself_or_of_the_arm_is_raised_after_the_arm_is_stopped(arm, clock):
    with pytest.raises(KeyError, match="bug"):
        play(arm, clock, PlannedPolicy({0: KeyError("bug")}))
    assert arm.calls[-1] == "stop"

    def break_down() -> None:
        raise OSError("motor")

    watcher = Watcher()
    arm.on_apply = break_down
    with pytest.raises(OSError, match="motor"):
        play(arm, clock, PlannedPolicy(), observers=[watcher])
    assert (arm.calls[-1], watcher.ended_by) == ("stop", "error")


def test_an_arm_that_does_not_know_where_it_is_is_stopped(arm, clock):
    arm.positions = lambda: np.array([np.nan, 0.0])
    with pytest.raises(ValueError, match=r"robot.positions\(\): expected a finite number for each of"):
        play(arm, clock, PlannedPolicy())
    assert (arm.commands, arm.calls[-1]) == ([], "stop")


def test_a_dry_run_sees_all_and_sends_nothing(arm, clock):
    watcher = Watcher()
    arm._positions = np.array([0.2, 0.2])
    result = play(DryRun(arm), clock, PlannedPolicy(), observers=[watcher], max_steps=5)
    assert (arm.calls, result.steps) == ([], 4)
    np.testing.assert_allclose(watcher.commands[0], [0.21, 0.21], atol=1e-6)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_a_reset_and_takes_effect_once_after_the_arm_was_stopped(
    arm, clock, number
):
    def drive_to_start(start: object) -> None:
        arm.calls.append("reset")
        send_signal(number)
        raise AssertionError("not interrupted")

    watcher = Watcher()
    arm.reset = drive_to_start
    previous = signal.signal(number, lambda *_: arm.calls.append("effect"))
    try:
        with pytest.raises(KeyboardInterrupt):
            play(arm, clock, PlannedPolicy(), observers=[watcher])
    finally:
        signal.signal(number, previous)
    assert arm.calls == ["reset", "stop", "effect"]
    assert watcher.ended_by == "signal"


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "effect"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_ctrl_c_and_sigterm_take_effect_after_the_arm_was_stopped(arm, clock, number, effect):
    def interrupt() -> None:
        if len(arm.commands) == 2:
            send_signal(number)

    def leave(*_: object) -> None:
        raise SystemExit

    watcher = Watcher()
    arm.on_apply = interrupt
    previous = signal.signal(signal.SIGTERM, leave)
    try:
        with pytest.raises(effect):
            play(arm, clock, PlannedPolicy(), observers=[watcher])
        assert signal.getsignal(signal.SIGTERM) is leave
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert arm.calls == ["hold", "apply", "apply", "stop"]
    assert watcher.ended_by == "signal"


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_interrupts_a_step_that_hangs_but_not_the_stop(arm, clock):
    def hang() -> None:
        send_signal(signal.SIGINT)
        send_signal(signal.SIGINT)
        raise AssertionError("not interrupted")

    def stop() -> None:
        send_signal(signal.SIGINT)
        arm.calls.append("stopped")

    arm.on_apply, arm.stop = hang, stop
    with pytest.raises(KeyboardInterrupt):
        play(arm, clock, PlannedPolicy())
    assert arm.calls == ["hold", "apply", "stopped"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"shoulder": JointLimit(-1, 1, 1)}, r"missing \['elbow'\], unknown \[\]"),
        ({**WIDE, "wrist": JointLimit(-1, 1, 1)}, r"missing \[\], unknown \['wrist'\]"),
    ],
)
def test_a_joint_without_a_limit_and_a_limit_without_a_joint_are_refused_before_anything_moves(
    arm, clock, limits, reason
):
    with pytest.raises(ValueError, match=reason):
        play(arm, clock, PlannedPolicy(), limits=limits)
    assert arm.calls == []


@pytest.mark.parametrize("values", [(1, -1, 1), (-1, 1, 0), (-1, float("inf"), 1), (float("nan"), 1, 1)])
def test_a_limit_that_is_none_is_refused(values):
    with pytest.raises(ValueError, match="expected lower < upper and max_speed > 0"):
        JointLimit(*values)


class Watcher(RealtimeObserver):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.commands: list[np.ndarray] = []
        self.limited: list[tuple[str, ...]] = []
        self.reasons: list[str] = []
        self.failures: list[Exception] = []
        self.ended_by = ""

    def on_action(self, environment, action) -> None:
        self.commands.append(action)

    def on_step(self, step) -> None:
        self.limited.append(step.limited)
        self.reasons.append(step.hold_reason)

    def on_failed_inference(self, error) -> None:
        self.failures.append(error)

    def on_stop(self, ended_by) -> None:
        self.ended_by = ended_by
