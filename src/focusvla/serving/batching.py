"""Requests of many clients, answered together by one thread.

The event loop only queues and collects; inference runs beside it, so that pings and health are answered meanwhile. What
waits while a batch is computed is the next batch. A request waits for others at most a stated time, and not at all once
every connected client's is there:

    2 clients, at most 4 a batch      a asks: waits      b asks: [a, b] is computed at once
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from websockets.frames import CloseCode

from focusvla.config import ServingConfig
from focusvla.errors import ConfigurationError
from focusvla.serving.metrics import ServingMetrics
from focusvla.serving.refusal import RefusedError
from focusvla_client import Observation

_log = logging.getLogger(__name__)

Infer = Callable[[Sequence[Observation]], Float32[np.ndarray, "observations chunk action"]]


def in_parts(infer: Infer, num_parts: int) -> Infer:
    """`infer` for a batch in so many parts, as equal as can be, each computed in a thread of its own.

    Of 5 observations in 2 parts one thread computes 3 and the other 2. Several threads for one operation would wait for
    each other after every one, and long where anything else runs.
    """
    threads = ThreadPoolExecutor(num_parts, thread_name_prefix="part")

    def infer_in_parts(
        observations: Sequence[Observation],
    ) -> Float32[np.ndarray, "observations chunk action"]:
        size = -(-len(observations) // num_parts)
        parts = [observations[first : first + size] for first in range(0, len(observations), size)]
        return np.concatenate(list(threads.map(infer, parts)))

    return infer_in_parts


@dataclass(frozen=True)
class Inference:
    """One request's share of a batch."""

    actions: Float32[np.ndarray, "chunk action"]
    queue_seconds: float
    """From its queueing to the beginning of its batch's inference."""
    inference_seconds: float
    """Of the whole batch."""


@dataclass(frozen=True)
class _Waiting:
    observation: Observation
    since: float
    answer: asyncio.Future[Inference]


class Batcher:
    """Asks a policy for many at once. Use it as an asynchronous context, inside which `infer` may be called."""

    def __init__(
        self, infer: Infer, config: ServingConfig, metrics: ServingMetrics, num_clients: Callable[[], int]
    ):
        """Batches go to `infer`, in a thread of their own; `num_clients` says how many may ask."""
        self._infer = infer
        self._config = config
        self._metrics = metrics
        self._num_clients = num_clients
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")

    async def __aenter__(self) -> "Batcher":
        self._answering = asyncio.create_task(self._answer_forever())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._answering.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def warm_up(self, observation: Observation, sizes: Iterable[int]) -> None:
        """Compute a batch of each of `sizes` once, where they will be computed: a first time takes longer, and what does
        not fit into memory fails before anyone asks."""
        loop = asyncio.get_running_loop()
        for size in sizes:
            await loop.run_in_executor(self._thread, self._infer, [observation] * size)

    async def infer(self, observation: Observation) -> Inference:
        """The policy's chunk for `observation`.

        Raises:
            RefusedError: too many requests wait, or the policy failed on this one or gave actions that are not finite.
        """
        if len(self._waiting) >= self._config.max_queue:
            raise RefusedError(
                "queue",
                f"queue: expected at most {self._config.max_queue} requests to wait, got one more. Ask again later.",
                CloseCode.TRY_AGAIN_LATER,
            )
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(observation, time.perf_counter(), answer))
        self._metrics.queue_length.set(len(self._waiting))
        self._arrived.set()
        return await answer

    async def _answer_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next_batch()
            answers = await loop.run_in_executor(self._thread, self._answers, batch)
            for waiting, answer in zip(batch, answers, strict=True):
                if waiting.answer.cancelled():
                    continue
                if isinstance(answer, Inference):
                    waiting.answer.set_result(answer)
                else:
                    waiting.answer.set_exception(answer)

    async def _next_batch(self) -> list[_Waiting]:
        while not self._waiting:
            await self._arrival(None)
        ends = self._waiting[0].since + self._config.max_batch_wait_seconds
        while len(self._waiting) < min(self._config.max_batch, self._num_clients()):
            left = ends - time.perf_counter()
            if left <= 0:
                break
            await self._arrival(left)
        size = min(self._config.max_batch, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(size)]
        self._metrics.queue_length.set(len(self._waiting))
        return batch

    async def _arrival(self, seconds: float | None) -> None:
        self._arrived.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._arrived.wait()

    def _answers(self, batch: Sequence[_Waiting]) -> list[Inference | RefusedError]:
        """An answer or an error for each."""
        began = time.perf_counter()
        chunks = self._together(batch) if len(batch) > 1 else [self._alone(batch[0])]
        seconds = time.perf_counter() - began
        self._metrics.batch_size.observe(len(batch))
        self._metrics.inference_seconds.observe(seconds)
        answers: list[Inference | RefusedError] = []
        for waiting, chunk in zip(batch, chunks, strict=True):
            queued = began - waiting.since
            self._metrics.queue_seconds.observe(queued)
            answers.append(chunk if isinstance(chunk, RefusedError) else Inference(chunk, queued, seconds))
        return answers

    def _together(self, batch: Sequence[_Waiting]) -> Sequence[np.ndarray | RefusedError]:
        """A chunk for each. If one of them makes the batch fail, each is computed alone."""
        try:
            return list(self._chunks(batch))
        except Exception:  # noqa: BLE001 - a boundary: each gets an answer or an error of its own
            self._metrics.errors.labels("batch").inc()
            _log.exception("a batch of %d failed; each of its requests is computed alone", len(batch))
            return [self._alone(waiting) for waiting in batch]

    def _alone(self, waiting: _Waiting) -> Float32[np.ndarray, "chunk action"] | RefusedError:
        try:
            return self._chunks([waiting])[0]
        except ConfigurationError as error:
            return RefusedError("request", str(error))
        except Exception as error:  # noqa: BLE001 - a boundary: what it raises becomes an answer
            _log.exception("inference failed")
            return RefusedError(
                "inference",
                f"inference: failed in the server ({type(error).__name__}: {error}); its log has the traceback.",
            )

    def _chunks(self, batch: Sequence[_Waiting]) -> Float32[np.ndarray, "observations chunk action"]:
        chunks = self._infer([waiting.observation for waiting in batch])
        if len(chunks) != len(batch):
            raise ValueError(f"expected a chunk for each of {len(batch)} observations, got {len(chunks)}")
        if not np.isfinite(chunks).all():
            raise FloatingPointError("the policy's actions are not finite")
        return chunks
