"""The rows of the players' docstrings, and each player against a plain loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusvla_client.chunks import (
    BlendedPlayer,
    ChunkPlayer,
    EnsemblingPlayer,
    OpenLoopPlayer,
    OverlappedPlayer,
)


def play(
    player: ChunkPlayer, latencies: list[int], num_steps: int, length: int
) -> tuple[list[int], list[Any]]:
    """Steps at which the policy was asked, and each step's action.

    Question number n is answered `latencies[n]` steps later (the last one from then on) with a chunk whose action for
    step t is the pair (n, t).
    """
    asked: list[int] = []
    outstanding: list[tuple[int, int, int]] = []
    actions: list[Any] = []
    for step in range(num_steps):
        if not outstanding and player.wants_chunk(step):
            number = len(asked)
            asked.append(step)
            outstanding.append((step + latencies[min(number, len(latencies) - 1)], number, step))
        if outstanding and outstanding[0][0] <= step:
            _, number, asked_at = outstanding.pop()
            chunk = np.array([(number, asked_at + index) for index in range(length)], np.float64)
            player.add(chunk, asked_at)
        action = player.action(step)
        actions.append(None if action is None else tuple(action))
    return asked, actions


def test_open_loop_plays_from_the_first_action_on_and_waits_for_each_answer():
    asked, actions = play(OpenLoopPlayer(2), latencies=[2], num_steps=8, length=5)
    assert asked == [0, 4]
    assert actions == [None, None, (0, 0), (0, 1), None, None, (1, 4), (1, 5)]


def test_open_loop_plays_no_more_than_a_chunk_has():
    _, actions = play(OpenLoopPlayer(9), latencies=[0], num_steps=5, length=2)
    assert actions == [(0, 0), (0, 1), (1, 2), (1, 3), (2, 4)]


def test_overlapped_drops_the_actions_of_steps_that_are_past():
    asked, actions = play(OverlappedPlayer(3), latencies=[2], num_steps=9, length=6)
    assert asked == [0, 3, 6]
    assert actions == [None, None, (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (1, 7), (2, 8)]


def test_overlapped_goes_on_with_the_old_chunk_while_it_has_actions_when_the_new_one_is_late():
    asked, actions = play(OverlappedPlayer(2), latencies=[0, 4, 0], num_steps=8, length=4)
    assert asked == [0, 2, 7]
    assert actions == [(0, 0), (0, 1), (0, 2), (0, 3), None, None, None, (2, 7)]


def test_overlapped_has_no_action_while_every_chunk_comes_too_late():
    _, actions = play(OverlappedPlayer(1), latencies=[3], num_steps=20, length=3)
    assert actions == [None] * 20


def test_blended_goes_over_to_a_new_chunk_step_by_step():
    asked, actions = play(BlendedPlayer(3, 2), latencies=[2], num_steps=9, length=8)
    assert asked == [0, 3, 6]
    assert actions[:2] == [None, None]
    np.testing.assert_allclose(
        np.array(actions[2:])[:, 0], [0, 0, 0, 1 / 3, 2 / 3, 1, 4 / 3]
    )  # the number of the chunk that has its say


def test_blending_ends_where_the_old_chunk_does():
    _, actions = play(BlendedPlayer(3, 10), latencies=[0, 0], num_steps=6, length=4)
    assert [chunk for chunk, _ in actions] == [0, 0, 0, 0.5, 1, 1]


def test_a_chunk_that_is_blended_in_is_itself_blended_out():
    _, actions = play(BlendedPlayer(1, 3), latencies=[0], num_steps=3, length=9)
    # At step 2 chunk 2 has a quarter, and three quarters are what chunk 1 was blended to: half of it.
    assert [chunk for chunk, _ in actions] == [0, 0.25, 0.25 * 2 + 0.75 * 0.5]


@pytest.mark.parametrize("player", [BlendedPlayer(2, 2, [1]), EnsemblingPlayer(0.1, 2, [1])])
def test_places_that_are_never_averaged_are_the_newest_chunks(player: ChunkPlayer):
    for step in (0, 2):
        player.add(np.full((6, 2), step, np.float32), step)
        for each in (step, step + 1):
            action = player.action(each)
    assert action is not None
    assert 0 < action[0] < 2
    assert action[1] == 2


@settings(deadline=None)
@given(
    num_steps=st.integers(1, 5),
    latencies=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    length=st.integers(1, 8),
)
def test_blending_in_no_steps_is_overlapped_playing(num_steps: int, latencies: list[int], length: int):
    plain = play(OverlappedPlayer(num_steps), latencies, 20, length)
    assert play(BlendedPlayer(num_steps, 0), latencies, 20, length) == plain


@settings(deadline=None)
@given(
    num_steps=st.integers(1, 5),
    blend_steps=st.integers(0, 6),
    latencies=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    length=st.integers(1, 8),
)
def test_blended_has_an_action_where_overlapped_has_one_and_for_the_same_step(
    num_steps: int, blend_steps: int, latencies: list[int], length: int
):
    asked, plain = play(OverlappedPlayer(num_steps), latencies, 20, length)
    found, blended = play(BlendedPlayer(num_steps, blend_steps), latencies, 20, length)
    assert found == asked
    for step, (there, here) in enumerate(zip(plain, blended, strict=True)):
        assert (there is None) == (here is None)
        if there is not None and here is not None:
            assert here[1] == pytest.approx(step) or there[1] != step
            assert 0 <= here[0] <= there[0]


def test_ensembling_weighs_the_oldest_prediction_most():
    player = EnsemblingPlayer(decay=math.log(2))
    for step, (chunk, expected) in enumerate(
        [([10, 20, 40], 10), ([50, 80, 0], (2 * 20 + 50) / 3), ([120, 0, 0], (4 * 40 + 2 * 80 + 120) / 7)]
    ):
        assert player.wants_chunk(step)
        player.add(np.array(chunk, np.float32)[:, None], step)
        action = player.action(step)
        assert action is not None
        assert action.dtype == np.float32
        np.testing.assert_allclose(action, [expected], rtol=1e-6)


@settings(max_examples=200, deadline=None)
@given(
    latencies=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    length=st.integers(1, 6),
    between=st.integers(1, 3),
    decay=st.floats(0, 5),
)
def test_ensembling_is_the_plain_loop_over_all_chunks(latencies, length, between, decay):
    asked, actions = play(EnsemblingPlayer(decay, between), latencies, num_steps=25, length=length)
    for step, action in enumerate(actions):
        total, weights, index = 0.0, 0.0, 0
        for number, asked_at in enumerate(asked):
            arrived = asked_at + latencies[min(number, len(latencies) - 1)] <= step
            if arrived and asked_at <= step < asked_at + length:
                weight = math.exp(-decay * index)
                total, weights, index = total + weight * number, weights + weight, index + 1
        if weights == 0:
            assert action is None
        else:
            assert action == pytest.approx((total / weights, step), rel=1e-9)


@settings(max_examples=200, deadline=None)
@given(
    latencies=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    length=st.integers(1, 6),
    between=st.integers(1, 4),
)
def test_overlapped_plays_each_step_with_an_action_meant_for_it_by_the_newest_chunk(
    latencies, length, between
):
    asked, actions = play(OverlappedPlayer(between), latencies, num_steps=25, length=length)
    for step, action in enumerate(actions):
        arrived = [
            (number, asked_at)
            for number, asked_at in enumerate(asked)
            if asked_at + latencies[min(number, len(latencies) - 1)] <= step
        ]
        covers = arrived and step < arrived[-1][1] + length
        assert action == ((arrived[-1][0], step) if covers else None)


@pytest.mark.parametrize("player", [OpenLoopPlayer(2), OverlappedPlayer(2), EnsemblingPlayer()])
def test_nothing_is_left_of_an_episode_after_a_reset(player):
    player.add(np.ones((4, 1)), 0)
    player.reset()
    assert player.wants_chunk(1)
    assert player.action(1) is None


def test_ensembling_keeps_no_chunk_that_is_past():
    player = EnsemblingPlayer()
    for step in range(100):
        player.add(np.ones((4, 1)), step)
        player.action(step)
    assert len(player._chunks) == 4


@pytest.mark.parametrize(
    "make", [lambda: OpenLoopPlayer(0), lambda: OverlappedPlayer(0), lambda: EnsemblingPlayer(-1.0)]
)
def test_senseless_players_are_refused(make):
    with pytest.raises(ValueError, match="or more"):
        make()
