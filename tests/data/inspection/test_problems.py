"""Each way in which a data set can be wrong: it is found, named, and told with what to do."""

from dataclasses import replace

import numpy as np

from data_sets_to_inspect import STEPS, StoredStatistics, inspected, only_problem, problems_of
from focusvla.data.inspection.problems import Problem, find_problems
from focusvla.data.memory import MemorySource
from focusvla.data.normalization import Quantiles, Statistics
from focusvla.errors import DataError
from focusvla_client.spec import ACTION_JOINT_POSITION, GRIPPER_ABSOLUTE, GRIPPER_NONE


class DamagedVideos(MemorySource):
    """A data set whose videos break off after two frames."""

    def frames(self, index: int, camera: str):
        yield from list(super().frames(index, camera))[:2]
        raise DataError(f"episode {index}: expected a complete video, got two frames. Restore it.")


class MissingFrames(MemorySource):
    """A data set whose videos end early without a word."""

    def frames(self, index: int, camera: str):
        yield from list(super().frames(index, camera))[:-1]


def test_a_sound_data_set_has_no_problems(make):
    assert problems_of(make()) == []


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
