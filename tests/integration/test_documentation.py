"""What the documentation says to type is accepted by the command line; `test_documented_commands` runs it."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from focusvla.cli.help import HELP_FLAGS
from focusvla.cli.main import COMMANDS
from focusvla.cli.parsing import parse
from focusvla.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND_LINE = re.compile(r"^(?:    )?(?:torchrun .* -m )?focusvla (.+)$")


def commands(page: Path) -> Iterator[str]:
    """The arguments of every `focusvla` line that stands alone on its line, continued lines joined."""
    for line in page.read_text("utf-8").replace("\\\n", " ").splitlines():
        if found := COMMAND_LINE.match(line):
            yield re.sub(r"\s+", " ", found[1].split("#")[0].removesuffix("&")).strip()


def is_accepted(command: str) -> bool:
    """Whether the command line takes these words, up to a pipe or a file."""
    name, *values = itertools.takewhile(lambda word: word not in ("|", ">"), shlex.split(command))
    if HELP_FLAGS.intersection(values):
        return name in COMMANDS
    try:
        parse(name, COMMANDS[name], values)
    except (KeyError, ConfigurationError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_the_documentation_is_accepted(page):
    assert [command for command in dict.fromkeys(commands(page)) if not is_accepted(command)] == []


def test_every_command_is_in_the_reference():
    reference = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    described = set(re.findall(r"^::: (focusvla\.cli\.\S+)$", reference, re.MULTILINE))
    assert described == {f"{command.__module__}.{command.__qualname__}" for command in COMMANDS.values()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_script_in_the_documentation_is_there(page):
    scripts = re.findall(
        r"(?:python |`)((?:benchmarks|examples|integrations)/[\w/]+\.py)", page.read_text("utf-8")
    )
    assert [script for script in scripts if not (ROOT / script).is_file()] == []
