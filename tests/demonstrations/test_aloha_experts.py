"""Two arms solve fresh starts of their tasks, and find their way back when something is not where it should be."""

import numpy as np
import pytest

pytest.importorskip("gym_aloha", reason="needs the extra `aloha`")

from focusvla.demonstrations.aloha_experts import AlohaExpert
from focusvla.demonstrations.aloha_skills import hand_rotation
from focusvla.demonstrations.arms import Arm, Pose
from focusvla.demonstrations.noise import NoisyEnvironment
from focusvla.simulation.aloha import AlohaEnvironment
from focusvla.simulation.environment import suite_task
from focusvla.suites import Start
from focusvla_client import Observer, rollout

pytestmark = pytest.mark.simulator

HOME = (0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.1)
"""Of one arm."""
JOINTS = np.arange(14) % 7 != 6


@pytest.fixture(scope="module")
def transfer():
    return AlohaEnvironment(suite_task("aloha", 0), 64)


@pytest.fixture(scope="module")
def insertion():
    return AlohaEnvironment(suite_task("aloha", 1), 64)


class Recorder(Observer):
    def __init__(self):
        self.actions = []

    def on_action(self, environment, action):
        self.actions.append(action)


def play(environment, expert, seed, *observers):
    return rollout(
        environment,
        expert,
        Start(init_state=None, seed=seed),
        max_steps=400,
        actions_per_inference=1,
        stop_on_success=False,
        observers=observers,
    )


def fingertips(environment, side):
    return Arm(environment, side).pose.position


def test_the_left_hand_takes_the_cube_and_the_right_one_lets_go_and_withdraws(transfer):
    for seed in range(6):
        played = play(transfer, AlohaExpert(transfer), seed)
        assert played.success, seed
        assert played.steps < 200
        cube = transfer.data.body("box").xpos
        assert cube[2] > 0.15
        assert np.linalg.norm(cube - fingertips(transfer, "left")) < 0.02
        assert np.linalg.norm(cube - fingertips(transfer, "right")) > 0.06
        assert Arm(transfer, "right").finger_position > 0.05


def test_the_peg_is_pushed_into_the_socket_to_its_pin_with_both_in_the_air(insertion):
    for seed in range(6):
        played = play(insertion, AlohaExpert(insertion), seed)
        assert played.success, seed
        assert played.steps < 200
        peg, socket = insertion.data.body("peg").xpos, insertion.data.body("socket").xpos
        np.testing.assert_allclose(peg - socket, [0.1, 0.0, 0.0], atol=0.008)
        assert socket[2] > 0.15


def test_commands_do_not_jump_and_play_again_as_recorded(insertion):
    recorder = Recorder()
    play(insertion, AlohaExpert(insertion), 7, recorder)
    actions = np.stack(recorder.actions)
    assert actions.dtype == np.float32
    assert np.abs(np.diff(actions[:, JOINTS], axis=0)).max() < 0.061  # radians a step of 20 ms
    assert set(actions[:, ~JOINTS].ravel()) == {0.0, 1.0}
    end = insertion.snapshot()
    insertion.reset(Start(init_state=None, seed=7))
    for action in actions:
        insertion.apply(action)
    np.testing.assert_array_equal(insertion.snapshot(), end)


def test_an_expert_begins_anew_with_each_episode_and_repeats_itself(transfer):
    expert, recorders = AlohaExpert(transfer), (Recorder(), Recorder(), Recorder())
    for recorder, seed in zip(recorders, (0, 1, 0), strict=True):
        play(transfer, expert, seed, recorder)
    first, other, again = (np.stack(recorder.actions) for recorder in recorders)
    np.testing.assert_array_equal(first, again)
    assert (first[40] != other[40]).any()


class Thief(Observer):
    """Moves the cube at one moment, and turns it by half a radian."""

    def __init__(self, environment, step, position):
        self.environment, self.countdown, self.position = environment, step, position

    def on_action(self, environment, action):
        if self.countdown == 0:
            cube = self.environment.data.qpos[-7:]
            cube[:] = [*self.position, 0.02, np.cos(0.25), 0.0, 0.0, np.sin(0.25)]
            self.environment.data.qvel[-6:] = 0.0
        self.countdown -= 1


@pytest.mark.parametrize("step", [25, 60, 100], ids=["on the way", "lifted", "being handed over"])
def test_a_cube_that_is_taken_away_is_picked_up_where_it_is_now(transfer, step):
    played = play(transfer, AlohaExpert(transfer), 0, Thief(transfer, step, (0.05, 0.42)))
    assert played.success
    assert played.steps < 400


@pytest.mark.parametrize("task", ["transfer", "insertion"])
def test_most_disturbed_episodes_end_well_too(task, request):
    environment, solved = request.getfixturevalue(task), 0
    for seed in range(10):
        noisy = NoisyEnvironment(environment, 0.2, True, np.random.default_rng(seed))
        played = play(noisy, AlohaExpert(environment), seed)
        solved += played.success and played.steps < 400
    assert solved >= 7


def test_an_arm_is_led_straight_to_where_its_fingertips_should_be(transfer):
    transfer.reset(Start(init_state=None, seed=0))
    arm = Arm(transfer, "left")
    begin = arm.pose
    goal = Pose(begin.position + np.array([0.1, 0.0, -0.1]), begin.rotation)
    arm.begin()
    way, away = np.array([1.0, 0.0, -1.0]) / np.sqrt(2), []
    for _ in range(60):
        arm.lead(goal, 0.01, 0.05)
        transfer.apply(np.array([*arm.angles, 0.1, *HOME]))
        offset = arm.command.position - begin.position
        away.append(float(np.linalg.norm(offset - (offset @ way) * way)))
    assert max(away) < 0.005  # of the commanded path, in meters
    meters, radians = arm.distance_to(goal)
    assert meters < 0.002
    assert radians < 0.03


def test_no_joint_is_asked_to_jump_where_the_wrist_passes_through_being_stretched(transfer):
    transfer.reset(Start(init_state=None, seed=0))
    arm = Arm(transfer, "left")
    goal = Pose(np.array([0.0, 0.4, 0.05]), hand_rotation("left", 1.0))
    for _ in range(120):
        before = arm.angles
        arm.lead(goal, 0.01, 0.05)
        assert np.abs(arm.angles - before).max() < 0.0601
        transfer.apply(np.array([*arm.angles, 0.1, *HOME]))
    assert arm.distance_to(goal)[0] < 0.005
