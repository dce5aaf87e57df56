"""Being asked to stop: the running step is finished and saved first."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from focusvla_client.stopping import heard_signals


class StopSignals:
    """While the block runs, the first SIGTERM or Ctrl-C is noted in `received`; a second one acts as ever.

    `focusvla_client.stopping.heard_signals` says which are.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._listen()
        return self

    @contextmanager
    def suspended(self) -> Generator[None]:
        """Signals act as ever in the block: for what takes long and loses nothing when it is interrupted."""
        self._restore()
        yield
        if self.received is None:
            self._listen()

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _listen(self) -> None:
        self._previous = {number: signal.signal(number, self._note) for number in heard_signals()}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
