"""Which commands there are, and how errors reach the user.

A user's error is one message and exit code 2. Anything else is a bug and shows its traceback. Commands import
what they need when they run, so that help is instant.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from rich.text import Text

from focusvla.child_commands import end_with_parent
from focusvla.cli import data_commands
from focusvla.cli.compare import compare
from focusvla.cli.completion import completion
from focusvla.cli.demonstrations import correct, demonstrate, regenerate, replay
from focusvla.cli.describe import describe
from focusvla.cli.diagnose import diagnose
from focusvla.cli.doctor import doctor
from focusvla.cli.evaluation import evaluate
from focusvla.cli.export import export
from focusvla.cli.focus import focus
from focusvla.cli.help import HELP_FLAGS, show_help, show_overview
from focusvla.cli.output import console
from focusvla.cli.parsing import parse
from focusvla.cli.quickstart import quickstart
from focusvla.cli.report import report
from focusvla.cli.serving import serve
from focusvla.cli.study import study
from focusvla.cli.tables import mcnemar, merge, tables
from focusvla.cli.training import train
from focusvla.cli.vla_eval import serve_vla_eval
from focusvla.errors import FocusVLAError, require_known

GROUPS: dict[str, dict[str, Callable[..., Any]]] = {
    "Begin": {"quickstart": quickstart, "doctor": doctor, "completion": completion},
    "Make data": {
        "demonstrate": demonstrate,
        "correct": correct,
        "regenerate": regenerate,
        "inspect": data_commands.inspect,
        "convert": data_commands.convert,
    },
    "Train": {"describe": describe, "train": train, "compare": compare, "study": study},
    "Evaluate": {
        "evaluate": evaluate,
        "replay": replay,
        "merge": merge,
        "tables": tables,
        "mcnemar": mcnemar,
    },
    "Serve": {"serve": serve, "serve-vla-eval": serve_vla_eval, "export": export},
    "Look": {"focus": focus, "diagnose": diagnose, "report": report},
}
"""The commands in the order in which they are used."""

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 when it did what was asked, 2 on an error that the user can fix, 130
    on Ctrl-C, 143 on SIGTERM after saving."""
    end_with_parent()
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
        code = 0
    except (FocusVLAError, _spec_mismatch_error()) as error:
        console(stderr=True).print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        if os.environ.get("FOCUSVLA_DEBUG"):
            traceback.print_exc()
        code = getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        console(stderr=True).print("Stopped. The same command goes on from here.")
        code = 130
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def _spec_mismatch_error() -> type[Exception]:
    from focusvla_client import SpecMismatchError  # brings numpy, for which help does not wait

    return SpecMismatchError


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in HELP_FLAGS:
        show_overview(GROUPS)
        return
    name, *values = arguments
    require_known("command", name, COMMANDS)
    if asked := HELP_FLAGS.intersection(values):
        show_help(name, COMMANDS[name], values, complete="--help-all" in asked)
        return
    parse(name, COMMANDS[name], values)()
