"""The agenda hands jobs out so that environments are built seldom, and holds back what waits for others."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError
from focusvla.evaluation.agenda import Agenda, axis_of, plan_episodes
from focusvla.evaluation.scheduler import Job
from focusvla.simulation.environment import suite_task, suite_tasks
from focusvla.suites import clean_task, protocol, suites, task_in_variant


def job(group: str, number: int) -> Job:
    return Job(method="begin", arguments=(), group=group, label=f"{group}{number}")


def taken(agenda: Agenda, last_group: str | None, at_work: tuple[str, ...] = ()) -> str | None:
    found = agenda.next_job(last_group, at_work)
    return found.label if found else None


def test_a_player_goes_on_with_its_group_and_the_next_one_begins_another():
    agenda = Agenda()
    for group, count in (("a", 3), ("b", 2)):
        for number in range(count):
            agenda.add(job(group, number))
    assert [taken(agenda, None), taken(agenda, None, ("a",))] == ["a0", "b0"]
    assert [taken(agenda, "a"), taken(agenda, "a"), taken(agenda, "b")] == ["a1", "a2", "b1"]
    assert taken(agenda, "a") is None


def test_players_help_where_most_is_left_per_player():
    agenda = Agenda()
    for group, count in (("a", 8), ("b", 2)):
        for number in range(count):
            agenda.add(job(group, number))
    assert [taken(agenda, None), taken(agenda, None)] == [
        "a0",
        "a1",
    ]  # 7 jobs for two players before 2 for one


def test_the_group_is_that_of_the_most_jobs_per_player_whatever_came_and_went():
    """Against looking at all groups, each time."""
    rng, agenda = np.random.default_rng(0), Agenda()
    left: dict[str, list[str]] = {}
    for number in range(3000):
        group = f"{rng.integers(12)}."
        if rng.random() < 0.45:
            added = job(group, number)
            agenda.add(added)
            left.setdefault(group, []).append(added.label)
            continue
        at_work = [f"{place}." for place in rng.integers(12, size=rng.integers(5))]
        if group in left:
            wanted = group
        elif left:
            wanted = max(left, key=lambda g: len(left[g]) / (1 + at_work.count(g)))
        else:
            assert taken(agenda, group, tuple(at_work)) is None
            continue
        assert taken(agenda, group, tuple(at_work)) == left[wanted].pop(0)
        if not left[wanted]:
            del left[wanted]


def test_urgent_jobs_come_first_in_their_group():
    agenda = Agenda()
    agenda.add(job("a", 0))
    agenda.add(job("a", 1), urgent=True)
    assert taken(agenda, None) == "a1"


def test_what_waits_for_others_is_made_when_they_have_ended():
    agenda, made = Agenda(), []
    agenda.add(job("a", 0))
    agenda.add_after(["a0", "not on the agenda"], lambda: made.append(1) or [job("a", 9)])
    assert taken(agenda, None) == "a0"
    assert (taken(agenda, "a"), made) == (None, [])
    agenda.ended("a0")
    assert (taken(agenda, None), made) == ("a9", [1])


def test_what_waits_for_nothing_is_there_at_once():
    agenda = Agenda()
    agenda.add_after([], lambda: [job("a", 9)])
    assert taken(agenda, None) == "a9"


def test_what_a_variant_changes_is_said_in_words():
    assert axis_of("libero_goal", "") == "clean"
    assert axis_of("libero_10_with_mug", "") == "with a mug"
    assert axis_of("libero_object_lan", "") == "other words"
    assert axis_of("libero_object", "vision_blind") == "another episode's pictures"


@pytest.mark.simulator
def test_robustness_brings_each_suites_complete_variants_and_two_controls():
    config = EvaluationConfig(
        suites=("libero_spatial", "libero_object"), tasks=(2,), trials=12, robustness=("pro",)
    )
    planned = plan_episodes(config, protocol("libero_openvla"))
    counts = Counter((episode.suite, episode.condition) for episode in planned)
    assert counts["libero_object", ""] == counts["libero_object_swap", ""] == 12
    assert counts["libero_object", "vision_blind"] == counts["libero_spatial", "language_blind"] == 12
    assert counts["libero_spatial_with_milk", ""] == 10  # it has no more init states
    assert ("libero_object_with_milk", "") not in counts
    assert len(counts) == (1 + 7 + 2) + (1 + 6 + 2)


@pytest.mark.simulator
def test_what_cannot_be_planned_is_named():
    rules = protocol("libero_openvla")
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"suites": ("libero_objct",)}, "did you mean 'libero_object'"),
        ({"tasks": (12,)}, r"task=12: expected 0\.\.9"),
        ({"trials": 51}, "trials=51: expected at most 50, the init states of libero_object task 0"),
        ({"trials": 1, "robustness": ("pro",)}, "expected at least 2, since a vision-blind policy"),
        (
            {"suites": ("libero_90",), "robustness": ("pro",)},
            "robustness: expected suites among libero_spatial",
        ),
        ({"suites": ("aloha",)}, "covers libero_spatial.*, libero_90. Name another, or none"),
    ]
    for wrong, message in wrongs:
        with pytest.raises(ConfigurationError, match=message):
            plan_episodes(EvaluationConfig(**wrong), rules)


@pytest.mark.simulator
def test_variants_with_words_of_their_own_say_them_and_the_others_what_policies_were_trained_on():

    instructions = [
        suite_task(f"libero_object{end}", 0).instruction for end in ("", "_swap", "_lan", "_task")
    ]
    assert instructions == [
        "pick up the alphabet soup and place it in the basket",
        "pick up the alphabet soup and place it in the basket",
        "grab alphabet soup and put it into basket",
        "pick the cream cheese and place it in the basket",
    ]


@pytest.mark.simulator
@pytest.mark.parametrize("suite", [name for name, row in suites().items() if row.variants])
def test_a_variant_asks_for_the_same_thing_whatever_its_number(suite):
    """All but those that change words or tasks on purpose: no other task there shares a larger part of its words."""

    def likeness(one: str, other: str) -> float:
        words, others = set(one.split()), set(other.split())
        return len(words & others) / len(words | others)

    complete = {end for end, variant in suites()[suite].variants.items() if variant.is_complete}
    for end in complete - {"_lan", "_task"}:
        there = [task.instruction for task in suite_tasks(f"{suite}{end}")]
        for task, mine in enumerate(suite_tasks(suite)):
            number = task_in_variant(f"{suite}{end}", task)
            assert likeness(mine.instruction, there[number]) == max(
                likeness(mine.instruction, each) for each in there
            )
            assert clean_task(f"{suite}{end}", number) == task
