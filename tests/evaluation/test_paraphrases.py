"""LIBERO-Para: rows become episodes of the task they are of, and PRIDE weighs them by their distance."""

import csv
import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("libero", reason="needs the extra `libero`")

from episode_results import episode_result
from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.agenda import plan_episodes
from focusvla.evaluation.episodes import PlannedEpisode
from focusvla.evaluation.paraphrases import (
    Paraphrase,
    read_paraphrases,
    render_paraphrases,
    score_paraphrases,
)
from focusvla.evaluation.results import PARAPHRASED, EpisodeResult
from focusvla.evaluation.tables import table_of_robustness
from focusvla.suites import protocol

STOVE, BOWL = "turn on the stove", "put the bowl on the stove"
"""Tasks 7 and 1 of LIBERO-Goal, which the table calls 9 and 4."""
ROWS = [
    ("act", "lexical", "habitual", "9", "switch on the stove", STOVE, "0.5", "0.9"),
    ("comp", "lexical+pragmatical", "habitual+hint", "9", "The hob is cold", STOVE, "0.2", "0.2"),
    ("obj", "lexical", "contextual", "4", "put the bowl on the hob", BOWL, "0.8", "0.6"),
    ("act", "lexical", "habitual", "9", "turn the stove on", STOVE, "0.7", "1.0"),
]
COLUMNS = [
    "high",
    "mid",
    "low",
    "eval",
    "new_instruction",
    "original_instruction",
    "structural_similarity",
    "keyword_similarity",
]


def write(folder: Path, rows=ROWS, columns=COLUMNS) -> Path:
    path = folder / "libero_para_metadata.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def played(row: Paraphrase, success: bool) -> EpisodeResult:
    return episode_result(
        suite="libero_goal",
        task=row.task,
        trial=row.trial,
        condition=PARAPHRASED,
        words=row.words,
        success=success,
    )


def test_a_row_is_of_the_task_whose_instruction_it_changes_whatever_number_the_table_gives_it(tmp_path):
    rows = read_paraphrases(write(tmp_path))
    assert [(row.task, row.trial, row.words) for row in rows] == [
        (7, 0, "switch on the stove"),
        (7, 1, "The hob is cold"),
        (1, 0, "put the bowl on the hob"),
        (7, 2, "turn the stove on"),
    ]
    assert [row.distance for row in rows] == pytest.approx([0.3, 0.8, 0.3, 0.15])
    assert [row.words for row in read_paraphrases(write(tmp_path), tasks=(1,))] == ["put the bowl on the hob"]


def test_pride_weighs_success_by_distance(tmp_path):
    rows = read_paraphrases(write(tmp_path))
    results = [played(row, success) for row, success in zip(rows, (True, False, True, True), strict=True)]
    scores = score_paraphrases(results, rows)
    assert [score.name for score in scores] == [
        "all",
        "action, lexical",
        "both, lexical+pragmatical",
        "object, lexical",
    ]
    assert scores[0].pride == pytest.approx(100 * (0.3 + 0.3 + 0.15) / (0.3 + 0.8 + 0.3 + 0.15))
    assert (scores[0].success.successes, scores[0].success.episodes) == (3, 4)
    assert [score.pride for score in scores[1:]] == pytest.approx([100, 0, 100])
    assert "LIBERO-Para, 3 of 4 rows" in render_paraphrases(score_paraphrases(results[:3], rows), 4)


def test_paraphrases_are_no_clean_episodes_in_the_table_of_robustness(tmp_path):
    rows = read_paraphrases(write(tmp_path))
    clean = [dataclasses.replace(played(rows[0], True), condition="", words="")]
    table = table_of_robustness([*clean, played(rows[0], False)])
    rates = {name: str(cells[0].rate).partition(" ")[0] for name, cells in table.rows.items()}
    assert rates == {"clean": "1/1", "Para: other words": "0/1"}


def test_a_sample_is_even_over_kinds_and_the_same_each_time(tmp_path):
    many = [("act", "lexical", "habitual", "9", f"stove {n}", STOVE, "0.5", "0.5") for n in range(50)]
    few = [("obj", "lexical", "contextual", "4", f"bowl {n}", BOWL, "0.5", "0.5") for n in range(5)]
    path = write(tmp_path, [*many, *few])
    sample = read_paraphrases(path, sample=8)
    assert [row.kind[0] for row in sample] == ["act"] * 4 + ["obj"] * 4
    assert sample == read_paraphrases(path, sample=8)
    with pytest.raises(ConfigurationError, match="paraphrase_sample=56: expected at most 55"):
        read_paraphrases(path, sample=56)


def test_paraphrases_are_played_besides_and_known_again_by_their_words(tmp_path):
    path = write(tmp_path, [*ROWS, ROWS[0]])
    config = EvaluationConfig(suites=("libero_goal",), tasks=(1, 7), trials=1, paraphrases=path)
    planned = plan_episodes(config, protocol("libero_openvla"))
    assert [(p.task, p.trial, p.words) for p in planned if not p.condition] == [(1, 0, ""), (7, 0, "")]
    others = [p for p in planned if p.condition]
    assert {p.condition for p in others} == {PARAPHRASED}
    assert len({p.name for p in others}) == len(others) == 5
    row = read_paraphrases(path)[1]
    assert PlannedEpisode.of(played(row, True)) in others
    with pytest.raises(ConfigurationError, match="paraphrases: expected libero_goal among the suites"):
        plan_episodes(dataclasses.replace(config, suites=("libero_object",)), protocol("libero_openvla"))


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (ROWS, ["high", *COLUMNS[1:4], "words", *COLUMNS[5:]], "got none called new_instruction"),
        (
            [(*ROWS[0][:5], "fold the towel", "1", "1")],
            COLUMNS,
            "line 2: expected an instruction of libero_goal",
        ),
        ([ROWS[1], (*ROWS[0][:6], "near", "1")], COLUMNS, "line 3: expected similarities that are numbers"),
        ([(*ROWS[0][:6], "nan", "1")], COLUMNS, "line 2: expected words, and similarities that are finite"),
        ([(*ROWS[0][:4], " ", STOVE, "1", "1")], COLUMNS, "line 2: expected words"),
    ],
)
def test_a_table_of_something_else_is_refused_by_its_line(tmp_path, rows, columns, said):
    with pytest.raises(DataError, match=said):
        read_paraphrases(write(tmp_path, rows, columns))
