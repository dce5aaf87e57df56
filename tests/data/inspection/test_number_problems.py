"""Each way in which a data set's numbers can lie: it is found by the measuring that `inspect` and `train` share."""

from dataclasses import replace

import numpy as np
import pytest

from data_sets_to_inspect import StoredStatistics, inspected, only_problem, problems_of
from focusvla.data.memory import MemorySource
from focusvla.data.normalization import Quantiles, Statistics


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
