"""Progress bars that look the same in every command, and plain lines where there is no terminal."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from focusvla.cli.output import console

_SECONDS_BETWEEN_LINES = 15.0


class Bar:
    """One bar; without a terminal, a line every 15 seconds and one at the end."""

    def __init__(self, label: str, console: Console):
        self._label = label
        self._console = console
        self._progress: Progress | None = None
        self._last_line = 0.0
        self._began = time.monotonic()
        self._finished = False
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=console,
            )
            self._task = self._progress.add_task(label, total=None, note="")

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` is finished."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total, note=note)
            return
        now = time.monotonic()
        last = done == total and not self._finished
        if now - self._last_line >= _SECONDS_BETWEEN_LINES or last:
            self._last_line = now
            self._finished = done == total
            elapsed = now - self._began
            self.say(f"{self._label} {done}/{total}  {elapsed:.0f} s  {note}".rstrip())

    def say(self, remark: str) -> None:
        """Print a line that stays."""
        self._console.print(remark, soft_wrap=True)

    def __enter__(self) -> "Bar":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()


@contextmanager
def bar(label: str, is_quiet: bool = False) -> Generator[Bar]:
    """A progress bar on standard error while the block runs; quiet, it shows nothing."""
    with Bar(label, console(stderr=True, quiet=is_quiet)) as shown:
        yield shown
