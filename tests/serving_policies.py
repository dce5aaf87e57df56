"""Policies served for a while, in a thread of this process or in a process of their own, and what to ask them."""

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from focusvla.config import ServingConfig
from focusvla.policy import FocusVLAPolicy
from focusvla.serving.access import Keys
from focusvla.serving.server import serve_policy
from focusvla_client import Observation, Spec
from focusvla_client.wire import pack, unpack


class WatchedPolicy(FocusVLAPolicy):
    """A policy with a function that is called before every batch, and may wait or raise."""

    def __init__(self, policy: FocusVLAPolicy, before: Callable[[Sequence[Observation]], object]):
        vars(self).update(vars(policy))
        self._before = before

    def infer_batch(self, observations: Sequence[Observation]) -> np.ndarray:
        self._before(observations)
        return super().infer_batch(observations)


class ServingThread:
    """A server in a thread of this process; it drains at the end, and what went wrong in it is raised here."""

    def __init__(self, policy: FocusVLAPolicy, *keys: str, **changes: Any):
        self._policy = policy
        self._keys = Keys(keys)
        self._config = dataclasses.replace(ServingConfig(port=0, max_batch=4), **changes)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self.address = ""
        self.answered_all: bool | None = None

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def begin_to_drain(self, after: Callable[[], object] = lambda: None) -> None:
        """Do what SIGTERM does. The server's event loop first calls `after`, and does nothing else meanwhile."""
        self._loop.call_soon_threadsafe(lambda: (after(), self._stop.set()))

    def __enter__(self) -> "ServingThread":
        self._thread.start()
        assert self._ready.wait(60)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(RuntimeError):  # has ended already
            self.begin_to_drain()
        self._thread.join(30)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self.answered_all = asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self._failure = error
        self._ready.set()

    async def _serve(self) -> bool:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        return await serve_policy(self._policy, self._config, self._keys, self._stop, self._on_ready)

    def _on_ready(self, address: str) -> None:
        self.address = address
        self._ready.set()


class ServerProcess:
    """`focusvla serve` as a user starts it."""

    def __init__(self, checkpoint: Path, *flags: str, port: int = 0, key: str = ""):
        command = [sys.executable, "-m", "focusvla", "serve", str(checkpoint), "--port", str(port), *flags]
        environment = {**os.environ, "FOCUSVLA_API_KEY": key, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"ws://\S+:(\d+)", line)
        assert found, f"no address in {line!r}"
        self.address, self.port = found[0], int(found[1])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def conversation(address: str, key: str = "") -> Iterator[ClientConnection]:
    """A connection whose metadata has been read."""
    headers = {"Authorization": f"Api-Key {key}"} if key else None
    with connect(address, additional_headers=headers, compression=None, max_size=None) as connection:
        unpack(bytes_of(connection.recv(10)))
        yield connection


def ask(connection: ClientConnection, message: Any) -> dict[str, Any]:
    """The answer to a message, which must be one."""
    connection.send(pack(message))
    return unpack(bytes_of(connection.recv(20)))


def refusal(connection: ClientConnection, frame: str | bytes) -> tuple[str, int]:
    """The text that a frame is refused with, and the code with which the connection is closed."""
    connection.send(frame)
    text = connection.recv(20)
    assert isinstance(text, str), "expected a refusal, got an answer"
    return text, closing_code(connection)


def closing_code(connection: ClientConnection) -> int:
    """The code with which the server closes a connection, saying nothing before."""
    with pytest.raises(ConnectionClosed):
        connection.recv(20)
    assert connection.protocol.close_code is not None
    return connection.protocol.close_code


def bytes_of(frame: str | bytes) -> bytes:
    assert isinstance(frame, bytes), frame
    return frame


def observed(spec: Spec, number: int = 0, prompt: str = "lift the cup") -> Observation:
    """An observation that is told from others by its number: noise in each picture, and a state."""
    rng = np.random.default_rng(number)
    return Observation(
        images={
            each.name: rng.integers(0, 256, (each.height, each.width, 3), np.uint8) for each in spec.cameras
        },
        state=rng.uniform(-0.5, 0.5, len(spec.state)).astype(np.float32),
        instruction=prompt,
    )


def native(observation: Observation, mark: int | str | None = None) -> dict[str, Any]:
    """A request in our own form."""
    message: dict[str, Any] = {
        "images": dict(observation.images),
        "state": observation.state,
        "prompt": observation.instruction,
    }
    return message if mark is None else {**message, "request_id": mark}
