"""Commands of ours that another one runs beside itself, and that end when it does, however it does."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

_ENDS_WITH_PARENT = "FOCUSVLA_ENDS_WITH_PARENT"


def start_command(
    arguments: Sequence[str], log: IO[bytes], variables: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Run `focusvla ARGUMENTS` in a process group of its own, with all that it says in `log`.

    It holds the reading end of a pipe from here. Once this process is gone, killed included, it gets SIGTERM, on which
    commands save what they have.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "focusvla", *arguments],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(os.environ if variables is None else variables) | {_ENDS_WITH_PARENT: "1"},
        start_new_session=True,  # so that Ctrl-C reaches it once, from here
    )


def wait_for(process: "subprocess.Popen[bytes]") -> int:
    """Its exit status, once it has ended."""
    assert process.stdin is not None
    with process.stdin:
        return process.wait()


def end_with_parent() -> None:
    """In a process that `start_command` began, wait in a thread for the end of who began it."""
    if os.environ.pop(_ENDS_WITH_PARENT, None):
        threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
