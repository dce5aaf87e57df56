"""How chunks are played, and how smooth a motion is."""

import numpy as np
import pytest

from focusvla.config import ChunkConfig
from focusvla.errors import ConfigurationError
from focusvla.evaluation.motion import latency_steps, make_player, mean_jerk
from focusvla.simulation.trajectory import asked_steps
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec


@pytest.mark.parametrize(
    ("latency_ms", "rate", "steps"),
    [(0, 20.0, 0), (1, 20.0, 1), (50, 20.0, 1), (51, 20.0, 2), (400, 50.0, 20), (110, 100.0, 11)],
)
def test_a_latency_is_rounded_up_to_control_steps(latency_ms, rate, steps):
    assert latency_steps(ChunkConfig(latency_ms=latency_ms), rate) == steps


@pytest.mark.parametrize("player", ["blended", "ensembling"])
def test_no_player_opens_a_hand_by_halves(player):
    playing = make_player(ChunkConfig(player=player), 2, libero_spec(32))
    for step, gripper in ((0, -1.0), (2, 1.0)):
        chunk = np.full((8, 7), gripper, np.float32)
        playing.add(chunk, step)
        action = playing.action(step)
    assert action is not None
    assert action[-1] == 1.0
    assert -1.0 < action[0] < 1.0


def test_the_jerk_is_that_of_the_hands_place_in_meters():
    """x = t^3 / 6 has the jerk 1; angles and fingers do not count."""
    spec = libero_spec(32)
    time = np.arange(20) / spec.control_rate_hz
    states = np.random.default_rng(0).random((20, 8)).astype(np.float32)
    states[:, :3] = np.outer(time**3 / 6, [1.0, 0.0, 0.0])
    assert mean_jerk(states.astype(np.float64), spec) == pytest.approx(1.0, rel=1e-6)


def test_the_jerk_of_arms_whose_state_is_their_joints_is_that_of_all_but_the_fingers():
    spec = aloha_spec(32)
    time = np.arange(20) / spec.control_rate_hz
    states = np.zeros((20, 14))
    states[:, [0, 7]] = (time**3 / 6)[:, None] * [3.0, 4.0]
    states[:, list(spec.finger_places)] = np.random.default_rng(0).random((20, 2))
    assert mean_jerk(states, spec) == pytest.approx(5.0, rel=1e-6)
    assert mean_jerk(states[:3], spec) is None


def test_trajectories_of_earlier_versions_asked_after_every_chunk():
    actions = np.zeros((10, 7), np.float32)
    assert asked_steps({"actions": actions}, 4) == [0, 4, 8]
    assert asked_steps({"actions": actions, "asked": np.array([0, 6])}, 4) == [0, 6]


@pytest.mark.parametrize("values", [{"latency_ms": -1}, {"blend_steps": -1}, {"decay": float("inf")}])
def test_numbers_that_mean_nothing_are_refused(values):
    with pytest.raises(ConfigurationError, match=f"chunks.{next(iter(values))}"):
        ChunkConfig(**values)
