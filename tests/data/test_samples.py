"""Chunks, padding and splits, printed as rows."""

import numpy as np
import pytest
import torch

from focusvla.data.memory import MemorySource
from focusvla.data.normalization import Quantiles, Statistics, state_normalizer
from focusvla.data.samples import build_samples, picture_stride, split_episodes
from focusvla.errors import DataError

# Leaves actions as they are: the first dimension of episode steps 0, 1, 2, 3 is 0, .1, .2, .3.
IDENTITY = Statistics(
    action=Quantiles(q01=(-1.0, -1.0, -1.0), q99=(1.0, 1.0, 1.0)),
    state=Quantiles(q01=(-1.0, -1.0), q99=(1.0, 1.0)),
)


def test_chunks_repeat_the_last_action_of_the_episode_and_mask_the_repetition(memory: MemorySource):
    samples = build_samples(memory, statistics=IDENTITY, state_limit=1.5, chunk_length=3)
    chunks, mask = samples.action_chunks(torch.arange(len(samples)))
    tenths = (10 * chunks[..., 0]).round().int()
    assert tenths.tolist() == [
        [0, 1, 2], [1, 2, 3], [2, 3, 3], [3, 3, 3],  # episode 0, 4 steps
        [0, 1, 2], [1, 2, 2], [2, 2, 2],             # episode 1, 3 steps
        [0, 1, 1], [1, 1, 1],                        # episode 2, 2 steps
    ]  # fmt: skip
    assert mask.int().tolist() == [
        [1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0],
        [1, 1, 1], [1, 1, 0], [1, 0, 0],
        [1, 1, 0], [1, 0, 0],
    ]  # fmt: skip


def test_dropped_last_frames_leave_whole_chunks_alone(memory: MemorySource):
    samples = build_samples(
        memory, statistics=IDENTITY, state_limit=1.5, chunk_length=3, last_frames="dropped"
    )
    chunks, mask = samples.action_chunks(torch.arange(len(samples)))
    assert (10 * chunks[..., 0]).round().int().tolist() == [
        [0, 1, 2], [1, 2, 3],  # episode 0, 4 steps
        [0, 1, 2],             # episode 1, 3 steps; episode 2, of 2, has none
    ]  # fmt: skip
    assert mask.all()
    assert samples.frame_rows.tolist() == [0, 1, 4]
    assert (samples.part_sizes, samples.num_short_episodes) == ((3,), 1)


def test_episodes_that_are_all_shorter_than_a_chunk_are_refused_if_last_frames_are_dropped(
    memory: MemorySource,
):
    with pytest.raises(
        DataError, match=r"episodes: expected one of at least 5 steps.*Give --last-frames padded"
    ):
        build_samples(memory, statistics=IDENTITY, state_limit=1.5, chunk_length=5, last_frames="dropped")


def test_with_stride_two_samples_skip_steps_but_chunks_do_not(memory: MemorySource):
    samples = build_samples(memory, statistics=IDENTITY, state_limit=1.5, chunk_length=2, stride=2)
    chunks, _ = samples.action_chunks(torch.arange(len(samples)))
    assert samples.frame_rows.tolist() == [0, 1, 2, 3, 4]
    assert (10 * chunks[..., 0]).round().int().tolist() == [[0, 1], [2, 3], [0, 1], [2, 2], [0, 1]]


def test_a_stride_meets_only_pictures_that_were_taken_anew(memory: MemorySource, monkeypatch):
    assert [picture_stride(memory, at_least) for at_least in (1, 2, 3)] == [1, 2, 3]
    monkeypatch.setattr(MemorySource, "steps_per_picture", 4)
    assert [picture_stride(memory, at_least) for at_least in (1, 3, 4, 5)] == [4, 4, 4, 8]


def test_samples_of_some_episodes_point_to_their_rows_in_the_cache_of_all(memory: MemorySource):
    samples = build_samples(memory, statistics=IDENTITY, state_limit=1.5, chunk_length=2, episodes=[0, 2])
    assert samples.frame_rows.tolist() == [0, 1, 2, 3, 7, 8]
    chunks, _ = samples.action_chunks(torch.tensor([4, 5]))
    assert (10 * chunks[..., 0]).round().int().tolist() == [[0, 1], [1, 1]]


def test_instructions_are_numbered_alike_for_every_choice_of_episodes(memory: MemorySource):
    every = build_samples(memory, statistics=IDENTITY, state_limit=1.5, chunk_length=1)
    assert every.instructions == ("push", "pull")
    assert every.instruction_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0]
    one = build_samples(memory, statistics=IDENTITY, state_limit=1.5, chunk_length=1, episodes=[1])
    assert one.instructions == ("push", "pull")
    assert one.instruction_ids.tolist() == [1, 1, 1]


def test_states_and_actions_are_normalized_as_the_policy_normalizes_them(memory: MemorySource):
    statistics = memory.statistics()
    samples = build_samples(memory, statistics=statistics, state_limit=1.5, chunk_length=1)
    states = np.concatenate([memory.episode(index).state for index in range(3)])
    np.testing.assert_array_equal(samples.states, state_normalizer(statistics, 1.5).normalize(states))
    assert samples.actions.abs().max() <= 1
    narrow = build_samples(memory, statistics=statistics, state_limit=0.5, chunk_length=1)
    assert narrow.states.abs().max() == 0.5


@pytest.mark.parametrize("episodes", [[], [3]])
def test_episodes_that_do_not_exist_are_refused(memory: MemorySource, episodes: list[int]):
    with pytest.raises(DataError, match=r"expected at least one of 0\.\.2"):
        build_samples(memory, statistics=IDENTITY, state_limit=1.5, chunk_length=1, episodes=episodes)


def test_a_split_divides_whole_episodes_and_is_the_same_for_the_same_seed():
    training, validation = split_episodes(20, 0.1, seed=3)
    assert len(validation) == 2
    assert sorted(training + validation) == list(range(20))
    assert split_episodes(20, 0.1, seed=3) == (training, validation)
    assert len({tuple(split_episodes(20, 0.1, seed=seed)[1]) for seed in range(5)}) > 1


def test_a_split_without_validation_keeps_every_episode():
    assert split_episodes(3, 0.0, seed=0) == ([0, 1, 2], [])


def test_a_small_share_still_gives_one_episode():
    assert len(split_episodes(3, 0.01, seed=0)[1]) == 1


@pytest.mark.parametrize(("episodes", "share"), [(3, 1.0), (3, -0.1), (1, 0.1)])
def test_an_impossible_split_is_refused(episodes: int, share: float):
    with pytest.raises(DataError):
        split_episodes(episodes, share, seed=0)
