import base64
import dataclasses
import hashlib
import json
import re

import pytest
from safetensors.torch import load_file, save_file

from focusvla.errors import CheckpointError, ConfigurationError, DataError, StorageError
from focusvla.evaluation.results import PERTURBED, VISION_BLIND, read_results, result_line
from focusvla.visualization.focus_pictures import choose_moments
from focusvla.visualization.report import Evaluation, TrainingRun, write_report
from focusvla.visualization.report_contents import read_evaluation, verdict
from html_page import Page

SECTIONS = ["success", "tasks", "training", "episodes", "focus", "demonstrations", "provenance"]
NINE_OF_TEN = [True] * 9 + [False]
ONE_OF_TEN = [True] + [False] * 9


@pytest.fixture
def save_page(
    tmp_path,
    experiment,
    blind_experiment,
    save_run,
    save_evaluation,
    save_drawing,
    save_observations,
    save_demonstrations,
):
    """Write the page of a complete comparison."""

    def save(**changes) -> Page:
        runs = [save_run("mini", experiment), save_run("mini blind", blind_experiment)]
        evaluations = [
            save_evaluation(
                "standard",
                "libero_openvla",
                NINE_OF_TEN,
                checkpoint=runs[0].path / "checkpoints/step-00000020",
            ),
            save_evaluation("wide", "libero_wide", [*NINE_OF_TEN, False], error="Traceback: <MuJoCo> fell"),
            save_evaluation("wide-blind", "libero_wide", ONE_OF_TEN, is_blind=True),
        ]
        save_drawing(evaluations[0], 0, True)
        save_drawing(evaluations[0], 9, False)
        save_observations(evaluations[0])
        values = {
            "title": "A <i>tiny</i> report",
            "runs": runs,
            "evaluations": evaluations,
            "demonstrations": save_demonstrations(),
            "checkpoint": runs[0].path,
        }
        return Page(write_report(tmp_path / "out" / "report.html", **values | changes))

    return save


def test_the_page_has_every_section_and_closes_what_it_opens(save_page):
    page = save_page()
    assert [attributes["id"] for attributes in page.all("section")] == SECTIONS
    assert page.open == []
    assert 'class="robustness"' not in page.source  # where nothing was changed
    assert {link["href"] for link in page.all("a")} >= {f"#{section}" for section in SECTIONS}


def test_the_page_needs_no_network_and_runs_its_own_script_only(save_page):
    page = save_page()
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "poster", "data"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, name)
    assert "https:" not in page.source
    assert re.findall(r"http:[^\"]*", page.source) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert not re.search(r"url\(|@import", page.source)
    own = [script for script in page.all("script") if script.get("type") != "application/json"]
    assert own == [{}]


def test_the_page_s_policy_allows_its_own_style_and_script_and_no_connection(save_page):
    page = save_page()
    (policy,) = (e["content"] for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    allowed = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert allowed["default-src"] == "'none'"
    assert "connect-src" not in allowed
    for tag in ("style", "script"):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page.source, re.DOTALL)
        assert text is not None
        digest = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert allowed[f"{tag}-src"] == f"'sha256-{digest}'"


def test_the_numbers_are_those_of_the_results(save_page):
    page = save_page()
    assert "90.0 % 9 of 10 episodes, 95 % interval 59.6 to 98.2" in page.text("success")
    assert "10.0 % 1 of 10 episodes, 95 % interval 1.8 to 40.4" in page.text("success")
    assert (
        "90.0 % 9/10, 59.6 to 98.2 90.0 % 9/10, 59.6 to 98.2, 1 broken 10.0 % 1/10, 1.8 to 40.4"
        in page.text("tasks")
    )
    assert [bar["width"] for bar in page.all("rect")] == ["90.0%", "90.0%", "10.0%"]


def test_what_was_changed_or_kept_from_the_policy_has_a_table_of_its_own(save_page, save_evaluation):
    evaluation = save_evaluation("robust", "libero_openvla", NINE_OF_TEN)
    results = evaluation.results / "results.jsonl"
    clean = read_results(results)
    changed = [
        dataclasses.replace(each, condition=condition, perturbation=name, success=each.trial < 3)
        for each in clean
        for condition, name in (
            (VISION_BLIND, ""),
            (PERTURBED, f"lift_the_cup_view_{each.trial + 1}_0_100_0_0_initstate_0"),
        )
    ]
    results.write_text("".join(map(result_line, [*clean, *changed])))
    page = save_page(evaluations=[evaluation])
    assert "90.0 % 9 of 10 episodes" in page.text("success")  # which are the clean ones
    tasks = page.text("tasks")
    assert "another episode's pictures 30.0 % 3/10, 10.8 to 60.3 -60.0 (-80.9 to -17.1)" in tasks
    assert "Plus: Camera 30.0 % 3/10, 10.8 to 60.3" in tasks
    elsewhere = [dataclasses.replace(each, suite="not_installed_here") for each in read_results(results)]
    results.write_text("".join(map(result_line, elsewhere)))
    assert read_evaluation(evaluation).robustness is None


def test_the_headline_says_that_the_policy_looks_if_its_interval_lies_above_the_blind_one_s(save_page):
    page = save_page()
    assert page.text("success").startswith("This policy looks.")
    assert "9 of 10 episodes (90.0 %, 59.6 to 98.2); blind, in 1 of 10 episodes" in page.text("success")


def test_the_instruction_the_title_and_the_traceback_are_escaped(save_page):
    page = save_page()
    assert "pick up the &lt;b&gt;ketchup&lt;/b&gt; &amp; place it" in page.source
    assert "pick up the <b>ketchup</b> & place it in the basket" in page.text("tasks")
    assert page.text("header").startswith("Skip to the results A <i>tiny</i> report")
    assert "Traceback: <MuJoCo> fell" in page.text("tasks")
    assert "1 of 11 episodes broke and are not counted: FocusVLA, widened starts" in page.text("tasks")


def test_the_training_section_shows_curves_and_last_values_of_both_runs(save_page):
    page = save_page()
    assert len(page.all("polyline")) == 4
    assert "mini blind, validation" in page.text("training")
    assert "mini blind 20 of 20 4 0 0.0500 0.1234" in page.text("training")


def test_the_episodes_are_inside_the_page_failures_first(save_page):
    page = save_page()
    episodes = page.json()
    assert [(episode["trial"], episode["success"]) for episode in episodes] == [(9, False), (0, True)]
    assert base64.b64decode(episodes[0]["video"])[4:8] == b"ftyp"
    assert (episodes[0]["stepsPerFrame"], episodes[0]["steps"]) == (4, 40)
    assert episodes[0]["asked"] == [0, 8, 16, 24, 32]
    assert [curve["name"] for curve in episodes[0]["actions"]][-1] == "gripper"
    assert episodes[0]["actions"][0]["values"] == list(range(40))
    assert episodes[0]["states"][0]["values"][-1] == 4.0
    assert episodes[0]["focus"] is None
    assert episodes[0]["noFocusBecause"] == "The evaluation did not keep what the policy saw here."
    assert episodes[1]["focus"]["shape"] == [5, 3, 3, 32]
    assert len(base64.b64decode(episodes[1]["focus"]["attention"])) == 5 * 3 * 3 * 32
    assert "2 of 2 episodes with a video are on this page" in page.text("episodes")


def test_no_more_episodes_are_on_the_page_than_asked_for(save_page):
    page = save_page(max_episodes=1)
    assert [episode["trial"] for episode in page.json()] == [9]
    assert "1 of 2 episodes with a video are on this page" in page.text("episodes")


def test_the_focus_pictures_show_three_moments_of_two_cameras_in_three_ways(save_page):
    page = save_page()
    assert len(page.all("img")) == 3 * 2 * 3
    assert all(
        image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in page.all("img")
    )
    assert "keeps 9 of 32 patches" in page.text("focus")
    assert "Middle inference 3 of 5" in page.text("focus")
    assert "Observations of FocusVLA, standard starts, trial 0." in page.text("focus")
    shares = [float(share) for share in re.findall(r"attention \(([\d.]+) % of all", page.text("focus"))]
    assert sum(shares[:2]) == pytest.approx(100, abs=0.11)
    kept = [float(share) for share in re.findall(r"kept \(([\d.]+) % of its", page.text("focus"))]
    assert sum(kept[:2]) / 2 == pytest.approx(100 * 9 / 32, abs=0.11)


def test_observations_of_another_checkpoint_are_said_to_be(save_page, save_run, experiment, tmp_path):
    other = save_run("other", experiment).path
    weights = other / "checkpoints" / "step-00000020" / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights)
    page = save_page(checkpoint=other)
    assert "standard starts, played by another checkpoint, trial 0." in page.text("focus")


def test_results_of_a_policy_in_bfloat16_are_its_checkpoint_s_own(
    tmp_path, experiment, save_run, save_evaluation, save_drawing, save_observations
):
    checkpoint = save_run("mini", experiment).path / "checkpoints/step-00000020"
    evaluation = save_evaluation("gpu", "libero_openvla", [True], checkpoint=checkpoint, precision="bfloat16")
    save_drawing(evaluation, 0, True)
    save_observations(evaluation)
    page = Page(
        write_report(tmp_path / "out.html", title="GPU", evaluations=[evaluation], checkpoint=checkpoint)
    )
    assert "Observations of FocusVLA, standard starts, trial 0." in page.text("focus")
    assert (
        "The evaluated checkpoint" not in page.source
    )  # neither changed nor gone: the browser shows where it looked


def test_the_page_says_what_was_run(save_page):
    page = save_page()
    text = page.text("provenance")
    assert r"focusvla demonstrate \ --output" in text
    assert r"--tasks 3 \ --episodes-per-task 5 \ --seed 77 focusvla train mini" in text
    assert r"--protocol libero_wide \ --tasks 3 \ --trials 10 \ --actions-per-inference 8" in text
    assert "VLA-Adapter's run_libero_eval.py" in text
    assert "seeds 1000000 to 1000009" in text
    assert "Training of mini; Training of mini blind torch 9.8.7 commit not there" in text
    assert "5 7 71.4 %" in page.text("demonstrations")


def test_the_page_is_small_and_nothing_half_written_lies_beside_it(save_page, tmp_path):
    page = save_page()
    assert len(page.source) < 2_000_000
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]


def test_a_page_without_anything_says_so_in_each_section(tmp_path):
    page = Page(write_report(tmp_path / "report.html", title="Empty"))
    assert [attributes["id"] for attributes in page.all("section")] == SECTIONS
    assert page.text("success").startswith("Not tested: does this policy look?")
    for section, sentence in {
        "success": "No evaluation was given.",
        "tasks": "No episode has been evaluated.",
        "training": "No training run was given.",
        "episodes": "No videos were drawn.",
        "focus": "No checkpoint was given to draw them with.",
        "demonstrations": "No data set was given.",
    }.items():
        assert sentence in page.text(section)


def test_an_evaluation_that_has_just_begun_is_shown_without_a_rate(tmp_path, save_evaluation):
    begun = save_evaluation("standard", "libero_openvla", [])
    page = Page(write_report(tmp_path / "report.html", title="Begun", evaluations=[begun]))
    assert "No episode has ended yet." in page.text("success")
    assert "%" not in page.text("tasks")


def test_a_blind_checkpoint_has_no_focus_pictures(save_page, save_run, blind_experiment):
    page = save_page(checkpoint=save_run("other", blind_experiment).path)
    assert "The checkpoint is vision-blind" in page.text("focus")
    assert page.all("img") == []


def test_observations_that_were_not_saved_are_left_out(save_page, save_run, experiment, save_evaluation):
    page = save_page(
        evaluations=[save_evaluation("bare", "libero_openvla", [True])],
        checkpoint=save_run("other", experiment).path,
    )
    assert "No evaluation here saved what its policy saw." in page.text("focus")


def test_a_data_set_from_elsewhere_has_no_attempts_to_count(tmp_path):
    page = Page(write_report(tmp_path / "report.html", title="Elsewhere", demonstrations=tmp_path))
    assert "was not recorded by `focusvla demonstrate`" in page.text("demonstrations")


def test_a_run_without_metrics_yet_is_named_without_a_curve(tmp_path, save_run, experiment):
    run = save_run("mini", experiment)
    (run.path / "metrics.jsonl").unlink()
    page = Page(write_report(tmp_path / "report.html", title="Begun", runs=[run]))
    assert "Nothing has been logged yet." in page.text("training")
    assert "mini 0 of 20 4 0 none none" in page.text("training")


def test_overlapping_intervals_do_not_show_that_the_policy_looks(save_evaluation):
    seeing = read_evaluation(save_evaluation("wide", "libero_wide", [True, True, False, False]))
    blind = read_evaluation(
        save_evaluation("blind", "libero_wide", [True, False, False, False], is_blind=True)
    )
    assert verdict([seeing, blind]).headline == "Not shown: that this policy looks"
    assert not verdict([seeing, blind]).is_shown


def test_standard_starts_are_no_evidence_of_looking(save_evaluation):
    seeing = read_evaluation(save_evaluation("standard", "libero_openvla", NINE_OF_TEN))
    blind = read_evaluation(save_evaluation("blind", "libero_openvla", ONE_OF_TEN, is_blind=True))
    assert verdict([seeing, blind]).headline == "Not tested: does this policy look?"


def test_different_episodes_are_not_compared(save_evaluation):
    seeing = read_evaluation(save_evaluation("wide", "libero_wide", [True] * 10))
    blind = read_evaluation(save_evaluation("blind", "libero_wide", [False] * 9, is_blind=True))
    assert verdict([seeing, blind]).headline == "No verdict: the two evaluations differ"
    assert "10 and 9 episodes" in verdict([seeing, blind]).explanation


def test_an_evaluation_can_be_named_by_its_folder_alone(
    save_evaluation, save_run, experiment, blind_experiment
):
    seeing, blind = save_run("mini", experiment).path, save_run("blind", blind_experiment).path
    standard = save_evaluation("standard", "libero_openvla", [True], checkpoint=seeing)
    wide = save_evaluation("wide", "libero_wide", [True], is_blind=True, checkpoint=blind)
    assert Evaluation.from_results(standard.results) == standard
    assert Evaluation.from_results(wide.results) == wide


@pytest.mark.parametrize(
    ("num_inferences", "expected"),
    [
        (9, [("early", 0), ("middle", 4), ("late", 8)]),
        (2, [("early", 0), ("late", 1)]),
        (1, [("early", 0)]),
    ],
)
def test_the_first_the_middle_and_the_last_inference_are_chosen(num_inferences, expected):
    assert choose_moments(num_inferences) == expected


def test_damaged_results_are_an_error_that_names_the_line(tmp_path, save_evaluation):
    evaluation = save_evaluation("standard", "libero_openvla", [True])
    (evaluation.results / "results.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"results\.jsonl, line 1: expected an episode's result"):
        write_report(tmp_path / "report.html", title="Damaged", evaluations=[evaluation])
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_is_no_training_run_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"experiment\.json: expected a JSON file, .*Give the folder that `focusvla train`"
    ):
        write_report(tmp_path / "report.html", title="Wrong", runs=[TrainingRun(name="mini", path=tmp_path)])


def test_damaged_metrics_and_versions_are_named(tmp_path, save_run, experiment):
    run = save_run("mini", experiment)
    versions = run.path / "checkpoints" / "step-00000020" / "versions.json"
    versions.unlink()
    with pytest.raises(CheckpointError, match=r"versions\.json: cannot be read"):
        write_report(tmp_path / "report.html", title="Damaged", runs=[run])
    (run.path / "metrics.jsonl").write_text("half\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl: expected a JSON object a line"):
        write_report(tmp_path / "report.html", title="Damaged", runs=[run])


def test_a_protocol_or_summary_without_its_fields_is_named(tmp_path, save_evaluation, save_demonstrations):
    evaluation = save_evaluation("standard", "libero_openvla", [True])
    (evaluation.results / "protocol.json").write_text('{"name": "libero_openvla"}')
    with pytest.raises(
        DataError, match=r"got none of checkpoint, displacement_meters, source\. Run the same"
    ):
        write_report(tmp_path / "report.html", title="Damaged", evaluations=[evaluation])
    data = save_demonstrations()
    (data / "meta" / "demonstrations.json").write_text(json.dumps({"config": {}}))
    with pytest.raises(
        DataError, match=r"demonstrations\.json: expected the fields config, tasks, got none of tasks"
    ):
        write_report(tmp_path / "report.html", title="Damaged", demonstrations=data)
    with pytest.raises(DataError, match=r"demonstrations=.*nowhere: expected the folder of a data set"):
        write_report(tmp_path / "report.html", title="Damaged", demonstrations=tmp_path / "nowhere")


def test_observations_without_a_camera_are_named(
    tmp_path, save_evaluation, save_observations, save_run, experiment
):
    evaluation = save_evaluation("standard", "libero_openvla", [True])
    save_observations(evaluation).write_bytes(b"damaged")
    run = save_run("mini", experiment)
    with pytest.raises(
        DataError,
        match=r"libero_object-task-003-trial-000\.safetensors: expected images of image, image2 and states",
    ):
        write_report(tmp_path / "report.html", title="Damaged", evaluations=[evaluation], checkpoint=run.path)


def test_two_evaluations_of_one_name_are_refused(tmp_path, save_evaluation):
    twice = [save_evaluation(name, "libero_openvla", [True]) for name in ("a", "b")]
    with pytest.raises(
        ConfigurationError, match=r"evaluations: expected distinct names, got 'FocusVLA, standard starts'"
    ):
        write_report(tmp_path / "report.html", title="Twice", evaluations=twice)


def test_a_folder_in_place_of_the_page_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"expected a file, got a folder\. Choose .*page\.html"):
        write_report(tmp_path, title="Folder")


def test_an_unfinished_evaluation_says_how_many_episodes_of_how_many_are_there(save_evaluation, tmp_path):
    begun = save_evaluation("begun", "libero_openvla", [True, False])
    rules = begun.results / "protocol.json"
    rules.write_text(json.dumps(json.loads(rules.read_text()) | {"planned": 30}))
    page = Page(write_report(tmp_path / "report.html", title="Begun", evaluations=[begun]))
    assert "FocusVLA, standard starts is unfinished:" in page.text("tasks")
    assert "2 of 30 episodes are there" in page.text("tasks")
