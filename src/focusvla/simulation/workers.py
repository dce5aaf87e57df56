"""Jobs that simulate, done by processes of this host; one that is killed is replaced and its job done again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from focusvla.errors import WorkerError
from focusvla.simulation.actors import Died, ProcessActor, ProcessSystem, Raised

MAX_ATTEMPTS = 3
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(eq=False)
class Job:
    """A function and its arguments."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    attempts: int = 0
    """How many times it has been begun."""


def simulate(next_job: Callable[[], Job | None], workers: int) -> Iterator[Any]:
    """What jobs return that are done by `workers` processes, or by one per core if 0, as they end.

    `next_job` is asked whenever a process is free, so what comes next may depend on the results so far; the end is
    when it has nothing and nothing runs. A job whose process is killed is done again by a new one, `MAX_ATTEMPTS`
    times in all, so it must bear to be done twice. Processes end within a second when this one is killed.

    Raises:
        FocusVLAError: a job's own.
        WorkerError: a job raised something else, or its process died each time.
    """
    system = ProcessSystem()
    free: list[ProcessActor] = []
    running: dict[ProcessActor, Job] = {}
    try:
        while True:
            while len(running) < (workers or system.num_cores()) and (job := next_job()):
                _begin(job, free.pop() if free else system.start(_Caller), running)
            if not running:
                return
            answers = system.wait(list(running), _SECONDS_BETWEEN_LOOKS)
            answers.sort(key=lambda answer: isinstance(answer[1], Raised))  # lose no result
            for actor, answer in answers:
                job = running.pop(actor)
                if isinstance(answer, Died):
                    actor.kill()
                    if job.attempts == MAX_ATTEMPTS:
                        raise WorkerError(
                            f"a simulating process was lost {MAX_ATTEMPTS} times in a row ({answer.reason}), perhaps for "
                            "lack of memory (each takes up to 3 GB). What was finished is kept: run the same command "
                            "again, with fewer --workers if it recurs."
                        )
                    _begin(job, system.start(_Caller), running)
                elif isinstance(answer, Raised):
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


def _begin(job: Job, actor: ProcessActor, running: dict[ProcessActor, Job]) -> None:
    job.attempts += 1
    running[actor] = job
    actor.call("call", job.function, *job.arguments)
