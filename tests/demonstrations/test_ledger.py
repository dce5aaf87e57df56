"""Which attempt comes next depends on what became of the others, not on how many run at a time."""

import pytest

pytest.importorskip("scipy", reason="needs the extra `libero`")

from focusvla.config import DemonstrationConfig
from focusvla.demonstrations.collect import _Ledger
from focusvla.demonstrations.recording import is_undisplaced


def ledger(wanted: int) -> _Ledger:
    return _Ledger(
        wanted, kept={2: set(), 3: set()}, rejected={2: set(), 3: set()}, begun={2: set(), 3: set()}
    )


def play(ledger: _Ledger, at_once: int, fails: set[tuple[int, int]]) -> dict[int, set[int]]:
    running: list[tuple[int, int]] = []
    while True:
        while len(running) < at_once and (chosen := ledger.begin()):
            running.append(chosen)
        if not running:
            return ledger.kept
        task, number = running.pop()  # the latest first, as when an early one takes long
        ((ledger.rejected if (task, number) in fails else ledger.kept)[task]).add(number)


def test_the_same_attempts_are_kept_however_many_run_at_once():
    fails = {(2, 0), (2, 3), (3, 1)}
    expected = {2: {1, 2, 4}, 3: {0, 2, 3}}
    for at_once in (1, 2, 3, 7):
        assert play(ledger(3), at_once, fails) == expected


def test_no_more_attempts_begin_than_can_be_kept():
    fresh = ledger(1)
    assert [fresh.begin() for _ in range(4)] == [(2, 0), (3, 0), None, None]
    fresh.rejected[2].add(0)
    assert [fresh.begin(), fresh.begin()] == [(2, 1), None]


@pytest.mark.parametrize(("share", "expected"), [(0.0, []), (0.25, [3, 7, 11]), (0.5, [1, 3, 5, 7, 9, 11])])
def test_attempts_with_the_target_in_place_are_spread_evenly(share: float, expected: list[int]):
    config = DemonstrationConfig(undisplaced_share=share)
    assert [number for number in range(12) if is_undisplaced(config, number)] == expected
