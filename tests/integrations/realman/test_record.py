"""Demonstrations become data: what an action is, when steps count as late, and what is kept when something fails."""

import os
import pty
import sys
import termios
import threading
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.formats.opening import open_source
from focusvla_realman.errors import ArmError, SetupError
from focusvla_realman.record import demonstrate, record
from focusvla_realman.robot import DualArmRobot
from focusvla_realman.simulation import SimulatedOperator, SimulatedTeacher
from focusvla_realman.spec import realman_spec
from focusvla_realman.teaching import HandGuiding, TerminalOperator


class ScriptedOperator:
    """Answers questions with `ready`, and presses the keys of `script`, one entry a step, then Enter."""

    def __init__(self, *script: str, ready: int = 1):
        self.script = list(script)
        self.ready = ready

    def is_ready(self, question: str) -> bool:
        self.ready -= 1
        return self.ready >= 0

    def keys(self) -> str:
        return self.script.pop(0) if self.script else "\n"


def test_an_action_is_where_the_joints_are_next_and_what_the_grippers_are_told(robot: DualArmRobot, clock):
    teacher = HandGuiding(robot.limbs)
    operator = ScriptedOperator("", "a", "", "l", "")

    def guided(seconds: float) -> None:
        clock.sleep(seconds)
        for limb in robot.limbs:
            limb.arm.rm_movej_canfd([100 * clock.now] * 7, False)

    recorded = demonstrate(robot, teacher, operator, clock, guided)
    assert recorded is not None
    assert len(recorded.observations) == 5
    actions = recorded.actions()
    states = np.stack([observation.state for observation in recorded.observations])
    joints = [place for place in range(16) if place not in (7, 15)]
    np.testing.assert_array_equal(actions[:, joints], states[1:, joints])
    assert actions[:, 7].tolist() == [1, 0, 0, 0]
    assert actions[:, 15].tolist() == [1, 1, 1, 0]
    assert 0 < states[2, 7] < 1
    assert not any(limb.arm.is_dragged for limb in robot.limbs)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_gripper_that_is_blocked_stays_told_to_close_in_the_next_demonstration(robot: DualArmRobot, clock):
    teacher = HandGuiding(robot.limbs)
    blocked = {"enable_state": 1, "status": 1, "error": 0, "actpos": 700}
    robot.limbs[0].arm.rm_get_gripper_state = lambda: (0, blocked)
    told = []
    for keys in ("a", ""):
        recorded = demonstrate(robot, teacher, ScriptedOperator(keys, "", ""), clock, clock.sleep)
        assert recorded is not None
        told.append(recorded.actions()[:, 7].tolist())
    assert told == [[0, 0], [0, 0]]


def test_a_gripper_that_was_told_nothing_is_told_to_stay_where_it_is(robot: DualArmRobot, clock):
    robot.limbs[0].arm.rm_get_gripper_state = lambda: (0, {"actpos": 700})
    operator = ScriptedOperator("", "a", "a")
    recorded = demonstrate(robot, HandGuiding(robot.limbs), operator, clock, clock.sleep)
    assert recorded is not None
    assert [left for left, _ in recorded.openings] == [0.7, 0, 1]


def test_steps_keep_to_their_times_and_late_ones_are_counted(robot: DualArmRobot, clock):
    times = []

    class SlowTeacher(SimulatedTeacher):
        def step(self, keys: str) -> tuple[float, float]:
            times.append(clock())
            clock.sleep(0.07 if len(times) == 2 else 0.01)
            return super().step(keys)

    recorded = demonstrate(robot, SlowTeacher(robot), SimulatedOperator(5), clock, clock.sleep)
    assert recorded is not None
    np.testing.assert_allclose(times, [0, 0.05, 0.12, 0.15, 0.2])
    assert recorded.num_late_steps == 1


@pytest.mark.parametrize("script", [("", "", "x"), ("",)])
def test_a_demonstration_that_is_discarded_or_too_short_is_none(robot: DualArmRobot, clock, script):
    assert demonstrate(robot, SimulatedTeacher(robot), ScriptedOperator(*script), clock, clock.sleep) is None


def test_when_an_arm_fails_both_are_held_again(robot: DualArmRobot, clock):
    teacher = HandGuiding(robot.limbs)
    robot.limbs[1].arm.rm_start_drag_teach = lambda trajectory_record: 1
    with pytest.raises(ArmError, match="right arm, rm_start_drag_teach: the controller refuses"):
        demonstrate(robot, teacher, ScriptedOperator(), clock, clock.sleep)
    assert not robot.limbs[0].arm.is_dragged  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_a_stopped_recording_goes_on_and_becomes_one_data_set(tmp_path: Path, robot: DualArmRobot, clock):
    def go_on(ready: int, instruction: str) -> None:
        operator = ScriptedOperator(*["", "", "\n"] * ready, ready=ready)
        teacher = SimulatedTeacher(robot)
        record(robot, teacher, operator, output=output, instruction=instruction, num_episodes=3)

    output = tmp_path / "cups"
    go_on(2, "stack the cups")
    assert not output.exists()
    go_on(1, "place the block")
    source = open_source(output)
    assert source.spec == realman_spec()
    assert [source.episode(index).instruction for index in range(3)] == [
        *["stack the cups"] * 2,
        "place the block",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["cups"]
    with pytest.raises(SetupError, match="exists already"):
        go_on(1, "stack the cups")


def test_keys_of_a_terminal_are_seen_at_once_and_it_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch):
    keyboard, terminal = pty.openpty()
    with os.fdopen(terminal, "r") as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        before = termios.tcgetattr(terminal)
        with TerminalOperator() as operator:
            assert termios.tcgetattr(terminal) != before
            assert operator.keys() == ""
            os.write(keyboard, b"al")
            assert operator.keys() == "al"
            os.write(keyboard, b"\n")  # before the question, so no answer to it
            answered = threading.Event()

            def press() -> None:
                while not answered.wait(0.1):
                    os.write(keyboard, b"zq")

            pressing = threading.Thread(target=press)
            pressing.start()
            assert operator.is_ready("go?") is False
            answered.set()
            pressing.join()
        assert termios.tcgetattr(terminal) == before
    os.close(keyboard)


def test_without_a_terminal_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "input").touch()
    with (tmp_path / "input").open() as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        with pytest.raises(SetupError, match="needs a terminal"), TerminalOperator():
            pass
