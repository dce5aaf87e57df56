"""Which moments of an episode are shown, and what is said beside them."""

from dataclasses import replace

import numpy as np
import pytest

from focusvla.data.episodes import Episode
from focusvla.data.memory import MemorySource
from focusvla.suites.libero import libero_spec
from focusvla.visualization.episode_strips import choose_strip, strip_pictures


class EverySecond(MemorySource):
    @property
    def steps_per_picture(self) -> int:
        return 2


@pytest.fixture
def source() -> MemorySource:
    """Ten steps whose pictures have ten times the step's number as gray level; the gripper is told to close at step 5
    and its fingers go from step 6 to step 7."""
    spec = libero_spec(32)
    state, action = np.zeros((10, 8), np.float32), np.zeros((10, 7), np.float32)
    state[:, 0] = np.arange(10) / 10
    state[:, 6] = np.where(np.arange(10) < 7, 0.04, 0.01)
    state[:, 7] = -state[:, 6]
    action[:, 6] = np.where(np.arange(10) < 5, -1, 1)
    gray = np.broadcast_to((10 * np.arange(10, dtype=np.uint8))[:, None, None, None], (10, 32, 32, 3))
    return EverySecond(spec, [Episode(0, state, action, "push")], [{"image": gray, "image2": gray}])


def test_the_first_the_last_and_those_around_the_closing_gripper_are_shown(source):
    strip = choose_strip(source, 0)
    assert [(moment.step, moment.events) for moment in strip.moments] == [
        (0, ("first",)),
        (4, ()),
        (5, ("gripper is told to close",)),
        (6, ("gripper closes fastest",)),
        (7, ()),
        (9, ("last",)),
    ]
    assert strip.moments[2].numbers == ("x 0.500, y 0.000, z 0.000", "gripper +1.00", "fingers 0.080")
    assert strip.moments[4].numbers[-1] == "fingers 0.020"
    assert [moment.picture_step for moment in strip.moments] == [0, 4, 4, 6, 6, 8]
    assert strip.moments[2].seconds == 0.25


def test_a_gripper_that_the_spec_alone_calls_so_is_seen_to_close(source):
    names = (*source.spec.action[:-1], "claw")
    spec = replace(source.spec, action=names, grippers=("claw",))
    strip = choose_strip(MemorySource(replace(spec, cameras=()), [source.episode(0)], [{}]), 0)
    assert [moment.events for moment in strip.moments if moment.step in (5, 6)] == [
        ("claw is told to close",),
        ("claw closes fastest",),
    ]


def test_every_moment_has_its_own_picture_of_each_camera(source):
    pictures = strip_pictures(source, choose_strip(source, 0))
    assert {name: [int(each[0, 0, 0]) for each in shown] for name, shown in pictures.items()} == {
        "image": [0, 40, 50, 60, 70, 90],
        "image2": [0, 40, 50, 60, 70, 90],
    }


def test_a_gripper_that_never_closes_leaves_the_first_and_the_last(source):
    episode = source.episode(0)
    action = episode.action.copy()
    action[:, 6] = -1
    still = MemorySource(
        source.spec,
        [Episode(0, episode.state, action, "push")],
        [{c.name: np.stack([*source.frames(0, c.name)]) for c in source.spec.cameras}],
    )
    assert [moment.step for moment in choose_strip(still, 0).moments] == [0, 9]
