"""The agenda hands jobs out so that environments are built seldom, and holds back what waits for others."""

from focusvla.evaluation.agenda import Agenda, axis_of
from focusvla.evaluation.scheduler import Job


def job(group: str, number: int) -> Job:
    return Job(method="begin", arguments=(), group=group, label=f"{group}{number}")


def taken(agenda: Agenda, last_group: str | None) -> str | None:
    found = agenda.next_job(last_group)
    return found.label if found else None


def test_a_player_goes_on_with_its_group_and_the_next_one_begins_another():
    agenda = Agenda()
    for group, count in (("a", 3), ("b", 2)):
        for number in range(count):
            agenda.add(job(group, number))
    assert [taken(agenda, None), taken(agenda, None)] == ["a0", "b0"]
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
