"""What a study says is what its trainings did, all of them and no others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.results import EpisodeResult, result_line
from focusvla.presets import tiny
from focusvla.studies.findings import find_out
from focusvla.studies.plan import Claim, Row, Study, repeated
from focusvla.visualization.study_page import write_study_page

TRIALS = 40
RESULT = EpisodeResult(
    suite="reach", task=0, instruction="reach", trial=0, condition="", seed=0, success=True, steps=1, inferences=1,
    seconds=1.0, protocol="reach", policy=PolicyIdentity(weights="a"), actions_per_inference=8, error="", versions={},
)  # fmt: skip


def row(name: str, steps: int) -> Row:
    training = replace(tiny().training, steps=steps)
    arguments = ("tiny", "--steps", str(steps))
    experiment = replace(tiny(), training=training)
    return Row(name=name, arguments=arguments, experiment=experiment, data={"data": ("data",)})


def study(**changed) -> Study:
    values = {
        "question": "Do <more> steps help?",
        "rows": (row("long", 30), row("short", 20)),
        "refused": {},
        "seeds": (0, 1, 2),
        "evaluation": EvaluationConfig(suites=("reach",)),
        "evaluation_arguments": ("--suites", "reach"),
        "claims": (Claim(better="long", worse="short", source="Fig. 7"),),
    }
    return Study(**(values | changed))


def play(folder: Path, results: Path, outcomes: str, data: str = "a") -> None:
    """`outcomes` such as "110": a digit per trial."""
    results.mkdir(parents=True)
    lines = [
        result_line(replace(RESULT, trial=trial, success=digit == "1"))
        for trial, digit in enumerate(outcomes)
    ]
    (results / "results.jsonl").write_text("".join(lines))
    (folder / "data.json").write_text(json.dumps({"parts": data}))


def played(asked: Study, runs: Path, rates: dict[str, list[float]], **problems: str):
    trainings = asked.trainings(runs)
    for each in trainings:
        successes = round(rates[each.row.name][each.seed] * TRIALS)
        play(each.folder, each.results, "1" * successes + "0" * (TRIALS - successes))
    return trainings, lambda: find_out(asked, trainings, problems, "reach", TRIALS)


@pytest.mark.parametrize(
    ("long", "verdict"),
    [([0.9, 0.85, 0.95], "supported"), ([0.1, 0.2, 0.15], "contradicted"), ([0.2, 0.5, 0.9], "open")],
)
def test_a_claim_is_supported_or_contradicted_only_if_the_interval_leaves_out_zero(tmp_path, long, verdict):
    _, look = played(study(), tmp_path, {"long": long, "short": [0.5, 0.45, 0.55]})
    found = look()
    (claim,) = found.claims
    assert claim.verdict == verdict
    assert claim.difference is not None
    assert claim.difference.value == pytest.approx(sum(long) / 3 - 0.5)
    assert found.missing == ()
    assert f"long better than short | Fig. 7 | {claim.difference} | {verdict} |" in found.to_markdown()


@pytest.mark.parametrize(
    ("steps", "verdict", "shown"),
    [
        (((10, 10, 20), (60, 60, 70)), "supported", "5.01 times as many steps"),
        (((60, 60, 70), (10, 10, 20)), "contradicted", "0.20 times"),
        (((10, 20, 90), (20, 30, 60)), "open", "1.26 times"),
        (((10, 10, None), (60, 60, 70)), "open", "-"),
    ],
)
def test_a_claim_to_learn_faster_is_about_steps_to_a_success_rate(tmp_path, steps, verdict, shown):
    asked = study(claims=(Claim(better="long", worse="short", target=0.5),))
    trainings, look = played(asked, tmp_path, {"long": [0.6] * 3, "short": [0.6] * 3})
    for each in trainings:
        reached = steps[each.row.name == "short"][each.seed]
        lines = [
            {"step": 5, "success_rate": 0.2},
            {"step": reached or 95, "success_rate": 0.6 if reached else 0.4},
        ]
        (each.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = look()
    assert found.claims[0].verdict == verdict
    assert str(found.claims[0]).startswith(shown)
    assert "long sooner at 50 % than short" in found.to_markdown()
    assert (
        "long sooner at 50 % than short"
        in write_study_page(tmp_path / "page.html", found.to_dict()).read_text()
    )


def test_one_seed_leaves_every_claim_open(tmp_path):
    _, look = played(study(seeds=(0,)), tmp_path, {"long": [1.0], "short": [0.0]})
    assert look().claims[0].verdict == "open"


def test_a_training_that_is_not_played_to_the_end_counts_for_nothing_and_is_named(tmp_path):
    trainings, look = played(study(), tmp_path, {"long": [0.5] * 3, "short": [0.5] * 3})
    file = trainings[0].results / "results.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    found = look()
    assert found.missing == (f"long, seed 0: 3 of {TRIALS} episodes are played",)
    assert [bool(each.problem) for each in found.rows[0].trainings] == [True, False, False]
    assert found.rows[0].success is not None
    assert found.rows[0].success.value == 0.5


def test_a_data_set_that_changed_while_the_study_ran_is_named(tmp_path):
    trainings, look = played(study(), tmp_path, {"long": [0.5] * 3, "short": [0.5] * 3})
    (trainings[3].folder / "data.json").write_text(json.dumps({"parts": "b"}))
    (said,) = look().missing
    assert said.startswith("short, seed 1: it learned from other data than the row's first seed")


def test_what_failed_and_what_cannot_be_built_is_on_the_page_beside_what_was_found(tmp_path):
    asked = study(refused={"odd": "policy_head.gate: expected none, got <b>"})
    trainings, _ = played(asked, tmp_path, {"long": [0.5] * 3, "short": [0.5] * 3})
    found = find_out(asked, trainings, {"short, seed 2": "out of memory"}, "reach", TRIALS)
    page = write_study_page(tmp_path / "study.html", json.loads(json.dumps(found.to_dict()))).read_text()
    assert "Do &lt;more&gt; steps help?" in page
    assert "odd: policy_head.gate: expected none, got &lt;b&gt;" in page
    assert "short, seed 2: out of memory" in page
    assert "20/40 (left out)" in page
    assert "open" in page


def test_a_row_that_is_another_by_another_name_is_found():
    assert repeated((row("long", 30), row("short", 20), row("again", 30))) == {
        "again": "the same experiment as 'long'"
    }


def test_claims_about_no_row_and_repeated_seeds_are_refused():
    with pytest.raises(
        ConfigurationError, match=r"claims: expected names of rows \(long, short\), got 'tall'"
    ):
        study(claims=(Claim(better="tall", worse="short"),))
    with pytest.raises(ConfigurationError, match="seeds: expected one or more, each once"):
        study(seeds=(1, 1))


def test_equal_trainings_of_two_studies_are_one_and_others_are_not(tmp_path):
    one, other = study(), study(rows=(row("thirty", 30),), claims=())
    folders = [each.folder for each in one.trainings(tmp_path)]
    assert [each.folder for each in other.trainings(tmp_path)] == folders[::2]
    assert len(set(folders)) == 6
    elsewhere = replace(row("long", 30), data={"data": ("others",)})
    assert study(rows=(elsewhere,), claims=()).trainings(tmp_path)[0].folder not in folders
    longer = study(evaluation=EvaluationConfig(suites=("reach",), trials=7))
    assert [each.folder for each in longer.trainings(tmp_path)] == folders
    assert longer.trainings(tmp_path)[0].results != one.trainings(tmp_path)[0].results
