"""Commands stay within each joint's limits, from wherever the joint is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.policy_server import two_joint_spec
from focusvla_client import JointLimit
from focusvla_client.robot import JointLimits
from focusvla_client.spec import ACTION_END_EFFECTOR_DELTA

SPEC = two_joint_spec(control_rate_hz=5.0)
LIMITS = JointLimits(SPEC, {"elbow": JointLimit(-1, 1, 1.0), "shoulder": JointLimit(-2, 2, 50.0)})


@pytest.mark.parametrize(
    ("position", "action", "command"),
    [(0.0, 0.1, 0.1), (0.9, 3.0, 1.0), (0.5, -1.0, 0.3), (1.5, 1.5, 1.3), (-0.9, -1.05, -1.0)],
)
def test_a_command_is_the_limit_or_as_far_as_the_speed_goes(position, action, command):
    sent, limited = LIMITS.command(np.array([0.0, action], np.float32), np.array([0.0, position]))
    np.testing.assert_allclose(sent, [0.0, command], rtol=1e-6)
    assert limited == (("elbow",) if command != action else ())
    assert sent.dtype == np.float32


joints = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=2)


@given(joints, joints)
def test_no_command_is_faster_than_its_limit_or_further_out_than_limit_and_joint(action, position):
    sent, _ = LIMITS.command(np.array(action, np.float32), np.array(position))
    assert np.all(np.abs(sent - position) <= np.array([10.0, 0.2]) + 1e-4)
    assert np.all(np.abs(sent) <= np.maximum(np.abs(position), [2, 1]) + 1e-6)


def test_a_command_cannot_be_changed_by_the_robot_it_is_sent_to():
    sent, _ = LIMITS.command(np.zeros(2, np.float32), np.zeros(2))
    with pytest.raises(ValueError, match="read-only"):
        sent += 1


def test_a_robot_that_is_not_driven_by_joint_positions_is_refused():
    spec = dataclasses.replace(SPEC, action_space=ACTION_END_EFFECTOR_DELTA)
    with pytest.raises(
        ValueError,
        match=r"spec\.action_space='end_effector_delta': expected 'joint_position' or 'joint_position_degrees'",
    ):
        JointLimits(spec, {})
