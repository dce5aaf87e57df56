"""Help: at once, on one screen, an example first."""

import re
import subprocess
import sys

import pytest

from focusvla.cli import main
from focusvla.cli.help import RARE, summary
from focusvla.cli.main import COMMANDS, GROUPS

SCREEN_LINES, SCREEN_COLUMNS = 40, 100
FLAG = re.compile(r"^│ (?:-\w, )?--([\w.-]+)", re.MULTILINE)


@pytest.fixture
def shown(capsys, monkeypatch):
    """What a call prints to a screen of usual width."""
    monkeypatch.setenv("COLUMNS", str(SCREEN_COLUMNS))

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert not stopped.value.code
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_fits_a_screen_and_opens_with_what_it_does_and_an_example(command, shown):
    lines = shown(command, "--help").splitlines()
    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= SCREEN_COLUMNS
    assert lines[0] == summary(COMMANDS[command])
    assert lines[2].startswith(f"Example: focusvla {command}")
    assert lines[2] in (COMMANDS[command].__doc__ or "")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_overview_fits_a_screen_with_a_line_for_each_command_under_its_group(arguments, shown):
    lines = shown(*arguments).splitlines()
    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= SCREEN_COLUMNS
    for title, group in GROUPS.items():
        begin = lines.index(title) + 1
        assert [line.split()[0] for line in lines[begin : begin + len(group)]] == list(group)


def test_all_flags_are_in_the_complete_help_and_the_usual_ones_in_both(shown):
    usual, complete = (set(FLAG.findall(shown("train", flag))) for flag in ("--help", "--help-all"))
    assert {"data", "output", "steps", "evaluate-every"} < usual < complete
    assert {"warmup-steps", "weights.vggt", "evaluation.stall-seconds"} <= complete - usual
    assert f"{len(complete - usual)} flags more: focusvla train --help-all" in shown("train", "--help")
    assert "flags more" not in shown("train", "--help-all")


def test_every_rare_field_is_a_flag_of_some_command(shown):
    flags = {flag for command in COMMANDS for flag in FLAG.findall(shown(command, "--help-all"))}
    names = {part.replace("-", "_") for flag in flags for part in flag.split(".")}
    assert names >= RARE


def test_help_imports_nothing_that_takes_time():
    check = (
        "import sys\n"
        "from focusvla.cli import main\n"
        "for arguments in (['--help'], ['train', '--help']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit: pass\n"
        "sys.exit(' '.join({'torch', 'numpy', 'mujoco', 'transformers', 'matplotlib'} & sys.modules.keys()) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
