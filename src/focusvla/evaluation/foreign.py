"""Policies that are no checkpoint of ours, by what `--policy` names: a server of openpi's protocol, a Python
class, or a policy of LeRobot's."""

import importlib
import inspect
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float32

from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError
from focusvla.evaluation.commands import require_commands
from focusvla.evaluation.episodes import PolicyTraits, Question
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.lerobot_policy import LeRobotPolicy, require_lerobot
from focusvla.evaluation.policies import PolicySource
from focusvla.evaluation.served import ServedPolicy
from focusvla.suites import suite_of
from focusvla_client import Spec
from focusvla_client.errors import InvalidAnswerError
from focusvla_client.messages import checked_chunk

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._]*(?:-[A-Za-z0-9._]+)*")
_CLASS = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")


def foreign_source(policy: str, config: EvaluationConfig) -> PolicySource:
    """The policy that `policy` names, `websocket://HOST:PORT`, `MODULE:CLASS` or `lerobot:FOLDER`, with `NAME=`
    before it if results shall call it so.

    A class is imported here, from the present folder too: it is the user's own code, and runs as such.

    Raises:
        ConfigurationError: it has another form, there is no such class, or `config` has what only a checkpoint takes.
    """
    name, equals, where = policy.partition("=") if "=" in policy else ("", "", policy)
    if equals and not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"policy: expected NAME= of letters, digits, dots and dashes, a letter first, got {policy!r}."
        )
    is_lerobot = where.startswith("lerobot:")
    for field, usual in vars(EvaluationConfig()).items():
        own = ("inference", "pictures", "statistics", *(() if is_lerobot else ("device",)))
        if field in own and getattr(config, field) != usual:
            raise ConfigurationError(
                f"{field}: expected none with --policy, whose own matter it is, got {getattr(config, field)!r}."
            )
    device = "cpu"
    if where.startswith("websocket://"):
        host, port = _address(where)
        factory, arguments, remembers = ServedPolicy, (host, port, config.suites, name), False
    elif is_lerobot:
        require_lerobot()
        from focusvla.devices import choose_device  # with torch

        device, remembers = str(choose_device(config.device)), False
        factory, arguments = LeRobotPolicy, (where.removeprefix("lerobot:"), device, config.suites, name)
    elif found := _CLASS.fullmatch(where):
        folder = str(Path.cwd())
        made = _class_of(found["module"], found["name"], folder)
        remembers = bool(getattr(made, "remembers", True))
        factory, arguments = PythonPolicy, (found["module"], found["name"], folder, config.suites, name)
    else:
        raise ConfigurationError(
            f"policy: expected websocket://HOST:PORT, MODULE:CLASS or lerobot:FOLDER, perhaps after NAME=, "
            f"got {policy!r}."
        )
    if remembers and config.workers > 1:
        raise ConfigurationError(
            f"workers: expected 1 for {policy}, which remembers, got {config.workers}. If its answers depend on nothing "
            "but the observation, give the class `remembers = False`."
        )
    return PolicySource(factory, arguments, policy, device, is_foreign=True, max_players=int(remembers))


def _address(policy: str) -> tuple[str, int]:
    try:
        parts = urlsplit(policy)
        if parts.hostname and parts.port and not parts.path.strip("/") and not parts.query:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise ConfigurationError(f"policy: expected websocket://HOST:PORT, got {policy!r}.")


def _class_of(module: str, name: str, folder: str) -> Any:
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"policy: expected a class {name} in a module {module} that can be imported, got: {error}. Modules of the "
            "present folder and installed ones are found."
        ) from error
    if not inspect.isclass(found):
        raise ConfigurationError(f"policy: expected a class, got {module}:{name}, which is {found!r:.80}.")
    return found


class PythonPolicy:
    """A class of the user's: a `focusvla_client.Policy` that is made without arguments and has a `chunk_length`.

    Its conventions are those of the suites at their published size, unless it has a `spec` of its own. It is taken to
    remember, and so plays one episode at a time, unless it says `remembers = False`.
    """

    def __init__(self, module: str, name: str, folder: str, suites: Sequence[str], called: str):
        """Make it.

        Raises:
            ConfigurationError: a part of the protocol is missing or is not what it should be.
        """
        made, self._where = _class_of(module, name, folder), f"{module}:{name}"
        self._policy: Any = made()
        for method in ("reset", "infer"):
            if not callable(getattr(self._policy, method, None)):
                raise ConfigurationError(f"policy: expected {self._where} to have {method}(), got none.")
        self._remembers = bool(getattr(self._policy, "remembers", True))
        self._spec, self._cameras = self._read_spec(suites), self._read_cameras()
        unknown = set(self._cameras) - {camera.name for camera in self._spec.cameras}
        if unknown:
            raise ConfigurationError(
                f"policy: expected {self._where}.cameras among "
                f"{', '.join(camera.name for camera in self._spec.cameras)}, got {', '.join(sorted(unknown))}."
            )
        chunk_length: Any = getattr(self._policy, "chunk_length", None)
        if type(chunk_length) is not int or chunk_length < 1:
            raise ConfigurationError(
                f"policy: expected {self._where}.chunk_length, actions in an answer, to be 1 or more, "
                f"got {chunk_length!r:.80}."
            )
        self._chunk_length: int = chunk_length
        source = Path(inspect.getfile(made)).read_bytes()
        self._identity = called or f"{module}.{name}-{sha256(source).hexdigest()[:8]}"
        self._episode: Any = None
        self._asked = 0

    def traits(self) -> PolicyTraits:
        """What players must know of it."""
        return PolicyTraits(
            self._spec, self._cameras, self._chunk_length, PolicyIdentity(weights=self._identity)
        )

    def infer(self, requests: Sequence[Question]) -> list[Float32[np.ndarray, "chunk action"]]:
        """A chunk per request.

        Raises:
            ConfigurationError: an answer is no chunk.
        """
        return [self._answer(request) for request in requests]

    def _answer(self, request: Question) -> np.ndarray:
        if request.inference == 0:
            self._policy.reset()
            self._episode, self._asked = request.episode, 0
        if self._remembers and (request.episode, request.inference) != (self._episode, self._asked):
            raise RuntimeError(
                "the policy was made anew in the middle of an episode, and remembers none of it"
            )
        self._asked += 1
        try:
            actions = checked_chunk(self._policy.infer(request.observation), len(self._spec.action))
        except InvalidAnswerError as error:
            raise ConfigurationError(f"policy {self._where}: {error}") from error
        return require_commands(actions, self._chunk_length, self._spec, self._where)

    def _read_cameras(self) -> tuple[str, ...]:
        cameras = getattr(self._policy, "cameras", None)
        if not isinstance(cameras, list | tuple) or not all(isinstance(each, str) for each in cameras):
            raise ConfigurationError(
                f"policy: expected {self._where}.cameras to be names, none for a blind policy, got {cameras!r:.80}."
            )
        return tuple(cameras)

    def _read_spec(self, suites: Sequence[str]) -> Spec:
        spec = getattr(self._policy, "spec", None)
        if spec is None:
            conventions = suite_of(suites[0]).conventions
            return conventions.make(*conventions.published_size)
        if not isinstance(spec, Spec):
            raise ConfigurationError(
                f"policy: expected {self._where}.spec to be a focusvla_client.Spec, got {spec!r:.80}."
            )
        return spec
