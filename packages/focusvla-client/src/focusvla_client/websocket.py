"""A policy on another machine, or in another Python, asked over a websocket in openpi's protocol."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import threading
from contextlib import ExitStack
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from focusvla_client.errors import (
    AccessDeniedError,
    AnswerTimeoutError,
    InvalidAnswerError,
    MessageTooLargeError,
    ServerReportedError,
    ServerUnavailableError,
)
from focusvla_client.messages import Metadata, checked_answer, packed_request
from focusvla_client.policy import Observation
from focusvla_client.spec import Spec
from focusvla_client.wire import WireError, unpack

API_KEY_VARIABLE = "FOCUSVLA_API_KEY"
MAX_ANSWER_BYTES = 2**20
"""A chunk of 1000 actions of 100 joints takes 400 kB."""
_CLOSE_SECONDS = 1.0
_MESSAGE_TOO_BIG = 1009
_LOST = (OSError, EOFError, WebSocketException)
_Result = TypeVar("_Result")


class WebsocketPolicy:
    """A `Policy` that asks a policy server.

    It connects when it is made. A server that is lost or restarted is looked for again, `attempts` times in all: at
    once, then after `backoff_seconds`, then after twice as long, and so on. Its conventions are compared at every
    connection, and a request that was lost is asked again, since an inference leaves nothing behind. An answer that
    does not come in time is not asked for again; the next inference makes a new connection. The connection is
    direct: proxies of the environment are not used.

    Args:
        host: name or address of the server.
        port: its TCP port.
        api_key: sent as `Authorization: Api-Key ...`; the environment variable FOCUSVLA_API_KEY if None.
        spec: the robot's conventions, which the server's must equal. If None, the first server's are required of
            those that follow it.
        timeout_seconds: the longest wait for an answer, and for the network to take a part of a request.
        connect_timeout_seconds: the longest wait for one connection, and for the server's first message.
        attempts: connections that are tried before an error is raised.
        backoff_seconds: wait before the third attempt; it doubles with each one that follows.

    Raises:
        SpecMismatchError: naming every convention that differs.
        PolicyServerError: see `focusvla_client.errors`; also from `infer`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        api_key: Optional[str] = None,
        spec: Optional[Spec] = None,
        timeout_seconds: float = 10.0,
        connect_timeout_seconds: float = 5.0,
        attempts: int = 5,
        backoff_seconds: float = 0.5,
    ):
        if attempts < 1 or min(timeout_seconds, connect_timeout_seconds) <= 0 or backoff_seconds < 0:
            raise ValueError(
                "expected at least one attempt, timeouts above 0 and a back-off of 0 or more, got "
                f"attempts={attempts}, timeout_seconds={timeout_seconds}, "
                f"connect_timeout_seconds={connect_timeout_seconds}, backoff_seconds={backoff_seconds}."
            )
        self._address = (host, port)
        self._name = f"policy server {host}:{port}"
        self._headers = _authorization(os.environ.get(API_KEY_VARIABLE) if api_key is None else api_key)
        self._required, self._required_by = spec, "the robot"
        self._timeout_seconds = timeout_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._attempts = attempts
        self._backoff_seconds = backoff_seconds
        self._request_ids = itertools.count(1)
        self._one_at_a_time = threading.Lock()
        self._closed = threading.Event()
        self._warnings: List[str] = []
        self._connection: Optional[ClientConnection] = None
        self._server = self._tried(self._connect)[1]

    @property
    def cameras(self) -> Tuple[str, ...]:
        """The cameras the server's policy looks through; only these images are sent."""
        return self._server.cameras

    @property
    def spec(self) -> Spec:
        """The conventions of the server's policy."""
        return self._server.spec

    @property
    def chunk_length(self) -> int:
        """Actions in one answer."""
        return self._server.chunk_length

    @property
    def metadata(self) -> Dict[str, Any]:
        """All that the server says about itself."""
        return self._server.values

    @property
    def warnings(self) -> List[str]:
        """What the server found odd about the last observation: an unknown word, a black image, a state out of range."""
        return self._warnings

    def reset(self) -> None:
        """Begin an episode. A server keeps nothing of the previous one."""

    def infer(self, observation: Observation) -> np.ndarray:
        """The next actions, (steps, action) float32 in physical units, finite and writable.

        Raises:
            ValueError: the observation lacks an image, or holds what cannot be sent.
            SpecMismatchError: the server was replaced by one of other conventions.
            PolicyServerError: no answer, or none that may become actions.
        """
        with self._one_at_a_time:
            request_id = next(self._request_ids)
            request = self._packed(observation, request_id)
            actions, self._warnings = self._tried(lambda: self._ask(request, request_id))
            return actions

    def close(self) -> None:
        """Leave the server; an inference under way in another thread ends with an error."""
        self._closed.set()
        self._disconnect()

    def __enter__(self) -> "WebsocketPolicy":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _met(self, message: Any) -> Metadata:
        """What a server says of itself in its first message."""
        return Metadata.of(message)

    def _packed(self, observation: Observation, request_id: int) -> bytes:
        """A question as it is sent."""
        return packed_request(observation, self.cameras, request_id)

    def _checked(self, answer: Any, request_id: int) -> Tuple[np.ndarray, List[str]]:
        """The actions, (steps, action), and warnings of an answer to that question."""
        return checked_answer(answer, request_id, len(self.spec.action))

    def _tried(self, work: Callable[[], _Result]) -> _Result:
        """`work`, again and again while the server is lost."""
        lost: Optional[BaseException] = None
        for attempt in range(self._attempts):
            delay = self._backoff_seconds * 2 ** (attempt - 2) if attempt > 1 else 0.0
            if self._closed.wait(delay):
                break
            try:
                return work()
            except _LOST as error:
                self._disconnect()
                lost = error
            except BaseException:
                self._disconnect()  # an answer still under way would arrive as the next request's
                raise
        if self._closed.is_set():
            raise ServerUnavailableError(f"{self._name}: this client was closed.")
        raise ServerUnavailableError(
            f"{self._name}: not reachable in {self._attempts} attempt(s); the last ended with {lost!r}. Is it "
            "running, and are host and port right?"
        ) from lost

    def _ask(self, request: bytes, request_id: int) -> Tuple[np.ndarray, List[str]]:
        connection = self._connection
        if connection is None:
            connection, self._server = self._connect()
        try:
            connection.send(request)
            answer = _message(connection, self._timeout_seconds)
        except ConnectionClosed as error:
            codes = [frame.code for frame in (error.rcvd, error.sent) if frame is not None]
            if _MESSAGE_TOO_BIG in codes:
                raise MessageTooLargeError(
                    f"{self._name}: a message is larger than its receiver takes (the request has {len(request)} bytes, "
                    f"an answer may have {MAX_ANSWER_BYTES})."
                ) from error
            raise
        return self._checked(answer, request_id)

    def _connect(self) -> Tuple[ClientConnection, Metadata]:
        host, port = self._address
        try:
            # A connection is a context manager, here one that ends with `_disconnect`.
            self._connection = connection = ExitStack().enter_context(
                connect(
                    f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}",
                    sock=self._socket(),
                    additional_headers=self._headers,
                    compression=None,
                    open_timeout=self._connect_timeout_seconds,
                    close_timeout=_CLOSE_SECONDS,
                    max_size=MAX_ANSWER_BYTES,
                )
            )
        except InvalidStatus as error:
            if error.response.status_code in (401, 403):
                reason = "the key is not accepted" if self._headers else "it asks for a key and none is set"
                raise AccessDeniedError(
                    f"{self._name}: {reason}. Set the environment variable {API_KEY_VARIABLE} or pass api_key."
                ) from None
            raise
        server = self._met(_message(connection, self._connect_timeout_seconds))
        if self._required is None:
            self._required, self._required_by = server.spec, "the policy server found first"
        self._required.require_equal(server.spec, self._required_by, "the policy server")
        return connection, server

    def _socket(self) -> socket.socket:
        connected = socket.create_connection(self._address, self._connect_timeout_seconds)
        connected.settimeout(None)
        # websockets bounds the wait for a message; this bounds how long a server that reads nothing can hold up `send`.
        seconds = int(self._timeout_seconds)
        microseconds = int((self._timeout_seconds - seconds) * 1e6)
        connected.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, max(microseconds, 1))
        )
        return connected

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _authorization(api_key: Optional[str]) -> Dict[str, str]:
    if not api_key:
        return {}
    if not all("!" <= character <= "~" for character in api_key):
        raise ValueError("api_key: expected printable ASCII without spaces, got something else.")
    if "," in api_key:
        raise ValueError(
            f"api_key: expected one key, got one with a comma. On a server {API_KEY_VARIABLE} holds all of its keys, "
            "separated by commas; a client sends one of them."
        )
    return {"Authorization": "Api-Key " + api_key}


def _message(connection: ClientConnection, timeout_seconds: float) -> Any:
    try:
        frame = connection.recv(timeout_seconds)
    except TimeoutError as error:
        raise AnswerTimeoutError(
            f"policy server: connected, but no message in {timeout_seconds:g} seconds. Is it overloaded, or too slow for "
            "this timeout?"
        ) from error
    if isinstance(frame, str):
        raise ServerReportedError("policy server: " + frame)
    try:
        return unpack(frame)
    except WireError as error:
        raise InvalidAnswerError(f"policy server: {error}") from error
