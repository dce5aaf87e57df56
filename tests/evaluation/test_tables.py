"""Tables show what was measured and what the paper says, and nothing that was not."""

from dataclasses import replace

import pytest

from episode_results import episode_result
from focusvla.errors import ConfigurationError
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.matched import MatchedOutcomes, match_outcomes
from focusvla.evaluation.results import EpisodeResult, SuccessRate
from focusvla.evaluation.robotwin import table_of_robotwin
from focusvla.evaluation.tables import (
    Cell,
    kind_of,
    render,
    table_by_suite,
    table_by_task,
    table_of_robustness,
)
from focusvla.presets import PRESETS
from focusvla.suites.libero_published import EXPERT_SOLVES, PAPER

RESULT = episode_result(protocol_revision=2, policy=PolicyIdentity(weights="a"))


def episodes(suite: str, outcomes: str, task: int = 0) -> list[EpisodeResult]:
    """`outcomes` such as "110": a digit per trial."""
    return [
        replace(RESULT, suite=suite, task=task, trial=trial, success=outcome == "1")
        for trial, outcome in enumerate(outcomes)
    ]


ONE_POLICY = [
    *episodes("libero_spatial", "1111"),
    *episodes("libero_object", "1110"),
    *episodes("libero_goal", "1100"),
    *episodes("libero_10", "1000"),
]
FOUR = [replace(result, policy=PolicyIdentity(weights=result.suite)) for result in ONE_POLICY]


def test_a_preset_of_table_2_stands_beside_the_papers_numbers():
    text = render(
        table_by_suite({"paper_top_128": FOUR, "mine": episodes("libero_object", "10")}), "markdown"
    )
    title, _, head, _, preset, mine, _, note = text.splitlines()
    assert title.startswith("Success by suite, libero_openvla")
    assert head == "|  | Spatial | Object | Goal | Long | Average |"
    assert preset.startswith(
        "| paper_top_128 | 100.0 (4/4, 51.0 to 100.0) / 96.8 | 75.0 (3/4, 30.1 to 95.4) / 99 |"
    )
    assert preset.endswith("| 62.5 (10/16, 38.6 to 81.5) / 96.3 |")
    assert mine == "| mine | - | 50.0 (1/2, 9.5 to 90.5) | - | - | - |"
    assert note == "The paper's for paper_top_128: Table 2, multi-weights."


def test_one_policy_for_all_suites_stands_beside_table_1s_single_weight_and_four_beside_its_multi_weights():
    parts = [replace(result, policy=PolicyIdentity(weights="a", part=result.suite)) for result in ONE_POLICY]
    table = table_by_suite({"paper": FOUR, "paper_libero": parts, "baseline_mixed_separate": ONE_POLICY})
    published = {name: [cell.paper_percent for cell in cells] for name, cells in table.rows.items()}
    assert published == {
        "paper": [99.6, 100.0, 98.8, 96.2, 98.7],
        "paper_libero": [99.2, 98.4, 97.0, 92.4, 97.0],  # as printed: their mean is 96.75
        "baseline_mixed_separate": [98.8, 96.2, 95.6, 91.6, 95.6],
    }
    assert table.beside == {
        "paper": "Table 1, FocusVLA, multi-weights",
        "paper_libero": "Table 1, FocusVLA, single-weight, which prints 97.0 as the mean, 96.75",
        "baseline_mixed_separate": "Table 1, VLA-Adapter-Pro, single-weight",
    }


def test_a_row_of_table_2_or_4_is_not_set_beside_one_policy_for_all_suites():
    table = table_by_suite({"paper_mixed": ONE_POLICY})
    assert all(cell.paper_percent is None for cell in table.rows["paper_mixed"])
    assert table.beside["paper_mixed"].startswith(
        "none, since these episodes are of one policy for all suites"
    )
    assert "The paper's for Long: Table 4" in render(table_by_task(FOUR[-4:], "paper"), "latex")
    assert table_by_task(ONE_POLICY, "paper").rows["Spatial"][0].paper_percent is None
    assert table_by_task(FOUR, "paper_mixed").rows["Spatial"][0].paper_percent is None
    mixed = [*episodes("libero_10", "1"), *episodes("libero_goal", "1"), *FOUR[:4]]
    assert [kind_of(results) for results in (ONE_POLICY, FOUR, mixed, ONE_POLICY[:4], [])] == [
        *("single-weight", "multi-weights", None, "multi-weights", None)
    ]


def test_the_other_rows_of_table_1_can_be_added_of_the_same_kind():
    table = table_by_suite({"mine": ONE_POLICY}, with_paper_rows=True)
    assert list(table.rows) == [
        "mine", "Pi0.5 (3B, single-weight)", "NORA-1.5 (3B, single-weight)", "EVO-1 (0.5B, single-weight)",
        "VLA-Adapter-Pro (0.5B, single-weight)", "FocusVLA (0.5B, single-weight)",
    ]  # fmt: skip
    assert "| Pi0.5 (3B, single-weight) | - / 98.8 | - / 98.2 | - / 98 | - / 92.4 | - / 96.9 |" in render(
        table, "markdown"
    )
    both = table_by_suite({"mine": ONE_POLICY, "four": FOUR}, with_paper_rows=True)
    assert len(both.rows) == 2 + 8 + 5
    wide = [replace(result, protocol="libero_wide") for result in FOUR]
    assert list(table_by_suite({"mine": wide}, with_paper_rows=True).rows) == ["mine"]


def test_table_1_prints_the_means_of_its_rows_but_for_one():
    differing = {
        (kind, method): round(sum(row.percent) / 4, 3)
        for kind, methods in PAPER.by_method.items()
        for method, row in methods.items()
        if abs(sum(row.percent) / 4 - row.average) > 0.0501
    }
    assert differing == {("single-weight", "FocusVLA"): 96.75}
    assert set(PAPER.methods) <= set(PRESETS)


def test_robotwins_results_stand_beside_table_5():
    runs = {
        ("hanging_mug", "demo_clean", "best"): [SuccessRate(20, 100), SuccessRate(30, 100)],
        ("hanging_mug", "demo_clean", "first"): [SuccessRate(1, 100)],
        ("open_laptop", "demo_randomized", "best"): [SuccessRate(1, 100)],
    }
    table = table_of_robotwin(runs, "best", with_paper_rows=True)
    assert table.columns[:4] == ("Easy", "Hard", "DP Easy", "DP Hard")
    assert len(table.rows) == 8
    mug = table.rows["hanging_mug"]
    assert (mug[0], mug[1].rate) == (Cell(SuccessRate(50, 200), 18.0), None)
    assert [cell.paper_percent for cell in mug[1:]] == [5, 8, 0, 11, 3, 8, 1]
    assert table.rows["open_laptop"][1] == Cell(SuccessRate(1, 100))


def test_results_of_an_earlier_revision_of_a_protocol_are_in_no_table_with_newer_ones():
    older = [replace(result, protocol_revision=1) for result in FOUR]
    with pytest.raises(
        ConfigurationError,
        match=r"expected one protocol.*old with libero_openvla \(revision 1, now 2\), 8 actions",
    ):
        table_by_suite({"new": FOUR, "old": older})
    alone = render(table_by_suite({"paper_top_128": older}), "markdown")
    assert "libero_openvla (revision 1, now 2)" in alone
    assert "/ 96.8" not in alone  # published numbers are of the newer rules


def test_a_mean_over_suites_with_different_numbers_of_episodes_is_not_made_up():
    uneven = [*FOUR, *episodes("libero_goal", "1", task=1)]
    assert table_by_suite({"mine": uneven}).rows["mine"][-1].rate is None


def test_tasks_are_counted_from_one_as_the_paper_does():
    results = [*episodes("libero_10", "11"), *episodes("libero_10", "10", task=8)]
    table = table_by_task(results, "paper")
    cells = table.rows["Long"]
    assert table.columns[:9] == ("1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert cells[8] == Cell(SuccessRate(1, 2), 84.0)
    assert cells[1].rate is None
    assert table_by_task(results, "mine").rows["Long"][8].paper_percent is None


def test_the_papers_numbers_belong_to_its_protocol():
    wide = [replace(result, protocol="libero_wide") for result in FOUR]
    assert all(cell.paper_percent is None for cell in table_by_suite({"paper": wide}).rows["paper"])


def test_protocols_are_not_mixed_in_a_table():
    wide = [replace(result, protocol="libero_wide") for result in FOUR]
    with pytest.raises(ConfigurationError, match=r"got a with libero_openvla.*, b with libero_wide"):
        table_by_suite({"a": FOUR, "b": wide})
    with pytest.raises(ConfigurationError, match=r"8 actions an inference, .*4 actions an inference"):
        table_by_suite({"a": FOUR, "b": [replace(result, actions_per_inference=4) for result in FOUR]})
    with pytest.raises(ConfigurationError, match="expected at least one episode"):
        table_by_suite({"a": []})


def test_latex_and_csv_hold_the_same_numbers():
    table = table_by_suite({"paper_top_128": FOUR})
    latex = render(table, "latex")
    assert latex.startswith(r"\begin{tabular}{lccccc}")
    assert r"paper\_top\_128 & 100.0 (4/4, 51.0 to 100.0) / 96.8 &" in latex
    assert latex.count(r"\\") == 2
    lines = render(table, "csv").splitlines()
    assert lines[0].startswith("row,column,successes,episodes,percent,low_percent,high_percent,paper_percent")
    assert lines[2] == 'paper_top_128,Object,3,4,75.0,30.06,95.44,99.0,,,,"Table 2, multi-weights"'
    assert len(lines) == 6


def test_published_rows_are_presets_and_their_means_are_those_of_the_paper():
    assert set(PAPER.by_preset) <= set(PRESETS)
    rows = table_by_suite(dict.fromkeys(PAPER.by_preset, FOUR)).rows
    assert [cells[-1].paper_percent for cells in rows.values()] == [
        93.6, 97.0, 96.3, 98.0, 97.8, 97.3, 97.1, 98.2, 98.4, 96.8, 98.7,
    ]  # fmt: skip
    for suite, row in PAPER.by_task["FocusVLA"].items():
        index = ["libero_spatial", "libero_object", "libero_goal", "libero_10"].index(suite)
        assert sum(row) / 10 == pytest.approx(PAPER.by_preset["paper"][index], abs=0.06)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 6, 0.125), (0, 6, 0.03125), (10, 2, 0.03857)],
)
def test_the_test_is_mcnemars_exact_one(only_first, only_second, p):
    """Expected values: scipy 1.17 `binomtest(min(b, c), b + c, 0.5).pvalue`."""
    assert MatchedOutcomes(3, only_first, only_second, 2).p_value == pytest.approx(p, abs=1e-5)


def test_episodes_are_matched_by_where_they_began_and_chance_is_called_chance():
    first, second = episodes("libero_object", "1110"), episodes("libero_object", "10011")
    comparison = match_outcomes(first, second)
    assert comparison == MatchedOutcomes(both=1, only_first=2, only_second=1, neither=0)
    assert "4 matched episodes" in str(comparison)
    assert "no difference can be claimed" in str(comparison)
    assert ", a difference" in str(MatchedOutcomes(0, 9, 0, 0))
    with pytest.raises(ConfigurationError, match="none in common"):
        match_outcomes(first, [replace(result, seed=5) for result in second])


def test_the_difference_to_the_clean_suite_has_newcombes_interval():
    """Newcombe 1998, Table II, example (a), method 10: 56/70 - 48/80 is 0.2, 0.0524 to 0.3339."""
    cell = Cell(SuccessRate(56, 70), clean=SuccessRate(48, 80))
    assert cell.difference_percent == pytest.approx((20.0, 5.24, 33.39), abs=0.01)


def test_robustness_sets_each_variant_and_control_against_its_clean_suite():
    results = [
        *episodes("libero_object", "1111"),
        *episodes("libero_object_swap", "1000"),
        *episodes("libero_goal", "1100"),
        *(replace(result, condition="vision_blind") for result in episodes("libero_goal", "0000")),
    ]
    table = table_of_robustness(results)
    assert table.columns == ("Object", "Goal")
    assert list(table.rows) == ["clean", "objects in each other's places", "another episode's pictures"]
    swapped, absent = table.rows["objects in each other's places"]
    assert swapped == Cell(SuccessRate(1, 4), clean=SuccessRate(4, 4))
    assert absent.rate is None
    assert "25.0 (1/4, 4.6 to 69.9; -75.0, -95.4 to -8.5)" in render(table, "markdown")
    assert render(table, "csv").splitlines()[3].startswith("objects in each other's places,Object,1,4,25.0")


def test_robustness_finds_a_task_that_has_another_number_in_the_variant():
    swapped = [replace(result, task=8) for result in episodes("libero_object_with_mug", "10")]
    clean = [replace(result, task=2) for result in episodes("libero_object", "11")]
    (cell,) = table_of_robustness([*clean, *swapped]).rows["with a mug"]
    assert cell == Cell(SuccessRate(1, 2), clean=SuccessRate(2, 2))


def test_controls_are_left_out_of_the_tables_of_success():
    control = [replace(result, condition="language_blind") for result in episodes("libero_object", "0000")]
    table = table_by_suite({"mini": [*episodes("libero_object", "1111"), *control]})
    assert table.rows["mini"][1].rate == SuccessRate(4, 4)


def test_the_experts_success_on_widened_starts_is_known_for_every_task():
    wide = EXPERT_SOLVES["libero_wide"]
    assert set(wide) == set(PAPER.titles)
    assert all(
        len(tasks) == 10 and 0 < solved <= starts for tasks in wide.values() for solved, starts in tasks
    )
