"""A shift between pictures and numbers is measured, and only told where it is clear."""

from dataclasses import replace

import numpy as np
import pytest

from focusvla.data.episodes import Episode
from focusvla.data.inspection.data_set import inspect_source
from focusvla.data.inspection.lag import correlations
from focusvla.data.inspection.problems import find_problems
from focusvla.data.memory import MemorySource
from focusvla_client import Camera, Spec

STEPS = 60


def moving(spec: Spec, *, late: int = 0, seen: bool = True, stored_late: int = 0) -> MemorySource:
    """Four episodes of starts and stops, in which a bright column follows x; pictures are `late` steps late. An action
    moves the hand in the same step; states are those of `stored_late` steps later."""
    rng = np.random.default_rng(1)
    cameras = (Camera("image", 48, 48),)
    episodes, images = [], []
    for index in range(4):
        speed = 0.01 * rng.uniform(-1, 1, STEPS + 8) * (rng.random(STEPS + 8) < 0.6)
        x = np.cumsum(speed)
        action = np.stack([speed[1:] * 90, np.zeros(STEPS + 7), np.ones(STEPS + 7)], 1)
        places = x - x.min()
        columns = np.arange(48) / 48
        glow = np.exp(-(((columns[None] - 0.2 - places[:, None]) / 0.1) ** 2))
        frames = np.repeat((200 * glow).astype(np.uint8)[:, None, :, None], 48, 1).repeat(3, 3)
        if not seen:
            frames = rng.integers(0, 256, frames.shape, np.uint8)
        rows = np.arange(4, 4 + STEPS)
        state = np.stack([x, np.zeros_like(x)], 1)[rows + stored_late]
        episodes.append(Episode(index, state.astype(np.float32), action[rows].astype(np.float32), "push"))
        images.append({"image": frames[rows - late]})
    return MemorySource(replace(spec, cameras=cameras), episodes, images)


def told(source: MemorySource) -> list[str]:
    found = find_problems(inspect_source(source, chunk_length=4))
    return [each.finding for each in found if "step(s)" in each.finding]


@pytest.mark.parametrize("late", [-2, -1, 1, 3])
def test_pictures_of_another_moment_than_the_states_are_told_with_how_far_they_are_off(late, spec):
    source = moving(spec, late=late)
    (camera, *_) = inspect_source(source, chunk_length=4).lags
    assert (camera.name, camera.steps, camera.episodes) == ("image", late, 4)
    assert camera.correlation > camera.correlation_at_zero + 0.3
    when = "after" if late > 0 else "before"
    assert told(source)[0].startswith(
        f"camera image: its pictures show a motion {abs(late)} step(s) {when} the states"
    )


def test_pictures_of_their_own_moment_are_measured_and_no_problem(spec):
    source = moving(spec)
    assert inspect_source(source, chunk_length=4).lags[0].steps == 0
    assert told(source) == []


def test_pictures_that_do_not_follow_the_hand_tell_nothing(spec):
    assert [lag.name for lag in inspect_source(moving(spec, seen=False), chunk_length=4).lags] == ["action"]


def test_states_that_move_before_their_actions_were_stored_too_late(spec):
    assert told(moving(spec, late=-2, stored_late=2))[0].startswith(
        "states move 2 step(s) before the actions"
    )
    assert told(moving(spec, late=1, stored_late=-1)) == []  # a hand that follows late


def test_too_few_or_too_short_episodes_tell_nothing(spec):
    source = moving(spec, late=1)
    two = [source.episode(index) for index in range(2)]
    frames = [{"image": np.stack(list(source.frames(index, "image")))} for index in range(2)]
    assert inspect_source(MemorySource(source.spec, two, frames), chunk_length=4).lags == ()


def test_the_greatest_correlation_is_at_the_lag():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 2))
    assert correlations(values[2:], values[:-2]).argmax() - 4 == 2
    assert correlations(values[:-3], values[3:]).argmax() - 4 == -3
