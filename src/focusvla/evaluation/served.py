"""A policy behind openpi's websocket protocol: our own server, which says its conventions, or one of openpi's for LIBERO,
which is sent what openpi's own client sends (https://github.com/Physical-Intelligence/openpi, examples/libero)."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Float32

from focusvla.errors import ConfigurationError, WorkerError
from focusvla.evaluation.commands import require_commands
from focusvla.evaluation.episodes import PolicyTraits, Question
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.suites import suite_of
from focusvla.suites.libero import OPENPI_IMAGE_FIELDS, OPENPI_IMAGE_SIZE, libero_spec
from focusvla_client import Observation, SpecMismatchError
from focusvla_client.errors import InvalidAnswerError, PolicyServerError, ServerReportedError
from focusvla_client.messages import Metadata, checked_chunk
from focusvla_client.websocket import WebsocketPolicy
from focusvla_client.wire import pack

_TIMEOUT_SECONDS = 120.0
"""For an answer: the first may be compiled for."""
_PROBE = "Stay where you are."


class ServedPolicy:
    """Asks a server. What it cannot say of itself, the length and the identity of its chunks, is seen by two equal
    questions before the first episode."""

    def __init__(self, host: str, port: int, suites: Sequence[str], called: str):
        """Meet the server.

        Raises:
            WorkerError: it is not there.
            ConfigurationError: it is no policy for `suites`, its answers are no actions, or nothing tells it from others
                and `called` is empty.
        """
        self._where = f"websocket://{host}:{port}"
        self._policy = self._asked(lambda: _Client(host, port, suites))
        first, second = (self._asked(lambda: self._policy.infer(_probe(self._policy))) for _ in range(2))
        self._chunk_length = self._policy.chunk_length or len(first)
        for chunk in (first, second):
            require_commands(chunk, self._chunk_length, self._policy.spec, self._where)
        if not called and not np.array_equal(first, second):
            raise ConfigurationError(
                f"policy: expected a name for {self._where}, which answers the same question differently each time, "
                f"so that nothing tells it from another policy. Give it, as in --policy pi0={self._where}."
            )
        self._identity = called or f"answers-{sha256(first.tobytes()).hexdigest()[:16]}"

    def traits(self) -> PolicyTraits:
        """What players must know of it."""
        identity = PolicyIdentity(weights=self._identity)
        return PolicyTraits(self._policy.spec, self._policy.cameras, self._chunk_length, identity)

    def infer(self, requests: Sequence[Question]) -> list[Float32[np.ndarray, "chunk action"]]:
        """A chunk per request.

        Raises:
            WorkerError: the server is gone, or reports an error.
            ConfigurationError: an answer is no chunk.
        """
        chunks = [self._asked(lambda r=request: self._policy.infer(r.observation)) for request in requests]
        return [
            require_commands(chunk, self._chunk_length, self._policy.spec, self._where) for chunk in chunks
        ]

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except (InvalidAnswerError, SpecMismatchError) as error:
            raise ConfigurationError(f"policy {self._where}: {error}") from error
        except ServerReportedError as error:
            raise WorkerError(f"policy {self._where}: the server says: {error}") from error
        except PolicyServerError as error:
            raise WorkerError(
                f"policy {self._where}: {error} What was finished is kept; once the server answers, the same command "
                "goes on."
            ) from error


class _Client(WebsocketPolicy):
    """In our own form where the server says its conventions, else in openpi's LIBERO form."""

    def __init__(self, host: str, port: int, suites: Sequence[str]):
        self._suites = suites
        self._is_native: bool | None = None
        super().__init__(host, port, timeout_seconds=_TIMEOUT_SECONDS)

    def _met(self, message: Any) -> Metadata:
        is_native = isinstance(message, Mapping) and "spec" in message
        if self._is_native not in (None, is_native):
            raise InvalidAnswerError("policy server: was replaced by one of another kind.")
        self._is_native = is_native
        if is_native:
            return Metadata.of(message)
        others = [suite for suite in self._suites if suite_of(suite).conventions.name != "libero"]
        if others or not isinstance(message, dict):
            raise InvalidAnswerError(
                f"policy server: says no conventions (metadata {message!s:.80}), and openpi's are known for LIBERO's "
                f"suites alone, got {', '.join(others) or 'no map'}. Serve what says its spec, as `focusvla serve` does."
            )
        return Metadata(message, libero_spec(OPENPI_IMAGE_SIZE), tuple(OPENPI_IMAGE_FIELDS), 0)

    def _packed(self, observation: Observation, request_id: int) -> bytes:
        if self._is_native:
            return super()._packed(observation, request_id)
        images = {field: observation.images[camera] for camera, field in OPENPI_IMAGE_FIELDS.items()}
        state = np.asarray(observation.state, np.float32)
        return pack({**images, "observation/state": state, "prompt": observation.instruction})

    def _checked(self, answer: Any, request_id: int) -> tuple[np.ndarray, list[str]]:
        if self._is_native:
            return super()._checked(answer, request_id)
        if not isinstance(answer, dict):
            raise InvalidAnswerError(f"answer: expected a map, got {type(answer).__name__}.")
        return checked_chunk(answer.get("actions"), len(self.spec.action)), []


def _probe(policy: _Client) -> Observation:
    """Always the same noise."""
    rng = np.random.default_rng(0)
    images = {
        camera.name: rng.integers(0, 256, (camera.height, camera.width, 3), np.uint8)
        for camera in policy.spec.cameras
    }
    return Observation(images, np.zeros(len(policy.spec.state), np.float32), _PROBE)
