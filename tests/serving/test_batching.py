"""Requests are joined, divided among cores, and each gets its own chunk."""

import asyncio

import numpy as np
import pytest

from focusvla.config import ServingConfig
from focusvla.serving.batching import Batcher, Inference, in_parts
from focusvla.serving.metrics import ServingMetrics
from focusvla.serving.refusal import RefusedError
from focusvla_client import Observation


def numbered(number: int) -> Observation:
    return Observation(images={}, state=np.array([number], np.float32), instruction="")


def echo(observations):
    """A chunk of one action that repeats the state."""
    return np.stack([each.state[None] for each in observations])


def infer_all(numbers, *, num_clients: int, max_batch: int = 4, wait: float = 0.0) -> list[list[int]]:
    """The batches in which numbered observations, asked all at once, are computed."""
    batches: list[list[int]] = []

    def infer(observations):
        batches.append([int(each.state[0]) for each in observations])
        return echo(observations)

    async def run() -> None:
        config = ServingConfig(max_batch=max_batch, max_batch_wait_seconds=wait)
        async with Batcher(infer, config, ServingMetrics(), lambda: num_clients) as batcher:
            answers = await asyncio.gather(*(batcher.infer(numbered(number)) for number in numbers))
        assert [answer.actions[0, 0] for answer in answers] == list(numbers)

    asyncio.run(asyncio.wait_for(run(), 10))
    return batches


def test_what_waits_is_joined_up_to_the_largest_batch():
    assert infer_all(range(6), num_clients=6) == [[0, 1, 2, 3], [4, 5]]


def test_nobody_waits_once_all_clients_have_asked():
    assert infer_all([7], num_clients=1, wait=60.0) == [[7]]
    assert infer_all([7, 8], num_clients=2, wait=60.0) == [[7, 8]]


def test_a_request_waits_for_others_no_longer_than_it_may():
    assert infer_all([7], num_clients=2, wait=0.05) == [[7]]


def test_who_gets_no_chunk_is_told_so_and_the_next_is_answered():
    def none_for_zero(observations):
        return echo(observations)[int(observations[0].state[0] == 0) :]

    async def run() -> Inference:
        config = ServingConfig(max_batch=1)
        async with Batcher(none_for_zero, config, ServingMetrics(), lambda: 1) as batcher:
            with pytest.raises(RefusedError, match="expected a chunk for each of 1 observations, got 0"):
                await batcher.infer(numbered(0))
            return await batcher.infer(numbered(1))

    assert asyncio.run(asyncio.wait_for(run(), 10)).actions[0, 0] == 1


def test_a_batch_that_fails_is_logged_and_counted_and_each_of_it_is_computed_alone(caplog):
    def infer(observations):
        if len(observations) > 1:
            raise MemoryError("out of memory")
        return echo(observations)

    metrics = ServingMetrics()

    async def run() -> list[Inference]:
        async with Batcher(infer, ServingConfig(), metrics, lambda: 3) as batcher:
            return await asyncio.gather(*(batcher.infer(numbered(number)) for number in range(3)))

    answers = asyncio.run(asyncio.wait_for(run(), 10))
    assert [answer.actions[0, 0] for answer in answers] == [0, 1, 2]
    assert "a batch of 3 failed" in caplog.text
    assert "MemoryError: out of memory" in caplog.text
    assert 'focusvla_errors_total{kind="batch"} 1.0' in metrics.text()


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_parts_are_equal_and_stay_in_order(size):
    sizes: list[int] = []

    def infer(observations):
        sizes.append(len(observations))
        return echo(observations)

    numbers = in_parts(infer, 2)([numbered(number) for number in range(size)])[:, 0, 0]
    assert numbers.tolist() == list(range(size))
    assert sorted(sizes) == {1: [1], 2: [1, 1], 5: [2, 3], 16: [8, 8]}[size]
