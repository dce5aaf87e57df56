"""Objects that live in other processes, here or on other hosts, and are called one method at a time.

A scheduler starts actors, calls them without waiting, and waits for whichever answers first; that an actor was killed
is an answer as well. `ProcessSystem` keeps them in processes of this host, `focusvla.evaluation.ray_actors` in a Ray
cluster.
"""

import contextlib
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, runtime_checkable

from focusvla.errors import FocusVLAError

_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Returned:
    """A call's value."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """A call that raised. Users' errors arrive as they are, others as their traceback."""

    error: FocusVLAError | None
    traceback: str
    in_making: bool = False
    """The object itself could not be made, so that no call will do better."""


@dataclass(frozen=True)
class Died:
    """The actor is gone, and what it was doing with it."""

    reason: str


Answer = Returned | Raised | Died


@runtime_checkable
class Actor(Protocol):
    """One object elsewhere."""

    def call(self, method: str, *arguments: Any) -> None:
        """Begin a method; the next call may follow its answer only."""
        ...

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        ...


@runtime_checkable
class ActorSystem(Protocol):
    """Where actors live."""

    def num_cores(self) -> int:
        """How many actors can compute side by side."""
        ...

    def start(
        self, factory: Callable[..., Any], *arguments: Any, local: bool = False, num_gpus: int = 0
    ) -> Actor:
        """An actor around `factory(*arguments)`, which is made there; if `local` on this host, whose files it needs.
        `num_gpus` are set aside for it where they are shared out."""
        ...

    def wait(self, actors: Sequence[Any], seconds: float) -> list[tuple[Any, Answer]]:
        """Those of the called `actors` that have answered, after at most `seconds`; perhaps none."""
        ...

    def close(self) -> None:
        """Give back what the system itself holds, after its actors were killed."""
        ...


def answer_of(method: Callable[..., Any], arguments: tuple[Any, ...]) -> Answer:
    """Call `method` where it lives. This is a boundary: whatever it raises becomes an answer."""
    try:
        return Returned(method(*arguments))
    except Exception as error:  # noqa: BLE001 - see above
        return Raised(error if isinstance(error, FocusVLAError) else None, traceback.format_exc())


def made_by(factory: Callable[..., Any], arguments: tuple[Any, ...]) -> Answer:
    """The object around which an actor is built."""
    made = answer_of(factory, arguments)
    return replace(made, in_making=True) if isinstance(made, Raised) else made


class ProcessActor:
    """An object in a process of its own, which ends with the process that started it."""

    def __init__(self, factory: Callable[..., Any], arguments: tuple[Any, ...]):
        context = multiprocessing.get_context("spawn")  # a forked copy of a rendering context does not draw
        self.connection, there = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(there, os.getpid(), factory, arguments), daemon=True
        )
        self.process.start()
        there.close()

    def call(self, method: str, *arguments: Any) -> None:
        """Begin a method."""
        with contextlib.suppress(OSError):  # `answer` tells of the death
            self.connection.send((method, arguments))

    def answer(self) -> Answer:
        """What the call came to, once the connection has something to read."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):  # the latter in the middle of a message
            self.process.join(timeout=5)
            return Died(f"process {self.process.pid} ended with code {self.process.exitcode}")

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self.process.kill()
        self.process.join(timeout=5)  # what waits in the kernel is left to it
        self.connection.close()


class ProcessSystem:
    """Actors in processes of this host."""

    def num_cores(self) -> int:
        """Cores that this process may use."""
        return len(os.sched_getaffinity(0))

    def start(
        self, factory: Callable[..., Any], *arguments: Any, local: bool = False, num_gpus: int = 0
    ) -> ProcessActor:
        """An actor in a new process."""
        return ProcessActor(factory, arguments)

    def wait(self, actors: Sequence[ProcessActor], seconds: float) -> list[tuple[ProcessActor, Answer]]:
        """Those that have answered or died within `seconds`."""
        if not actors:
            time.sleep(seconds)
            return []
        ready = wait([actor.connection for actor in actors], timeout=max(0.0, seconds))
        return [(actor, actor.answer()) for actor in actors if actor.connection in ready]

    def close(self) -> None:
        """Nothing."""


def _serve(
    connection: Connection, parent: int, factory: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ.update(OMP_NUM_THREADS="1", LP_NUM_THREADS="1")
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    made = made_by(factory, arguments)
    while True:
        try:
            method, given = connection.recv()
            connection.send(
                answer_of(getattr(made.value, method), given) if isinstance(made, Returned) else made
            )
        except (EOFError, OSError):
            return


def _end_with(parent: int) -> None:
    """End this process soon after `parent`; it would otherwise wait for calls forever."""
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
