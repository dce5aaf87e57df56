"""What is logged can be read by anybody, is bounded, survives its process, and gives the same commands again."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from client.policy_server import two_joint_spec
from client.simulated_arm import PlannedPolicy, SimulatedArm, SimulatedClock
from focusvla_client import Policy, SpecMismatchError, rollout
from focusvla_client.chunks import EnsemblingPlayer, OpenLoopPlayer
from focusvla_client.errors import ServerUnavailableError
from focusvla_client.realtime import realtime_rollout
from focusvla_client.robot import JointLimit
from focusvla_client.rollout_log import ReplayPolicy, RolloutLog
from stepped_inference import SteppedInference

LIMITS = {"shoulder": JointLimit(-0.1, 0.3, 0.37), "elbow": JointLimit(-1, 1, 0.7)}
START = (0.0, 0.5)


def play(policy, player, log=None):
    clock = SimulatedClock()
    arm = SimulatedArm(clock)
    realtime_rollout(
        arm,
        policy,
        player,
        START,
        limits=LIMITS,
        max_steps=60,
        watchdog_seconds=1.0,
        observers=[log] if log else [],
        inference=lambda asked: SteppedInference(asked, 2),
        clock=clock,
        sleep=clock.sleep,
    )
    return arm


@pytest.fixture
def recorded(tmp_path):
    """An arm that moved under limits and failures, and the folder of its log."""
    faults = {1: ServerUnavailableError("gone"), 4: np.full((4, 2), 9.0), 7: np.full((4, 2), np.nan)}
    arm = play(PlannedPolicy(faults), EnsemblingPlayer(0.1), RolloutLog(tmp_path, two_joint_spec()))
    return arm, tmp_path


def test_a_replay_sends_the_same_commands_bit_for_bit_at_a_fixed_rate_and_in_the_plain_loop(recorded):
    arm, folder = recorded
    replay = ReplayPolicy(folder, arm.spec)
    assert isinstance(replay, Policy)
    assert replay.is_complete
    again = play(replay, OpenLoopPlayer(10**9))
    np.testing.assert_array_equal(again.commands, arm.commands)
    plain = SimulatedArm(SimulatedClock())
    rollout(plain, replay, START, max_steps=1000, actions_per_inference=1000)
    np.testing.assert_array_equal(plain.commands, arm.commands)


def test_every_step_is_a_line_and_every_answer_an_array(recorded):
    arm, folder = recorded
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1], kinds.count("command")) == ("start", "stop", len(arm.commands))
    assert kinds.count("hold") == arm.calls.count("hold")
    failed = next(event for event in events if event["event"] == "failed_inference")
    assert failed["error"] == "ServerUnavailableError: gone"
    assert next(event for event in events if event["event"] == "command") == {
        "event": "command",
        "step": 2,
        "seconds": 0.04,
        "command": arm.commands[0].tolist(),
        "limited": ["shoulder", "elbow"],
    }
    with np.load(folder / "chunk_000001.npz", allow_pickle=False) as answer:
        np.testing.assert_array_equal(answer["state"], np.array(START, np.float32))
        assert answer["chunk"].shape == (4, 2)


def test_a_log_that_was_cut_off_in_a_line_gives_what_came_before(recorded):
    arm, folder = recorded
    path = folder / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [index for index, line in enumerate(lines) if b'"command"' in line][:9]
    path.write_bytes(b"".join(lines[: whole[-1]]) + lines[whole[-1]][:30])
    replay = ReplayPolicy(folder)
    assert not replay.is_complete
    np.testing.assert_array_equal(replay.commands, arm.commands[:8])


def test_a_full_log_stops_growing_says_so_and_the_rollout_goes_on(tmp_path):
    arm = play(PlannedPolicy(), OpenLoopPlayer(4), RolloutLog(tmp_path, two_joint_spec(), max_bytes=5000))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 5200
    replay = ReplayPolicy(tmp_path)
    assert not replay.is_complete
    assert 0 < len(replay.commands) < len(arm.commands)


def test_a_second_rollout_does_not_write_over_the_first(recorded):
    with pytest.raises(FileExistsError):
        RolloutLog(recorded[1], two_joint_spec())


def test_another_robots_log_is_not_replayed(recorded):
    arm, folder = recorded
    with pytest.raises(SpecMismatchError, match="the robot and the log differ"):
        ReplayPolicy(folder, dataclasses.replace(arm.spec, control_rate_hz=10.0))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", r"log.jsonl:2: expected JSON, got b'\{'"),
        (b'{"event": "command", "command": [1.0]}', "expected the log of a rollout"),
        (b'{"event": "command", "command": [1.0, NaN]}', "expected finite commands"),
        (b'{"event": "command"}', "expected the log of a rollout"),
        (b"[]", "expected the log of a rollout"),
    ],
)
def test_a_damaged_log_is_refused(recorded, line, reason):
    path = recorded[1] / "log.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]))
    with pytest.raises(ValueError, match=reason):
        ReplayPolicy(recorded[1])


def test_an_empty_log_is_refused(tmp_path):
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(ValueError, match="expected the log of a rollout"):
        ReplayPolicy(tmp_path)
