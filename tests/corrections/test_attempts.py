"""Which attempt is next, and what the first ones say of the policy, depend on nothing but what became of attempts."""

from focusvla.corrections.attempt import Correction
from focusvla.corrections.collect import Attempts


def ended(task: int, number: int, solves: bool | None) -> Correction:
    return Correction(task, number, "kept", takeover=5, steps=9, solves=solves)


def test_the_first_attempts_are_two_of_each_task_and_twenty_at_least():
    assert Attempts(range(10), 20).num_first == 2
    assert Attempts(range(12), 20).num_first == 2
    assert Attempts(range(3), 20).num_first == 7
    assert Attempts([4], 20).num_first == 20


def test_the_first_attempts_at_all_tasks_come_before_the_rest():
    attempts = Attempts(range(10), 3)
    order = attempts.order()
    assert order[:4] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert order[20:] == [(task, 2) for task in range(10)]
    begun = [attempts.begin() for _ in range(31)]
    assert begun == [*order, None]


def test_what_has_ended_is_not_begun_again():
    attempts = Attempts([2], 2, {(2, 0): ended(2, 0, None)})
    assert [attempts.begin(), attempts.begin()] == [(2, 1), None]


def test_nothing_is_said_of_a_policy_before_all_first_attempts_have_ended_or_where_they_are_few():
    attempts = Attempts([0], 20)
    attempts.ended = {(0, number): ended(0, number, number == 3) for number in range(19)}
    assert attempts.successes_alone() is None
    attempts.ended[0, 19] = ended(0, 19, None)  # it had no start
    assert attempts.successes_alone() == (1, 19)
    few = Attempts([0], 19, dict(attempts.ended))
    assert not few.plays_on(0)
    assert few.successes_alone() is None


def test_a_tasks_counts_add_up():
    attempts = Attempts([0, 1], 4)
    attempts.ended = {
        (0, 0): ended(0, 0, True),
        (0, 1): Correction(0, 1, "solved", 30, 0, True),
        (0, 2): Correction(0, 2, "failed", 30, 9, False, "ran out of steps"),
        (0, 3): Correction(0, 3, "failed", 30, 9, False, "ran out of steps"),
        (1, 0): ended(1, 0, True),
    }
    assert attempts.counts(0) == {
        "attempts": 4,
        "solved": 1,
        "kept": 1,
        "failed": {"ran out of steps": 2},
    }
