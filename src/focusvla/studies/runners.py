"""Where a training's commands run: on this host, or on a cluster's."""

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from focusvla.child_commands import start_command, wait_for
from focusvla.simulation.actors import ActorSystem, Died, Returned


class Runner(Protocol):
    """Runs one training's commands at a time, here or on another host."""

    def run(self, commands: Sequence[Sequence[str]], variables: Mapping[str, str], log: Path) -> str:
        """Run them one after the other, each with what it says in `log` with its own name in place of `*`; what went
        wrong, or nothing."""
        ...

    def stop(self) -> None:
        """Ask the running command to end, and begin no other."""
        ...


class LocalRunner:
    """In processes of this host."""

    def __init__(self):
        self._process = None
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, commands: Sequence[Sequence[str]], variables: Mapping[str, str], log: Path) -> str:
        """See `Runner`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        for command in commands:
            own = log.with_name(log.name.replace("*", command[0]))
            with own.open("wb") as file:
                with self._lock:
                    if self._stopped:
                        return ""
                    self._process = start_command(command, file, os.environ | dict(variables))
                code = wait_for(self._process)
            if code:
                said = own.read_text("utf-8", "replace").strip().splitlines() or [f"exit code {code}"]
                return f"`focusvla {command[0]}`: {said[-1]} (see {own})"
        return ""

    def stop(self) -> None:
        """See `Runner`."""
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()


class ActorRunner:
    """On whichever host of a cluster there is room; all hosts see the same folders."""

    def __init__(self, system: ActorSystem, num_gpus: int):
        self._system = system
        self._actor = system.start(LocalRunner, num_gpus=num_gpus)

    def run(self, commands: Sequence[Sequence[str]], variables: Mapping[str, str], log: Path) -> str:
        """See `Runner`."""
        self._actor.call("run", commands, dict(variables), log.absolute())
        while not (answers := self._system.wait([self._actor], 1.0)):
            pass
        _, answer = answers[0]
        if isinstance(answer, Returned):
            return answer.value
        return answer.reason if isinstance(answer, Died) else answer.traceback.strip().splitlines()[-1]

    def stop(self) -> None:
        """End the process there, at whose end its command saves and stops."""
        self._actor.kill()
