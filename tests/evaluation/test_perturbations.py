"""LIBERO-Plus's tasks are episodes of the tasks that they change, and are told apart by what they change."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("libero", reason="needs the extra `libero`")

from episode_results import episode_result
from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.agenda import plan_episodes
from focusvla.evaluation.episodes import PlannedEpisode
from focusvla.evaluation.perturbations import (
    chosen_plus_tasks,
    render_perturbations,
    score_perturbations,
)
from focusvla.evaluation.results import PARAPHRASED, PERTURBED, EpisodeResult, read_results
from focusvla.evaluation.tables import table_of_robustness
from focusvla.simulation.libero_tasks import benchmark_of
from focusvla.suites import protocol
from plus_folder import NAMES, STOVE, write_plus

RULES = protocol("libero_openvla")
LAYOUT = f"init_files/libero_newobj/libero_goal/{STOVE}_moved_level2_sample1.pruned_init"


def write_state(path: Path, state: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)


@pytest.fixture
def folder(tmp_path):
    write_state(tmp_path / LAYOUT, np.arange(79.0))
    return write_plus(tmp_path)


@pytest.fixture
def config(folder):
    return EvaluationConfig(
        suites=("libero_goal",), tasks=(1, 7), trials=1, robustness=("plus",), plus_folder=folder
    )


def played(planned: PlannedEpisode, success: bool) -> EpisodeResult:
    return episode_result(
        suite=planned.suite,
        task=planned.task,
        trial=planned.trial,
        condition=planned.condition,
        words=planned.words,
        perturbation=planned.perturbation,
        success=success,
    )


def test_each_task_is_an_episode_of_the_task_that_it_changes_from_its_first_start(config):
    planned = plan_episodes(config, RULES)
    assert [(p.task, p.trial) for p in planned if not p.condition] == [(1, 0), (7, 0)]
    changed = [p for p in planned if p.condition]
    assert {p.condition for p in changed} == {PERTURBED}
    assert {(p.task, p.trial) for p in changed} == {(1, 0), (7, 0)}
    assert {p.perturbation for p in changed} == {
        name for name in NAMES if not any(kind in name for kind in ("_light", "_table", "_tb_", "_add"))
    }
    assert len({p.name for p in planned}) == len(planned)
    for each in changed:
        assert each.changed is not None
        assert each.changed.name == each.perturbation
        assert PlannedEpisode.of(played(each, True)) == each
    layout = next(p.changed for p in changed if p.changed and "moved" in p.perturbation)
    assert layout.simulator_state == tuple(range(79))


def test_words_are_as_published_or_the_tasks_own(config):
    def words(choice):
        planned = plan_episodes(dataclasses.replace(config, plus_words=choice), RULES)
        return {p.perturbation: p.words for p in planned if p.condition}

    assert words("published")[NAMES[0]].endswith("view 318 15 100 0 0 initstate 0")
    clean = words("clean")
    planned = (
        plan_episodes(dataclasses.replace(config, plus_words=w), RULES) for w in ("published", "clean")
    )
    assert len({p.name for each in planned for p in each if p.perturbation == NAMES[0]}) == 2
    assert [name for name, said in clean.items() if said] == [
        f"{STOVE}_language_3_view_0_0_100_0_0_initstate_0"
    ]


def test_a_sample_is_even_over_what_is_changed(config):
    sample = chosen_plus_tasks(dataclasses.replace(config, plus_sample=5))
    assert {task.axis for task in sample} == {"camera", "robot", "noise", "language", "layout"}
    with pytest.raises(ConfigurationError, match="plus_sample=8: expected at most 7"):
        chosen_plus_tasks(dataclasses.replace(config, plus_sample=8))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"plus_sample": 3}, "plus_sample: expected none without --robustness plus"),
        ({"plus_folder": Path("here"), "robustness": ("pro",)}, "plus_folder: expected none without"),
        ({"paraphrase_sample": 3}, "paraphrase_sample: expected none without --paraphrases"),
    ],
)
def test_what_is_said_of_a_benchmark_that_is_not_played_is_refused_and_not_passed_over(given, said):
    with pytest.raises(ConfigurationError, match=said):
        EvaluationConfig(**given)


def test_what_cannot_be_played_so_is_refused(config, folder):
    for name in ("libero_validation", "libero_wide", "libero_disturbed"):
        with pytest.raises(ConfigurationError, match=f"protocol '{name}' does not play these as they are"):
            plan_episodes(config, protocol(name))
    with pytest.raises(ConfigurationError, match="for LIBERO-Plus, got libero_90"):
        plan_episodes(dataclasses.replace(config, suites=("libero_90",)), RULES)
    with pytest.raises(ConfigurationError, match=r"robustness.*LIBERO-Para's table with `para`"):
        dataclasses.replace(config, robustness=("para",))
    write_plus(folder, ("fold_the_towel_view_1_0_100_0_0_initstate_0",))
    with pytest.raises(ConfigurationError, match="'fold_the_towel', which libero_goal has not"):
        plan_episodes(dataclasses.replace(config, tasks=()), RULES)


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("made_by_a_pickle"),)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (Hostile(), "Nothing in it was run"),
        (np.array([0.0, np.nan]), "finite numbers"),
        (np.zeros(20_000), "finite numbers, got 20000"),
        ({"state": 1}, "Nothing in it was run"),
    ],
)
def test_a_state_that_is_none_is_refused_and_not_run(config, folder, state, said, monkeypatch):
    monkeypatch.chdir(folder)
    write_state(folder / LAYOUT, state)
    with pytest.raises(DataError, match=said):
        plan_episodes(config, RULES)
    assert not (folder / "made_by_a_pickle").exists()
    (folder / LAYOUT).write_bytes(b"no state")
    with pytest.raises(DataError, match="expected a simulator's state"):
        plan_episodes(config, RULES)


def test_scores_are_by_axis_and_difficulty_with_what_is_missing_beside_published_ones(config):
    tasks = chosen_plus_tasks(config)
    planned = [p for p in plan_episodes(config, RULES) if p.condition]
    results = [played(p, "318" in p.perturbation or "language" in p.perturbation) for p in planned]
    scores = {score.axis: score for score in score_perturbations(results, tasks)}
    assert str(scores["camera"].success).startswith("1/3")
    assert str(scores["language"].success).startswith("1/1")
    assert scores["light"].success.episodes == 0
    assert {level: rate.episodes for level, rate in scores["camera"].by_level.items()} == {1: 2}
    assert scores["background"].missing == {"assets/scenes": 1, "assets of its walls and floors": 1}
    shown = render_perturbations([*scores.values()])
    assert "LIBERO-Plus, 7 of 11 tasks" in shown
    assert "Not played: 1 of Light, which need assets/scenes/lights." in shown
    camera = next(line for line in shown.splitlines() if line.startswith("| Camera"))
    assert "3 of 3" in camera
    assert "| OpenVLA-OFT | 56.4 | 31.9 |" in shown
    assert json.dumps([score.to_dict() for score in scores.values()])


def test_one_table_holds_all_benchmarks_of_robustness(config):
    planned = plan_episodes(config, RULES)
    other = PlannedEpisode("libero_goal", 7, 0, PARAPHRASED, "switch it on")
    table = table_of_robustness([played(p, True) for p in [*planned, other]])
    assert [*table.rows] == [
        "clean",
        "Plus: Camera",
        "Plus: Robot",
        "Plus: Language",
        "Plus: Noise",
        "Plus: Layout",
        "Para: other words",
    ]
    rate = table.rows["Plus: Camera"][0].rate
    assert rate is not None
    assert rate.episodes == 3


POLICY = """
import numpy as np
from focusvla.suites.libero import libero_spec
class Opens:
    spec = libero_spec(64)
    cameras, chunk_length, remembers = ("image", "image2"), 8, False
    seen = []
    def reset(self): pass
    def infer(self, observation):
        with open("seen.txt", "a") as file:
            print(observation.instruction, observation.images["image"].shape, file=file)
        return np.tile(np.float32([0, 0, 0, 0, 0, 0, -1]), (8, 1))
"""


@pytest.mark.simulator
@pytest.mark.slow
def test_they_are_played_and_what_is_known_is_not_played_again(config, folder, monkeypatch):
    """One task, in each way that needs no assets; noise is drawn at its own size and shown at 64 pixels."""
    from focusvla.evaluation.evaluate import evaluate
    from focusvla.evaluation.foreign import foreign_source

    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    (folder / "opening_policy.py").write_text(POLICY)
    stove = benchmark_of("libero_goal")
    write_state(folder / LAYOUT, stove.get_task_init_states(7)[3])
    from focusvla.simulation.environment import suite_task
    from focusvla.simulation.libero_tasks import bddl_file

    own = Path(bddl_file(suite_task("libero_goal", 7))).read_text("utf-8")
    chosen = [name for name in NAMES if any(kind in name for kind in ("_noise", "_language", "_moved"))]
    write_plus(folder, tuple(chosen))
    (folder / f"bddl_files/libero_goal/{STOVE}_moved_level2_sample1.bddl").write_text(own)
    config = dataclasses.replace(config, tasks=(7,), workers=1, videos=False)
    source = foreign_source("opening_policy:Opens", config)
    results = evaluate(source, config, folder / "results")
    assert [result.error for result in results] == [""] * 4
    again = read_results(folder / "results/results.jsonl")
    assert [result.perturbation for result in again if result.condition] == chosen
    said = (folder / "seen.txt").read_text().splitlines()
    assert {"switch the cooker on (64, 64, 3)", "turn on the stove (64, 64, 3)"} <= {*said}
    evaluate(source, config, folder / "results")
    assert (folder / "seen.txt").read_text().splitlines() == said
