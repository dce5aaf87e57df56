"""The command line: `focusvla demonstrate | train | evaluate | report | quickstart | doctor`."""

from focusvla.cli.main import main

__all__ = ["main"]
