"""What commands say: results on standard output, progress and errors on standard error.

Without a terminal nothing is colored or broken into lines, so that each row of a table is a line. NO_COLOR is honored.
"""

import contextlib
import json
import math
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import tyro
from rich.console import Console

AsJson = Annotated[
    bool,
    tyro.conf.arg(
        name="json",
        help="Print one JSON document; all else goes to standard error.",
        help_behavior_hint="",
    ),
    tyro.conf.FlagCreatePairsOff,
]
"""A command's parameter `as_json`, the flag `--json`."""

_WIDTH_WITHOUT_TERMINAL = 10_000


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Where all that people read is printed, as it is: brackets and colons mean nothing."""
    made = Console(stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _WIDTH_WITHOUT_TERMINAL
    return made


def say(message: object) -> None:
    """Print a result to standard output; a line of text is not broken, a table fits the terminal."""
    console().print(message, soft_wrap=isinstance(message, str))


def say_device(name: str) -> str:
    """Say on standard error which device of torch's `name` means here, and return that one's own name.

    Raises:
        ConfigurationError: it cannot be used.
    """
    from focusvla.devices import choose_device, described

    device = choose_device(name)
    console(stderr=True).print(f"policy on {described(device)}", soft_wrap=True)
    return str(device)


def say_json(document: Mapping[str, Any]) -> None:
    """Print a result as JSON to standard output; numbers that JSON has not are null."""
    say(json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False))


def for_people(as_json: bool) -> contextlib.AbstractContextManager[object]:
    """While it lasts, what is said goes to standard error if standard output is for a JSON document."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
