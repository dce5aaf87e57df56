"""Calls that simulate, in processes of this host; one that is killed is replaced and its call made again."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from focusvla.errors import WorkerError
from focusvla.simulation.actors import Died, ProcessActor, ProcessSystem, Raised

MAX_ATTEMPTS = 3
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(eq=False)
class Call:
    """A function and its arguments."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    attempts: int = 0
    """How many times it has been begun."""


def simulate(next_call: Callable[[], Call | None], workers: int) -> Generator[Any]:
    """What calls return that are made in `workers` processes, or in one per core if 0, as they end.

    `next_call` is asked whenever a process is free, so what comes next may depend on the results so far; the end is
    when it has nothing and nothing runs. A call whose process is killed is made again in a new one, `MAX_ATTEMPTS`
    times in all, so it must bear to be made twice. Processes end within a second when this one is killed.

    Raises:
        FocusVLAError: what a call raised.
        WorkerError: a call raised something else, or its process died each time.
    """
    system = ProcessSystem()
    free: list[ProcessActor] = []
    running: dict[ProcessActor, Call] = {}
    try:
        while True:
            while len(running) < (workers or system.num_cores()) and (call := next_call()):
                _begin(call, free.pop() if free else system.start(_Caller), running)
            if not running:
                return
            answers = system.wait(list(running), _SECONDS_BETWEEN_LOOKS)
            answers.sort(key=lambda answer: isinstance(answer[1], Raised))  # lose no result
            for actor, answer in answers:
                call = running.pop(actor)
                if isinstance(answer, Died):
                    actor.kill()
                    if call.attempts == MAX_ATTEMPTS:
                        raise WorkerError(
                            f"a simulating process was lost {MAX_ATTEMPTS} times in a row ({answer.reason}), perhaps for "
                            "lack of memory (each takes up to 3 GB). What was finished is kept: run the same command "
                            "again, with fewer --workers if it recurs."
                        )
                    _begin(call, system.start(_Caller), running)
                elif isinstance(answer, Raised):
                    actor.kill()
                    raise answer.error or WorkerError(f"a simulating process failed: {answer.traceback}")
                else:
                    free.append(actor)
                    yield answer.value
    finally:
        for actor in (*free, *running):
            actor.kill()


class _Caller:
    """What lives in a worker."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


def _begin(call: Call, actor: ProcessActor, running: dict[ProcessActor, Call]) -> None:
    call.attempts += 1
    running[actor] = call
    actor.call("call", call.function, *call.arguments)
