"""What is measured of a data set; how it is judged is in `test_problems.py`."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from focusvla.data.episodes import Episode
from focusvla.data.inspection.data_set import Lengths, inspect_source, spread
from focusvla.data.inspection.episodes import Jump, find_jumps, idle_steps
from focusvla.data.inspection.pictures import inspect_pictures
from focusvla.data.memory import MemorySource
from focusvla_client import Camera, Spec
from focusvla_client.spec import ACTION_JOINT_POSITION


@pytest.fixture
def make(spec: Spec) -> Callable[..., MemorySource]:
    """Episodes of given actions, states of zeros, and gray pictures of given levels."""

    def build(
        actions: Sequence[Sequence[Sequence[float]]],
        levels: Sequence[Sequence[int]] | None = None,
        states: Sequence[Sequence[Sequence[float]]] | None = None,
        spec: Spec = spec,
        kind: type[MemorySource] = MemorySource,
    ) -> MemorySource:
        episodes, images = [], []
        for index, rows in enumerate(actions):
            action = np.array(rows, np.float32)
            state = np.array(states[index] if states else np.zeros((len(rows), len(spec.state))), np.float32)
            gray = np.array(levels[index] if levels else [100] * len(rows), np.uint8)[:, None, None, None]
            episodes.append(Episode(index, state, action, "push"))
            images.append(
                {c.name: np.broadcast_to(gray, (len(rows), c.height, c.width, 3)) for c in spec.cameras}
            )
        return kind(spec, episodes, images)

    return build


def test_every_number_of_a_dimension_is_of_all_steps_of_all_episodes(make):
    source = make([[[0, 0, -1], [1, 0, -1]], [[2, 0, 1], [3, 0, 1], [4, 0, 1]]])
    dx, dy, gripper = inspect_source(source, chunk_length=1).action
    assert (dx.name, dx.minimum, dx.median, dx.maximum, dx.mean) == ("dx", 0, 2, 4, 2)
    assert (dx.q01, dx.q99, dx.std) == pytest.approx((0.04, 3.96, np.sqrt(2)))
    assert [count for count in dx.histogram if count] == [1, 1, 1, 1, 1]
    assert dx.stored_range == pytest.approx((0.04, 3.96))
    assert dx.outside_share == pytest.approx(2 / 5)  # 0 and 4
    assert (dy.outside_share, dy.std) == (0, 0)
    assert [each.is_normalized for each in (dx, dy, gripper)] == [True, True, False]


def test_an_action_is_idle_that_moves_nothing_and_leaves_the_gripper(spec):
    action = np.array([[0, 0, -1], [1e-5, 0, -1], [0, 0, 1], [0, 0, 1], [0.5, 0, 1]], np.float32)
    assert idle_steps(action, spec).astype(int).tolist() == [1, 1, 0, 1, 0]
    claw = replace(spec, action=("dx", "gripper_y", "claw"), grippers=("claw",))
    assert idle_steps(action, claw).astype(int).tolist() == [1, 1, 0, 1, 0]


def test_a_position_is_idle_that_repeats_the_one_before(spec):
    action = np.array([[1, 2, 0], [1, 2, 0], [1, 2, 1], [1, 3, 1]], np.float32)
    absolute = replace(spec, action_space=ACTION_JOINT_POSITION)
    assert idle_steps(action, absolute).astype(int).tolist() == [0, 1, 0, 0]


def test_the_shortest_and_the_longest_episode_are_named_and_a_chunk_s_length_is_long_enough(make):
    still = [0, 0, -1]
    found = inspect_source(make([[still] * 3, [still] * 5, [still] * 4]), chunk_length=4)
    assert found.lengths == Lengths(
        shortest=3, shortest_episode=0, median=4.0, longest=5, longest_episode=1, too_short=(0,)
    )
    assert (found.num_episodes, found.num_steps, found.seconds) == (3, 12, 1.2)


def test_fingers_are_compared_a_quarter_of_a_second_after_the_command(make, spec):
    fingers = replace(spec, state=("x", "finger_left", "finger_right"), control_rate_hz=8.0)
    # Two steps after -1 the fingers are 2 + 2 apart, two steps after +1 they are 0.
    actions = [[[0, 0, -1], [0, 0, -1], [0, 0, 1], [0, 0, 1], [0, 0, 1]]]
    states = [[[0, 9, 9], [0, 9, 9], [0, 2, -2], [0, 2, -2], [0, 0, 0]]]
    (gripper,) = inspect_source(make(actions, states=states, spec=fingers), chunk_length=1).grippers
    assert (gripper.opening_when_opened, gripper.opening_when_closed) == (4, 0)
    assert (gripper.values, gripper.other_share) == ((1, -1), 0)


def test_fingers_tell_open_from_closed_for_other_values_too(make, spec):
    fingers = replace(spec, state=("x", "finger_left", "finger_right"), control_rate_hz=4.0)
    actions = [[[0, 0, 0.2], [0, 0, 0.8], [0, 0, 0.8]]]
    states = [[[0, 9, 9], [0, 2, -2], [0, 0, 0]]]
    (gripper,) = inspect_source(make(actions, states=states, spec=fingers), chunk_length=1).grippers
    assert (gripper.opening_when_opened, gripper.opening_when_closed) == (4, 0)
    assert gripper.other_share == 1


@pytest.mark.parametrize(("total", "wanted", "chosen"), [(9, 3, [0, 4, 8]), (2, 4, [0, 1]), (1, 3, [0])])
def test_episodes_are_chosen_from_the_first_to_the_last(total, wanted, chosen):
    assert spread(total, wanted) == chosen


class WatchedSource(MemorySource):
    """Notes whose pictures are read, and has a new one every `pace` steps."""

    pace = 1

    def __init__(self, spec, episodes, images):
        super().__init__(spec, episodes, images)
        self.read: list[int] = []

    @property
    def steps_per_picture(self) -> int:
        return self.pace

    def frames(self, index: int, camera: str) -> Iterator[np.ndarray]:
        self.read.append(index)
        return super().frames(index, camera)


def test_pictures_are_read_of_a_few_episodes_only_and_progress_is_told(make):
    source = make([[[0, 0, -1]]] * 9, kind=WatchedSource)
    told = []
    found = inspect_source(
        source, chunk_length=1, num_pictured=3, on_progress=lambda *progress: told.append(progress)
    )
    assert found.pictured_episodes == (0, 4, 8)
    assert sorted(set(source.read)) == [0, 4, 8]
    assert told == [(done, 21) for done in range(1, 22)]  # the numbers of 9 twice, the pictures of 3


def test_only_new_pictures_are_looked_at(make):
    # A new picture every 2 steps: they repeat for the steps between, which is no freezing.
    source = make([[[0, 0, -1]] * 6], [[50, 50, 90, 90, 130, 130]], kind=WatchedSource)
    source.pace = 2
    (camera, _), _, errors = inspect_pictures(source, [0])
    assert (camera.num_pictures, camera.mean_level, camera.longest_still_share) == (3, 90, 0)
    assert errors == ()


def test_a_still_run_ends_with_its_episode(make):
    levels = [[10, 50, 50], [50, 90, 130]]
    (camera, _), *_ = inspect_pictures(make([[[0, 0, -1]] * 3] * 2, levels), [0, 1])
    assert camera.num_pictures == 6
    assert camera.mean_level == pytest.approx((10 + 50 + 50 + 50 + 90 + 130) / 6)
    assert (camera.black_share, camera.uniform_share) == pytest.approx((1 / 6, 1))
    assert (camera.longest_still_share, camera.longest_still_episode) == (1 / 2, 0)
    assert camera.same_as == "image2"


def test_a_longer_still_run_is_not_made_of_two_episodes(make):
    levels = [[10, 50], [50, 90], [90, 130]]
    (camera, _), *_ = inspect_pictures(make([[[0, 0, -1]] * 2] * 3, levels), [0, 1, 2])
    assert camera.longest_still_share == 0


def test_cameras_of_different_sizes_never_show_the_same(make, spec):
    cameras = (Camera("image", 16, 16), Camera("image2", 8, 8))
    found, *_ = inspect_pictures(make([[[0, 0, -1]]], spec=replace(spec, cameras=cameras)), [0])
    assert [camera.same_as for camera in found] == ["", ""]


def test_a_step_far_greater_than_those_around_it_is_a_jump(spec):
    # By their ranges, 8 and 1, the steps are 1/8 1/8 1/8 1 1/8 1/8.
    state = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [3, 1], [4, 1], [5, 1]], np.float32)
    found = find_jumps(state, episode=5, names=("x", "y"), ranges=np.array([8.0, 1.0]))
    assert found == [Jump(episode=5, step=3, dimension="y", size=1.0, ratio=8.0)]


def test_a_fast_motion_is_no_jump():
    state = np.cumsum([0, 1, 1, 10, 10, 10, 1, 1], dtype=np.float32)[:, None]
    assert find_jumps(state, episode=0, names=("x",), ranges=np.array([10.0])) == []


def test_a_robot_that_stands_still_does_not_jump():
    assert find_jumps(np.ones((5, 1), np.float32), episode=0, names=("x",), ranges=np.array([0.0])) == []
    assert find_jumps(np.ones((1, 1), np.float32), episode=0, names=("x",), ranges=np.array([1.0])) == []


def test_only_the_greatest_jumps_are_told_but_all_are_counted(make):
    # Twelve episodes, the later the farther the jump between their two halves.
    states = [[[step + (10 + index) * (step > 3), 0] for step in range(8)] for index in range(12)]
    found = inspect_source(make([[[0, 0, -1]] * 8] * 12, states=states), chunk_length=1)
    assert found.num_jumps == 12
    assert [jump.episode for jump in found.jumps] == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]


def test_no_episode_is_held_while_the_next_one_is_read(make):
    class OneAtATime(MemorySource):
        """Makes an episode when it is asked for, and counts those that are still held."""

        alive = most_alive = 0

        def episode(self, index: int) -> Episode:
            source = self
            array = super().episode(index).action + np.float32(index)
            source.alive += 1
            source.most_alive = max(source.most_alive, source.alive)

            def forget() -> None:
                source.alive -= 1

            weakref.finalize(array, forget)
            return Episode(index, super().episode(index).state, array, "push")

    source = make([[[0, 0, -1]] * 4] * 20, kind=OneAtATime)
    source.most_alive = 0
    inspect_source(source, chunk_length=1)
    assert source.most_alive <= 2
