"""Each way in which a data set can be wrong: it is found, named, and told with what to do."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from focusvla.data.episodes import Episode
from focusvla.data.inspection.data_set import Inspection, inspect_source
from focusvla.data.inspection.problems import Problem, find_problems
from focusvla.data.memory import MemorySource
from focusvla.data.normalization import Quantiles, Statistics
from focusvla.errors import DataError
from focusvla_client import Spec
from focusvla_client.spec import ACTION_JOINT_POSITION, GRIPPER_ABSOLUTE, GRIPPER_NONE

STEPS = 40


class StoredStatistics(MemorySource):
    """A data set with the statistics that it is told to have, or none."""

    stored: Statistics | None = None

    def statistics(self) -> Statistics:
        if self.stored is None:
            raise DataError("meta/stats.json: expected statistics, got no such file. Compute them.")
        return self.stored


class DamagedVideos(MemorySource):
    """A data set whose videos break off after two frames."""

    def frames(self, index: int, camera: str):
        yield from list(super().frames(index, camera))[:2]
        raise DataError(f"episode {index}: expected a complete video, got two frames. Restore it.")


class MissingFrames(MemorySource):
    """A data set whose videos end early without a word."""

    def frames(self, index: int, camera: str):
        yield from list(super().frames(index, camera))[:-1]


@pytest.fixture
def finger_spec(spec: Spec) -> Spec:
    """As `spec`, with how far the fingers are apart."""
    return replace(spec, state=("x", "y", "finger"))


Change = Callable[[int, dict[str, np.ndarray]], None]


@pytest.fixture
def make(finger_spec: Spec) -> Callable[..., MemorySource]:
    """Four sound episodes that circle at different speeds, close the gripper halfway and show noise, changed by
    `change(index, arrays)`."""

    def build(
        change: Change = lambda index, arrays: None,
        *,
        spec: Spec = finger_spec,
        kind: type[MemorySource] = MemorySource,
        instructions: Sequence[str] = ("push", "pull", "push", "push"),
    ) -> MemorySource:
        rng = np.random.default_rng(0)
        episodes, images = [], []
        for index in range(4):
            angle = np.arange(STEPS) / (8 + index)
            closed = np.arange(STEPS) >= STEPS // 2
            opening = 0.08 * np.clip(1.5 - np.arange(STEPS) / STEPS, 0, 1)
            arrays = {
                "state": np.stack([np.sin(angle), np.cos(angle), opening], 1).astype(np.float32),
                "action": np.stack(
                    [0.9 * np.cos(angle), -0.9 * np.sin(angle), np.where(closed, 1, -1)], 1
                ).astype(np.float32),
                **{
                    c.name: rng.integers(0, 256, (STEPS, c.height, c.width, 3), np.uint8)
                    for c in spec.cameras
                },
            }
            change(index, arrays)
            state, action = arrays.pop("state"), arrays.pop("action")
            images.append({name: frames[: len(action)] for name, frames in arrays.items()})
            episodes.append(Episode(index, state, action, instructions[index]))
        return kind(spec, episodes, images)

    return build


def inspected(source: MemorySource, validation_share: float = 0.0) -> Inspection:
    return inspect_source(source, chunk_length=8, validation_share=validation_share)


def problems_of(source: MemorySource) -> list[Problem]:
    return find_problems(inspected(source))


def only_problem(source: MemorySource) -> Problem:
    (problem,) = problems_of(source)
    assert problem.advice.endswith(".")
    return problem


def test_a_sound_data_set_has_no_problems(make):
    assert problems_of(make()) == []


def test_a_gripper_from_0_to_1_cannot_be_trained_on(make):
    def change(index, arrays):
        arrays["action"][:, 2] = (arrays["action"][:, 2] + 1) / 2

    problem = only_problem(make(change))
    assert problem.severity == "error"
    assert problem.finding == (
        "action gripper: from 0 to 1 (0, 1), of one sign, though the spec says that -1 opens and +1 closes: it looks "
        "like 0 to 1, and the hand would never open"
    )


def test_a_gripper_of_other_values_of_both_signs_is_named(make):
    def change(index, arrays):
        arrays["action"][:, 2] *= 0.5

    problem = only_problem(make(change))
    assert problem.severity == "warning"
    assert problem.finding.startswith(
        "action gripper: 100 % of the values are neither -1 (open) nor +1 (close), as the spec says, but -0.5, 0.5"
    )


def test_a_gripper_that_only_holds_closed_is_no_problem(make):
    def change(index, arrays):
        arrays["action"][:, 2] = 1

    assert only_problem(make(change)).finding == "action: constant in gripper"


def test_values_on_the_switch_of_a_gripper_are_counted_since_no_policy_answers_them(make):
    def change(index, arrays):
        arrays["action"][18:22, 2] = 0

    source = make(change)
    problem = only_problem(source)
    assert problem.severity == "warning"
    assert problem.finding.startswith(
        "action gripper: 10.0 % of the values lie on 0, where the robot switches"
    )
    dx, dy, gripper = inspected(source).action
    assert [each.switches for each in (dx, dy, gripper)] == [(), (), (0.0,)]
    assert [each.on_switches_share for each in (dx, dy, gripper)] == [0, 0, 0.1]


def test_a_gripper_that_closes_where_it_should_open_is_named(make):
    def change(index, arrays):
        arrays["action"][:, 2] *= -1

    assert only_problem(make(change)).finding.startswith("action gripper: the sign looks flipped.")


def test_a_gripper_whose_fingers_are_not_in_the_state_is_not_judged_by_them(make, spec):
    def change(index, arrays):
        arrays["state"] = arrays["state"][:, :2]
        arrays["action"][:, 2] *= -1

    assert problems_of(make(change, spec=spec)) == []


def test_a_gripper_that_no_action_is_named_after_cannot_be_trained_on(make, finger_spec):
    source = make(spec=replace(finger_spec, action=("dx", "dy", "hand")))
    assert [problem.severity for problem in problems_of(source)] == ["error"]
    assert "expected a name containing 'gripper'" in problems_of(source)[0].finding


def test_a_constant_action_is_named(make):
    def change(index, arrays):
        arrays["action"][:, 1] = 0.25

    problem = only_problem(make(change))
    assert (problem.severity, problem.finding) == ("warning", "action: constant in dy")


def test_a_constant_state_is_only_a_note(make):
    def change(index, arrays):
        arrays["state"][:, 1] = 7

    problem = only_problem(make(change))
    assert (problem.severity, problem.finding) == ("note", "state: constant in y")


def test_a_state_that_hardly_moves_is_named(make):
    def change(index, arrays):
        arrays["state"][:, 0] *= 1e-4

    problem = only_problem(make(change))
    assert problem.finding == "state: from q01 to q99 is almost nothing in x (0.0002)"


def test_displacements_beyond_what_controllers_take_are_named(make):
    def change(index, arrays):
        arrays["action"][3, 0] = -2.5

    assert only_problem(make(change)).finding.startswith("action: beyond -1 to +1 in dx")


def with_statistics(source: StoredStatistics, state_low, state_high) -> StoredStatistics:
    own = Statistics.from_source(source)
    source.stored = Statistics(action=own.action, state=Quantiles(q01=state_low, q99=state_high))
    return source


def test_statistics_of_another_robot_are_named_by_dimension(make):
    source = with_statistics(make(kind=StoredStatistics), (-1.0, 5.0, 0.04), (1.0, 6.0, 0.08))
    problem = only_problem(source)
    assert problem.severity == "warning"
    assert problem.finding.startswith(
        "state: the stored statistics are not of this data in y. y is stored as 5 to 6, is"
    )
    assert "(100 % outside, expected 2)" in problem.finding


def test_statistics_of_a_far_wider_range_are_named_too(make):
    source = with_statistics(make(kind=StoredStatistics), (-1.0, -9.0, 0.04), (1.0, 9.0, 0.08))
    assert "not of this data in y." in only_problem(source).finding


def test_statistics_that_are_a_little_off_are_a_note(make):
    source = with_statistics(make(kind=StoredStatistics), (-1.0, -1.2, 0.04), (1.0, 1.0, 0.08))
    problem = only_problem(source)
    assert problem.severity == "note"
    assert problem.finding.startswith("state: the stored statistics differ a little from this data's in y.")


def test_statistics_that_are_the_mean_of_the_episodes_are_not_this_data_s(make):
    """Every fourth episode reaches ten times as far: a mean of quantiles leaves out most of it."""

    def change(index, arrays):
        arrays["state"][:, 0] *= 10 if index == 3 else 1

    source = make(change, kind=StoredStatistics)
    ranges = [np.quantile(source.episode(index).state, (0.01, 0.99), axis=0) for index in range(4)]
    low, high = np.mean(ranges, axis=0)
    problem = only_problem(with_statistics(source, tuple(low.tolist()), tuple(high.tolist())))
    assert problem.severity == "warning"
    assert problem.finding.startswith("state: the stored statistics are not of this data in x.")
    assert inspected(source).training_statistics == Statistics.from_source(source)


def test_a_dimension_that_moves_in_one_step_of_two_hundred_is_named_and_its_whole_range_is_taken(make):
    def change(index, arrays):
        arrays["action"][:, 1] = 0
        if index == 2:
            arrays["action"][17, 1] = -0.5

    source = make(change)
    problem = only_problem(source)
    assert problem.severity == "warning"
    assert problem.finding == (
        "action: q01 and q99 lie together although values vary in dy: dy from -0.5 to 0"
    )
    found = inspected(source).training_statistics.action
    assert (found.q01[1], found.q99[1]) == (-0.5, 0.0)


class OwnNames(MemorySource):
    """A data set that calls its numbers what it is told to."""

    names: dict = {}  # noqa: RUF012

    @property
    def recorded_names(self) -> dict:
        return self.names


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["eef_pos_x", "eef_pos_y", "gripper_width"], None),
        ({"motors": ["motor_0", "motor_1", "motor_2"]}, None),
        (["state"], None),
        (None, None),
        (
            ["joint_0", "joint_1", "gripper"],
            "'joint_0' where the spec says 'x', 'joint_1' where the spec says 'y'",
        ),
        ({"motors": ["shoulder_pan", "y", "finger"]}, "'shoulder_pan' where the spec says 'x'"),
        (["y", "x", "finger"], "'y' where the spec says 'x', 'x' where the spec says 'y'"),
        ({"x": 0, "finger": 1, "y": 2}, "'finger' where the spec says 'y', 'y' where the spec says 'finger'"),
        (["x", "yaw", "finger"], "'yaw' where the spec says 'y'"),
    ],
)
def test_names_that_are_of_something_else_than_the_spec_s_are_named(names, found, make):
    source = make(kind=OwnNames)
    source.names = {"state": names}
    if found is None:
        assert problems_of(source) == []
    else:
        problem = only_problem(source)
        assert problem.severity == "warning"
        assert problem.finding == f"state: the data set names its numbers otherwise than the spec, {found}"


def test_arms_that_are_named_the_other_way_around_are_named(make, finger_spec):
    spec = replace(finger_spec, state=("left_joint_1", "right_joint_1", "right_gripper"))
    source = make(kind=OwnNames, spec=spec)
    source.names = {"state": ["right_waist", "left_waist", "right_gripper"]}
    assert [(each.index, each.recorded) for each in inspected(source).contradictions] == [
        (0, "right_waist"),
        (1, "left_waist"),
    ]


def test_without_statistics_a_data_set_cannot_be_trained_on(make):
    problem = only_problem(make(kind=StoredStatistics))
    assert (problem.severity, problem.advice) == ("error", "Compute them.")
    assert problem.finding == "meta/stats.json: expected statistics, got no such file"


def test_statistics_of_another_width_cannot_be_trained_with(make):
    source = make(kind=StoredStatistics)
    source.stored = Statistics(
        action=Quantiles(q01=(0.0,), q99=(1.0,)), state=Statistics.from_source(source).state
    )
    problem = only_problem(source)
    assert problem.severity == "error"
    assert problem.finding.startswith(
        "statistics.action: expected 3 dimensions as the spec names them (dx, dy, "
    )


def test_too_few_episodes_to_hold_one_out_cannot_be_trained_on(make):
    (problem,) = find_problems(inspected(make(), validation_share=0.9))
    assert problem == Problem(
        "error",
        "episodes: expected more than 4 for training and validation, got 4",
        "Record more, or train without validation (--validation-share 0).",
    )


def test_a_black_camera_is_named(make):
    def change(index, arrays):
        arrays["image2"][:] = 12  # a codec's black

    problem = only_problem(make(change))
    assert problem.finding == "camera image2: 100 % of the pictures in episodes 0, 1, 2, 3 are black"


def test_a_covered_camera_is_named(make):
    def change(index, arrays):
        arrays["image"][::2] = (200, 150, 100)

    problem = only_problem(make(change))
    assert problem.finding == "camera image: 50 % of the pictures in episodes 0, 1, 2, 3 are of one color"


def test_a_frozen_camera_is_named_with_its_episode(make):
    def change(index, arrays):
        if index == 2:
            arrays["image"][10:] = arrays["image"][10]

    # 29 of the 39 pictures after the first are those before them.
    assert only_problem(make(change)).finding == "camera image: it shows the same for 74 % of episode 2"


def test_two_cameras_that_show_the_same_are_named_once(make):
    def change(index, arrays):
        arrays["image2"] = arrays["image"].copy()

    problem = only_problem(make(change))
    assert problem.finding == "camera image: all of its pictures in episodes 0, 1, 2, 3 are those of image2"


def test_a_damaged_video_is_an_error_and_the_rest_is_still_told(make):
    def change(index, arrays):
        arrays["action"][:, 1] = 0.25

    problems = problems_of(make(change, kind=DamagedVideos))
    assert [problem.severity for problem in problems] == ["error"] * 4 + ["warning"]
    assert problems[0] == Problem(
        "error", "episode 0: expected a complete video, got two frames", "Restore it."
    )


def test_a_video_with_too_few_frames_is_an_error(make):
    problem = problems_of(make(kind=MissingFrames))[0]
    assert problem.severity == "error"
    assert problem.finding == "episode 0: expected 40 pictures of each camera, got 39"


def test_episodes_shorter_than_a_chunk_are_counted_and_named(make):
    def change(index, arrays):
        if index in (1, 3):
            arrays["state"], arrays["action"] = arrays["state"][:7], arrays["action"][:7]

    problem = only_problem(make(change))
    assert problem.finding == "2 of 4 episodes are shorter than a chunk of 8 steps: 1, 3"


def test_copies_of_an_episode_are_named(make):
    kept = {}

    def change(index, arrays):
        kept[index] = arrays["action"]
        if index == 3:
            arrays["action"] = kept[1].copy()

    assert only_problem(make(change)).finding == "1 episode(s) have the same actions as another one: 1, 3"


def test_two_episodes_in_one_are_found_by_the_jump_between_them(make):
    def change(index, arrays):
        if index == 2:
            arrays["state"][25:, 0] += 1.0

    problem = only_problem(make(change))
    assert problem.finding.startswith("state: 1 jump(s), the greatest at episode 2 after step 24 (x by ")
    assert "Split" in problem.advice


def test_a_spike_in_the_state_is_found(make):
    def change(index, arrays):
        if index == 0:
            arrays["state"][30, 1] += 3.0

    assert only_problem(make(change)).finding.startswith(
        "state: 2 jump(s), the greatest at episode 0 after step "
    )


def test_an_angle_that_wraps_around_is_called_so(make):
    def change(index, arrays):
        arrays["state"][:, 1] = 1.9 * np.pi * np.sin(np.arange(STEPS) / (6 + index))
        arrays["state"][arrays["state"][:, 1] > np.pi, 1] -= 2 * np.pi

    assert only_problem(make(change)).finding.startswith("state: an angle wraps around, at episode ")


def test_steps_that_do_nothing_are_counted_at_both_ends(make):
    def change(index, arrays):
        arrays["action"][:3, :2] = 0
        arrays["action"][-2:, :2] = 0

    # 3 + 2 of 40 steps
    problem = only_problem(make(change))
    assert problem.severity == "warning"
    assert problem.finding == (
        "12 % of the steps do nothing, 3.0 at the beginning and 2.0 at the end of an episode in the mean"
    )


def test_waiting_at_a_position_is_only_a_note(make, finger_spec):
    def change(index, arrays):
        arrays["action"][10:15, :2] = arrays["action"][10, :2]

    spec = replace(finger_spec, action_space=ACTION_JOINT_POSITION, gripper=GRIPPER_ABSOLUTE)
    problem = only_problem(make(change, spec=spec))
    assert problem.severity == "note"
    assert problem.finding.startswith("10 % of the steps do nothing, 0.0 at the beginning")


def test_an_episode_without_instruction_is_named(make):
    assert (
        only_problem(make(instructions=("push", " ", "push", "push"))).finding
        == "1 episode(s) have no instruction"
    )


def test_the_gravest_problems_come_first(make):
    def change(index, arrays):
        arrays["state"][:, 1] = 7
        arrays["action"][:, 1] = 0.25

    problems = problems_of(make(change, kind=StoredStatistics))
    assert [problem.severity for problem in problems] == ["error", "warning", "note"]


def test_without_a_gripper_there_is_none_to_judge(make, finger_spec):
    source = make(spec=replace(finger_spec, gripper=GRIPPER_NONE))
    assert inspected(source).grippers == ()
    assert problems_of(source) == []
