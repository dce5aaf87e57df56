"""Results survive kills, never mix, and are summed up with honest intervals."""

import json
from dataclasses import replace
from typing import Any

import pytest

from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.pace import Pace
from focusvla.evaluation.results import (
    FORMAT,
    EpisodeResult,
    ResultsFile,
    SuccessRate,
    clean_results,
    join_results,
    read_results,
    result_line,
    success_rate,
    success_rate_by_task,
    unfinished,
    worth_drawing,
)

RESULT = EpisodeResult(
    suite="libero_object",
    task=2,
    instruction="pick up the salad dressing and place it in the basket",
    trial=0,
    condition="",
    seed=0,
    success=True,
    steps=120,
    inferences=15,
    seconds=4.2,
    protocol="libero_openvla",
    policy=PolicyIdentity(weights="0123456789abcdef"),
    actions_per_inference=8,
    error="",
    versions={"torch": "2.13.0"},
)
IDENTITY: dict[str, Any] = {
    "protocol": "libero_openvla",
    "protocol_revision": 1,
    "policy": PolicyIdentity(weights="0123456789abcdef"),
    "actions_per_inference": 8,
}


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [(9, 10, 0.59585, 0.98212), (0, 20, 0.0, 0.16113), (30, 30, 0.88649, 1.0), (485, 500, 0.95110, 0.98174)],
)
def test_the_interval_is_wilsons(successes, episodes, low, high):
    """Expected values: scipy 1.17 `binomtest(k, n).proportion_ci(method="wilson")`."""
    assert SuccessRate(successes, episodes).interval == pytest.approx((low, high), abs=1e-5)


def test_no_episode_says_nothing():
    assert SuccessRate(0, 0).interval == (0.0, 1.0)


def test_a_rate_is_printed_with_its_trials_and_interval():
    assert str(SuccessRate(9, 10)) == "9/10 = 90.0 % (59.6 to 98.2)"


def test_an_episode_that_broke_is_no_failure_of_the_policy_and_is_counted_apart():
    broken = replace(RESULT, trial=2, success=False, error="RuntimeError: out of memory")
    rate = success_rate([RESULT, replace(RESULT, trial=1, success=False), broken])
    assert rate == SuccessRate(1, 2, broken=1)
    assert str(rate).endswith(", 1 broken")
    assert (rate.to_dict()["broken"], success_rate([RESULT]).to_dict().get("broken")) == (1, None)


def test_an_episode_that_broke_is_moved_aside_and_missing_when_the_file_is_opened_again(tmp_path):
    path, broken = tmp_path / "results.jsonl", replace(RESULT, trial=1, success=False, error="lost device")
    for _ in range(2):
        file = ResultsFile(path, **IDENTITY)
        if not file.results:
            file.append(RESULT)
        file.append(broken)
    file = ResultsFile(path, **IDENTITY)
    assert (file.results, file.num_broken, read_results(path)) == ([RESULT], 1, [RESULT])
    assert read_results(tmp_path / "broken.jsonl") == [broken, broken]
    assert join_results([[broken], [replace(broken, error="", success=True)]])[0].success


def test_a_folder_says_how_many_of_its_episodes_are_there(tmp_path):
    broken = replace(RESULT, trial=1, error="lost device")
    assert unfinished(tmp_path, (RESULT, broken)) == ""  # of an earlier version, which did not say
    for planned, said in ((1, ""), (2, f"{tmp_path}: 1 of 2 episodes are there; ")):
        (tmp_path / "protocol.json").write_text(json.dumps({"planned": planned}))
        assert unfinished(tmp_path, (RESULT, broken)).startswith(said)
        assert bool(unfinished(tmp_path, (RESULT, broken))) == bool(said)


def test_appended_episodes_are_read_back_equal(tmp_path):
    file = ResultsFile(tmp_path / "new" / "results.jsonl", **IDENTITY)
    second = replace(RESULT, trial=1, success=False, error='Traceback "quoted"\nline')
    file.append(RESULT)
    file.append(second)
    assert read_results(tmp_path / "new" / "results.jsonl") == [RESULT, second]


def test_a_line_cut_off_by_a_kill_is_dropped_and_its_episode_is_pending_again(tmp_path):
    path = tmp_path / "results.jsonl"
    file = ResultsFile(path, **IDENTITY)
    file.append(RESULT)
    file.append(replace(RESULT, trial=1))
    path.write_text(path.read_text()[:-30])
    reopened = ResultsFile(path, **IDENTITY)
    assert [result.trial for result in reopened.results] == [0]
    assert reopened.num_repaired_bytes > 0
    reopened.append(replace(RESULT, trial=1))
    assert [result.trial for result in read_results(path)] == [0, 1]


def test_results_of_another_policy_are_refused_and_kept(tmp_path):
    path = tmp_path / "results.jsonl"
    ResultsFile(path, **IDENTITY).append(RESULT)
    for field, value in (("policy", PolicyIdentity(weights="ffff")), ("protocol_revision", 2)):
        changed: dict[str, Any] = IDENTITY | {field: value}
        with pytest.raises(ConfigurationError, match=f"{field}=.*, this evaluation has {value}"):
            ResultsFile(path, **changed)
    assert read_results(path) == [RESULT]


def first_format(**changes: Any) -> str:
    """A line as the first format had it, with the fields that it had from its beginning."""
    values = json.loads(result_line(RESULT)) | {"format": 1} | changes
    del values["protocol_revision"], values["condition"]
    return json.dumps(values) + "\n"


def test_a_file_of_the_last_format_is_read_and_gone_on_with_as_it_is(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(first_format())
    assert read_results(path) == [replace(RESULT, protocol_revision=1, condition="")]
    file = ResultsFile(path, **IDENTITY)
    file.append(replace(RESULT, trial=1))
    first, second = path.read_text().splitlines(keepends=True)
    assert first == first_format()
    assert json.loads(second)["format"] == FORMAT
    assert [result.trial for result in read_results(path)] == [0, 1]


def test_a_field_that_no_version_has_had_is_left_out_said_once_and_kept_in_the_file(tmp_path, caplog):
    path = tmp_path / "results.jsonl"
    path.write_text(first_format() + first_format(trial=1, luck=1) + first_format(trial=2, luck=2))
    before = path.read_text()
    assert [result.trial for result in read_results(path)] == [0, 1, 2]
    (warning,) = caplog.records
    assert warning.getMessage().endswith("are left out: 'luck' (first in line 2)")
    ResultsFile(path, **IDENTITY)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (first_format(format=FORMAT + 1, luck=1), rf"got one of format {FORMAT + 1}, where this version reads 1 to"),
        (json.dumps({"format": 1, "suite": "libero_object", "task": 2}) + "\n", "got one without actions_per_inf"),
    ],
    ids=["newer", "incomplete"],
)  # fmt: skip
def test_a_line_of_a_newer_format_or_without_what_all_have_is_refused(tmp_path, line, said):
    path = tmp_path / "results.jsonl"
    path.write_text(first_format() + line)
    with pytest.raises(DataError, match=f"results.jsonl, line 2: expected an episode's result, {said}"):
        read_results(path)


def test_a_damaged_line_within_the_file_is_named(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"suite": 1}\n' + json.dumps({"x": 1}) + "\n")
    with pytest.raises(DataError, match=r"results.jsonl, line 1: expected an episode's result"):
        read_results(path)


def test_a_missing_file_says_which_command_makes_it(tmp_path):
    with pytest.raises(DataError, match="Run `focusvla evaluate`"):
        read_results(tmp_path / "results.jsonl")


def test_rates_are_counted_per_task():
    results = [RESULT, replace(RESULT, trial=1, success=False), replace(RESULT, task=3)]
    assert success_rate_by_task(results) == {
        ("libero_object", 2): SuccessRate(1, 2),
        ("libero_object", 3): SuccessRate(1, 1),
    }
    assert success_rate(results) == SuccessRate(2, 3)


def test_an_episode_in_two_parts_is_counted_once_and_refused_if_it_came_out_differently():
    slower, other = replace(RESULT, seconds=9.0), replace(RESULT, trial=1)
    assert join_results([[RESULT], [slower, other]]) == [RESULT, other]
    with pytest.raises(
        ConfigurationError, match=r"trial 0 is there twice and came out differently \(success after 120"
    ):
        join_results([[RESULT], [replace(RESULT, success=False)]])


def test_two_policies_in_one_suite_are_not_one_row_but_a_policy_for_each_suite_is():
    with pytest.raises(ConfigurationError, match=r"expected one policy in libero_object, got .* NAME=FOLDER"):
        join_results([[RESULT], [replace(RESULT, trial=1, policy=PolicyIdentity(weights="ffff"))]])
    other = replace(RESULT, suite="libero_goal", policy=PolicyIdentity(weights="ffff"))
    assert join_results([[RESULT], [other]]) == [RESULT, other]


def test_variants_and_controls_do_not_count_for_the_clean_suite():
    variant, control = replace(RESULT, suite="libero_object_swap"), replace(RESULT, condition="vision_blind")
    assert clean_results([RESULT, variant, control]) == [RESULT]
    assert clean_results([variant, control]) == [variant]


@pytest.mark.parametrize(
    ("outcomes", "num_first", "drawn"),
    [
        ([True, True, False, True, False], 1, [0, 2]),
        ([True, True, False, True, False], 2, [0, 1, 2]),
        ([False, True, True], 0, [0, 1]),
        ([True, True], 0, [0]),
    ],
)
def test_the_first_trials_the_first_success_and_the_first_failure_are_drawn(outcomes, num_first, drawn):
    results = [replace(RESULT, trial=trial, success=success) for trial, success in enumerate(outcomes)]
    assert [result.trial for result in worth_drawing(results, num_first)] == drawn


def test_the_pace_is_of_all_episodes_and_of_older_ones_says_only_how_many():
    pace = Pace()
    assert str(pace) == ""
    pace.add(replace(RESULT, seconds_by_activity={"drawing": 3.0, "simulating": 1.0}))
    pace.add(replace(RESULT, seconds_by_activity={}))
    assert pace.to_dict()["seconds_by_activity"] == {"drawing": 3.0, "simulating": 1.0}
    assert pace.to_dict()["episodes_per_minute"] > 2
    assert str(pace).endswith("a minute: drawing 75 %, simulating 25 %")
