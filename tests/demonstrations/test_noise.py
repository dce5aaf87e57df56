"""Noise disturbs what the arm does, never what is recorded, and never the gripper."""

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the extra `libero`")

from reach.suite import reach_spec

from focusvla.demonstrations.noise import NoisyEnvironment
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec
from focusvla_client import Observation, Spec


class Arm:
    """Notes the actions it is given."""

    def __init__(self, spec: Spec):
        self.applied, self.spec = [], spec

    def reset(self, start):
        self.applied.clear()

    def observe(self, cameras):
        return Observation({}, np.zeros(8, np.float32), "")

    def success(self):
        return False

    def apply(self, action):
        self.applied.append(np.array(action))


def disturbed(sigma: float, steps: int = 400, gripper: float = 1.0, pushes: bool = True) -> np.ndarray:
    arm = Arm(libero_spec(64))
    noisy = NoisyEnvironment(arm, sigma, pushes, np.random.default_rng(0))
    command = np.array([0.1, -0.1, 0.0, 0.0, 0.0, 0.0, gripper], np.float32)
    for _ in range(steps):
        noisy.apply(command)
    np.testing.assert_array_equal(command, np.array([0.1, -0.1, 0, 0, 0, 0, gripper], np.float32))
    return np.stack(arm.applied)


def test_without_noise_the_arm_does_as_it_is_told():
    assert (disturbed(0.0) == np.array([0.1, -0.1, 0, 0, 0, 0, 1], np.float32)).all()


def test_noise_has_the_asked_for_size_half_of_it_in_rotation_and_is_correlated_in_time():
    noise = disturbed(0.2, steps=4000)[:, :6] - np.array([0.1, -0.1, 0, 0, 0, 0])
    assert np.std(noise[:, :3]) == pytest.approx(0.2, abs=0.03)
    assert np.std(noise[:, 3:]) == pytest.approx(0.1, abs=0.02)
    assert np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1] > 0.5


def test_a_point_without_gripper_is_disturbed_and_pushed_along_each_of_its_axes():
    point = Arm(reach_spec(32))
    noisy = NoisyEnvironment(point, 0.2, True, np.random.default_rng(0))
    for _ in range(400):
        noisy.apply(np.array([0.1, -0.1], np.float32))
    off = np.abs(np.stack(point.applied) - [0.1, -0.1])
    assert off.shape == (400, 2)
    assert (off.max(0) > 0.8).all()
    assert np.median(off) < 0.3


def test_the_gripper_obeys_and_commands_stay_in_range():
    applied = disturbed(0.8)
    assert (applied[:, 6] == 1.0).all()
    assert np.abs(applied).max() <= 1.0


def test_an_open_hand_is_pushed_now_and_then_for_some_steps_in_one_direction():
    command = np.array([0.1, -0.1, 0.0])
    pushed = np.abs(disturbed(0.0, steps=2000, gripper=-1.0)[:, :3] - command).max(axis=1) > 0.2
    starts = np.flatnonzero(pushed[1:] & ~pushed[:-1])
    assert 60 < len(starts) < 130  # 6 % of the steps that are not pushed themselves
    assert 3 <= pushed.sum() / len(starts) <= 7
    for never_pushed in (disturbed(0.0, steps=2000), disturbed(0.0, gripper=-1.0, pushes=False)):
        np.testing.assert_allclose(never_pushed[:, :3], np.tile(command, (len(never_pushed), 1)), atol=1e-6)


def disturbed_joints(
    sigma: float, pushes: bool, grippers: tuple[float, float], steps: int = 4000
) -> np.ndarray:
    """What is added to the commands of two arms, (steps, 14)."""
    arms = Arm(aloha_spec(64))
    noisy = NoisyEnvironment(arms, sigma, pushes, np.random.default_rng(0))
    command = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.0] * 2, np.float32)
    command[[6, 13]] = grippers
    for _ in range(steps):
        noisy.apply(command)
    return np.stack(arms.applied) - command


def test_joints_are_disturbed_in_radians_smoothly_and_both_grippers_obey():
    noise = disturbed_joints(0.5, False, (1.0, 0.0))
    assert (noise[:, [6, 13]] == 0).all()
    joints = np.delete(noise, [6, 13], axis=1)
    np.testing.assert_allclose(np.std(joints, axis=0), 0.5 * 0.03, rtol=0.2)
    assert np.corrcoef(joints[:-1, 0], joints[1:, 0])[0, 1] > 0.8
    assert (disturbed_joints(0.0, False, (1.0, 1.0)) == 0).all()


def test_an_arm_whose_hand_is_open_is_pushed_and_comes_back_and_the_other_is_not():
    pushed = disturbed_joints(0.0, True, (1.0, 0.0))
    assert (pushed[:, 6:] == 0).all()
    moving = np.abs(pushed[:, :6]).max(axis=1) > 0
    begins = np.flatnonzero(moving[1:] & ~moving[:-1])
    assert 20 < len(begins) < 80
    assert 11 <= moving.sum() / len(begins) <= 24
    assert 0.1 < np.abs(pushed[:, 0]).max() < 0.25
    assert np.abs(np.diff(pushed[:, :6], axis=0)).max() < 0.08  # no jump
