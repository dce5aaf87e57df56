"""An SO-101 behind the real-time loop: its conventions, its limits, and what is sent to it."""

import dataclasses
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from focusvla_client import Camera, DryRun, OverlappedPlayer, Robot, SpecMismatchError, realtime_rollout
from focusvla_client.robot import JointLimits
from focusvla_client.spec import ACTION_JOINT_DEGREES, ACTION_JOINT_POSITION
from focusvla_so101.arm import SO101, SetupError, joint_limits, spec_of
from stepped_inference import SteppedInference

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


@dataclass
class Arm:
    """LeRobot's interface, on joints that are at once where they are told."""

    at: dict[str, float] = field(default_factory=lambda: {f"{joint}.pos": 0.0 for joint in JOINTS})
    sent: list[dict[str, float]] = field(default_factory=list)

    action_features: dict[str, type] = field(
        default_factory=lambda: {f"{joint}.pos": float for joint in JOINTS}
    )
    calibration: dict[str, SimpleNamespace] = field(
        default_factory=lambda: {joint: SimpleNamespace(range_min=1024, range_max=3072) for joint in JOINTS}
    )

    @property
    def observation_features(self):
        return {**self.action_features, "front": (48, 64, 3), "wrist": (48, 64, 3)}

    def get_observation(self):
        return {
            **self.at,
            "front": np.full((48, 64, 3), 1, np.uint8),
            "wrist": np.full((48, 64, 3), 2, np.uint8),
        }

    def send_action(self, action):
        self.sent.append(action)
        self.at |= action
        return action


class Policy:
    """Wants the first joint far away, and the gripper open."""

    cameras = ("front", "wrist")
    chunk_length = 8

    def reset(self): ...

    def infer(self, observation):
        assert [observation.images[name][0, 0, 0] for name in self.cameras] == [1, 2]
        return np.tile(np.array([500, 0, 0, 0, 0, 100], np.float32), (self.chunk_length, 1))


def play(robot, arm):
    return realtime_rollout(
        robot,
        Policy(),
        OverlappedPlayer(4),
        None,
        limits=joint_limits(arm, 0.5),
        max_steps=90,
        watchdog_seconds=1.0,
        inference=lambda policy: SteppedInference(policy, 1),
        sleep=lambda seconds: None,
        clock=iter(np.arange(100_000) / 3000).__next__,
    )


def test_conventions_are_the_arms_own_joints_and_cameras_in_degrees():
    spec = spec_of(Arm(), 30.0)
    assert spec.cameras == (Camera("front", 48, 64), Camera("wrist", 48, 64))
    assert spec.state == spec.action == tuple(f"{joint}.pos" for joint in JOINTS)
    assert (spec.action_space, spec.gripper_places, spec.finger_places) == (ACTION_JOINT_DEGREES, (5,), (5,))
    assert isinstance(SO101(Arm(), 30.0, ""), Robot)


def test_degrees_and_radians_are_never_taken_for_each_other():
    spec = spec_of(Arm(), 30.0)
    with pytest.raises(
        SpecMismatchError, match="action_space: 'joint_position_degrees' against 'joint_position'"
    ):
        spec.require_equal(
            dataclasses.replace(spec, action_space=ACTION_JOINT_POSITION), "the arm", "the policy"
        )


def test_a_joint_ends_two_degrees_inside_its_calibrated_range_and_a_gripper_at_its_ends():
    limits = joint_limits(Arm(), 0.5)
    reach = 1024 * 360 / 4095 - 2
    assert (limits["elbow_flex.pos"].lower, limits["elbow_flex.pos"].upper) == pytest.approx((-reach, reach))
    assert limits["elbow_flex.pos"].max_speed == 60.0
    assert (limits["gripper.pos"].lower, limits["gripper.pos"].upper) == (0.0, 100.0)
    JointLimits(spec_of(Arm(), 30.0), limits)


def test_a_policy_moves_the_arm_within_its_limits_and_a_dry_run_sends_nothing():
    arm = Arm()
    result = play(SO101(arm, 30.0, "stack"), arm)
    pan = [0.0, *(sent["shoulder_pan.pos"] for sent in arm.sent)]
    assert max(np.diff(pan)) == pytest.approx(2.0)  # 60 degrees a second, 30 times a second
    assert max(pan) == pytest.approx(joint_limits(arm, 0.5)["shoulder_pan.pos"].upper)
    assert result.limited_steps > 0
    assert arm.sent[-1]["gripper.pos"] == 100.0
    dry = Arm()
    play(DryRun(SO101(dry, 30.0, "stack")), dry)
    assert dry.sent == []


def test_what_cannot_be_driven_so_is_refused():
    arm = Arm()
    with pytest.raises(SetupError, match=r"speed_share=1\.5: expected a share"):
        joint_limits(arm, 1.5)
    arm.calibration = {}
    with pytest.raises(
        SetupError, match=r"shoulder_pan: expected a calibrated joint\. Run lerobot-calibrate"
    ):
        joint_limits(arm, 0.5)
    arm.calibration = {joint: SimpleNamespace(range_min=2000, range_max=2010) for joint in JOINTS}
    with pytest.raises(SetupError, match="its calibration says 2000 to 2010 ticks"):
        joint_limits(arm, 0.5)
    arm.action_features = {"x.vel": float}
    with pytest.raises(SetupError, match=r"joints' positions, got x\.vel"):
        spec_of(arm, 30.0)
