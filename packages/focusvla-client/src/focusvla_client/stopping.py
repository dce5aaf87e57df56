"""Being asked to stop while a robot moves: it comes to rest first, then the signal takes effect."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import Any, Dict, Generator, List, Optional


def heard_signals() -> List[signal.Signals]:
    """Those of Ctrl-C and SIGTERM that may be handled here: one that the process was started to ignore, as a shell's
    background jobs ignore Ctrl-C, stays ignored, and no thread but the main one may handle any."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not signal.SIG_IGN]


class StopSignals:
    """While the block runs, the first Ctrl-C or SIGTERM is noted in `received`, and a second one interrupts at once.

    When the block ends, the noted signal takes effect. `heard_signals` says which are.
    """

    def __init__(self) -> None:
        self.received: Optional[signal.Signals] = None
        self.must_not_interrupt = False
        """Set while the robot is brought to rest."""
        self._first_interrupts = False
        self._previous: Dict[signal.Signals, Any] = {}

    @contextmanager
    def interrupting(self) -> Generator[None, None, None]:
        """While this inner block runs, which does not look at `received`, the first signal interrupts at once too.

        Raises:
            KeyboardInterrupt: a signal came, whichever it was.
        """
        self._first_interrupts = True
        try:
            if self.received is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._first_interrupts = False

    def __enter__(self) -> "StopSignals":
        self._previous = {number: signal.signal(number, self._note) for number in heard_signals()}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.received is not None:
            signal.raise_signal(self.received)

    def _note(self, number: int, frame: Any) -> None:
        is_first = self.received is None
        if is_first or self.must_not_interrupt:
            self.received = signal.Signals(number)
        if not self.must_not_interrupt and (self._first_interrupts or not is_first):
            raise KeyboardInterrupt
