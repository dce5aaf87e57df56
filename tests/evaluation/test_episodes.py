"""A player asks what the policy is to know, and no more: the controls change the question and nothing else."""

import dataclasses

import numpy as np
import pytest

from focusvla.config import ChunkConfig
from focusvla.evaluation.episodes import (
    EpisodePlayer,
    PlannedEpisode,
    PlayedEpisode,
    PolicyTraits,
    Question,
    Setting,
)
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.results import LANGUAGE_BLIND, PARAPHRASED, VISION_BLIND
from focusvla.simulation.aloha import CAMERAS, AlohaEnvironment
from focusvla.suites import protocol
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec
from focusvla_client import SpecMismatchError

pytestmark = pytest.mark.simulator

TRAITS = PolicyTraits(aloha_spec(32), CAMERAS, chunk_length=16, identity=PolicyIdentity(weights="nobody"))
SETTING = Setting(protocol("aloha_gym"), actions_per_inference=16, traits=TRAITS)


@pytest.fixture(scope="module")
def player() -> EpisodePlayer:
    return EpisodePlayer()


def ask(player: EpisodePlayer, condition: str, stand_in=None) -> Question:
    request = player.begin(SETTING, PlannedEpisode("aloha", 0, 3, condition), stand_in)
    assert isinstance(request, Question)
    return request


def test_a_language_blind_policy_reads_another_tasks_instruction_and_sees_its_own_pictures(player):
    clean, blind = ask(player, ""), ask(player, LANGUAGE_BLIND)
    transfer, insertion = (task.instruction for task in AlohaEnvironment.tasks("aloha"))
    assert (clean.observation.instruction, blind.observation.instruction) == (transfer, insertion)
    np.testing.assert_array_equal(blind.observation.images["top"], clean.observation.images["top"])


def test_a_vision_blind_policy_sees_another_episodes_pictures_of_the_same_step_and_feels_its_own_state(
    player,
):
    other = player.begin(SETTING, PlannedEpisode("aloha", 0, 4))
    assert isinstance(other, Question)
    seen = [other.observation.images["top"]]
    for _ in range(2):
        state = other.observation.state
        other = player.proceed(np.tile(state + 0.05, (16, 1)).astype(np.float32))
        assert isinstance(other, Question)
        seen.append(other.observation.images["top"])
    ended = player.proceed(np.zeros((0, 14), np.float32))
    assert isinstance(ended, PlayedEpisode)
    trajectory = ended.trajectory["snapshots"]

    clean, blind = ask(player, ""), ask(player, VISION_BLIND, trajectory)
    np.testing.assert_array_equal(blind.observation.images["top"], seen[0])
    assert (clean.observation.images["top"] != seen[0]).any()
    np.testing.assert_array_equal(blind.observation.state, clean.observation.state)
    later = player.proceed(np.tile(blind.observation.state, (16, 1)))
    assert isinstance(later, Question)
    np.testing.assert_array_equal(later.observation.images["top"], seen[1])


def test_a_trajectory_has_each_action_with_the_state_before_it_and_recalls_what_the_policy_was_asked_about(
    player,
):
    request = ask(player, "")
    asked = [request.observation]
    chunks = [np.tile(request.observation.state + 0.02 * k, (16, 1)).astype(np.float32) for k in (1, 2)]
    for chunk in chunks:
        request = player.proceed(chunk)
        assert isinstance(request, Question)
        asked.append(request.observation)
    ended = player.proceed(np.zeros((0, 14), np.float32))
    assert isinstance(ended, PlayedEpisode)
    trajectory = ended.trajectory
    np.testing.assert_array_equal(trajectory["actions"], np.concatenate(chunks))
    assert [len(trajectory[name]) for name in ("states", "snapshots")] == [33, 33]
    np.testing.assert_array_equal(trajectory["states"][[0, 16, 32]], [each.state for each in asked])
    for recalling in (player, EpisodePlayer()):  # the second has to draw them
        recalled = recalling.recall(SETTING, PlannedEpisode("aloha", 0, 3), trajectory)
        assert set(recalled) == {"state", *(f"image.{camera}" for camera in CAMERAS)}
        for index in range(2):
            np.testing.assert_array_equal(recalled["state"][index], asked[index].state)
            for camera in CAMERAS:
                np.testing.assert_array_equal(recalled[f"image.{camera}"][index], asked[index].images[camera])
        assert len(recalled["state"]) == 2
    spent = ended.result.seconds_by_activity
    assert {*spent} == {"building", "simulating", "drawing", "answering"}
    assert 0 < spent["drawing"] < sum(spent.values()) <= ended.result.seconds + 0.01


def test_what_a_player_saw_itself_is_shown_without_drawing_it_again(player, monkeypatch):
    request = ask(player, "")
    chunk = np.tile(request.observation.state, (16, 1)).astype(np.float32)
    assert isinstance(player.proceed(chunk), Question)
    ended = player.proceed(np.zeros((0, 14), np.float32))
    assert isinstance(ended, PlayedEpisode)
    drawn = []
    draw = AlohaEnvironment.replay_images
    monkeypatch.setattr(AlohaEnvironment, "replay_images", lambda *a: drawn.append(1) or draw(*a))
    planned = PlannedEpisode("aloha", 0, 3)
    player.recall(SETTING, planned, ended.trajectory)
    assert not drawn
    video = player.draw_video(SETTING, planned, ended.trajectory["snapshots"], 32)
    assert len(drawn) == 1  # of steps 0 and 10, the policy looked at the first
    assert len(video) > 1000


def test_an_episode_is_recalled_with_its_own_places_of_fixtures_after_others_were_played(player):
    cameras = tuple(camera.name for camera in libero_spec(64).cameras)
    traits = PolicyTraits(libero_spec(64), cameras, chunk_length=1, identity=PolicyIdentity(weights="nobody"))
    setting = Setting(protocol("libero_wide"), actions_per_inference=1, traits=traits)
    still, none = np.zeros((1, 7), np.float32), np.zeros((0, 7), np.float32)
    played, asked = [], []
    for trial in (0, 1):
        request = player.begin(setting, PlannedEpisode("libero_goal", 0, trial))
        assert isinstance(request, Question)
        asked.append(request.observation)
        player.proceed(still)
        played.append(player.proceed(none))
    drawing = EpisodePlayer()  # which has seen none of it
    for trial in (0, 1):
        recalled = drawing.recall(setting, PlannedEpisode("libero_goal", 0, trial), played[trial].trajectory)
        for camera in cameras:
            np.testing.assert_array_equal(recalled[f"image.{camera}"][0], asked[trial].images[camera])


def test_without_another_episode_to_show_a_vision_blind_one_counts_as_broken(player):
    played = player.begin(SETTING, PlannedEpisode("aloha", 0, 3, VISION_BLIND), None)
    assert isinstance(played, PlayedEpisode)
    assert not played.result.success
    assert "no other trial" in played.result.error


def test_what_breaks_inside_an_episode_is_its_result(player):
    ask(player, "")
    played = player.proceed(np.full((16, 14), np.nan, np.float32))
    assert isinstance(played, PlayedEpisode)
    assert "finite" in played.result.error
    assert (played.result.condition, played.result.trial, str(played.result.policy)) == ("", 3, "nobody")


def test_a_policy_for_another_control_rate_is_refused(player):
    slow = dataclasses.replace(TRAITS, spec=dataclasses.replace(TRAITS.spec, control_rate_hz=20.0))
    with pytest.raises(SpecMismatchError, match=r"control_rate_hz: 20\.0 against 50\.0"):
        player.begin(dataclasses.replace(SETTING, traits=slow), PlannedEpisode("aloha", 0, 0))


def test_late_answers_are_played_late_and_what_was_asked_when_is_kept(player):
    """At 50 Hz 30 ms are begun two steps: of the second answer the first two actions come too late."""
    chunks = ChunkConfig(player="overlapped", latency_ms=30)
    setting = dataclasses.replace(SETTING, actions_per_inference=4, chunks=chunks)
    request = player.begin(setting, PlannedEpisode("aloha", 0, 3))
    assert isinstance(request, Question)
    still = np.tile(request.observation.state, (8, 1)).astype(np.float32)
    given = [still + 0.01 * number for number in range(3)]
    for chunk in given:
        request = player.proceed(chunk)
        assert isinstance(request, Question)
    ended = player.proceed(np.zeros((0, 14), np.float32))
    assert isinstance(ended, PlayedEpisode)
    expected = np.concatenate([given[0][:6], given[1][:4], given[2][:2]])
    np.testing.assert_array_equal(ended.trajectory["actions"], expected)
    assert ended.trajectory["asked"].tolist() == [0, 4, 8]
    assert ended.result.chunks == "overlapped, 30 ms late"
    assert ended.result.mean_jerk is not None
    recalled = player.recall(setting, PlannedEpisode("aloha", 0, 3), ended.trajectory)
    np.testing.assert_array_equal(recalled["state"], ended.trajectory["states"][[0, 4, 8]])


def test_a_paraphrased_task_is_asked_in_those_words_and_sees_its_own_pictures(player):
    planned = PlannedEpisode("aloha", 0, 3, PARAPHRASED, "hand it over")
    request = player.begin(SETTING, planned)
    assert isinstance(request, Question)
    assert request.observation.instruction == "hand it over"
    ended = player.proceed(np.zeros((0, 14), np.float32))
    assert isinstance(ended, PlayedEpisode)
    assert PlannedEpisode.of(ended.result) == planned
    assert ended.result.instruction == ask(player, "").observation.instruction
