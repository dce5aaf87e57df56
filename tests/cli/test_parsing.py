"""What does not fit a command's flags is said like every other error."""

from dataclasses import is_dataclass

import pytest

from focusvla.cli import main
from focusvla.cli.main import COMMANDS
from focusvla.cli.parsing import parse
from focusvla.config import GivenPictures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("traim",), "error: command='traim' is unknown; did you mean 'train'"),
        (("train", "mini"), "error: Missing from focusvla train:"),
        (("train", "mini", "--data", "d", "--output", "o", "--batchsize", "3"), "--batch-size INT"),
        (("train", "mini", "--data", "d", "--output", "o", "--batch-size", "x"), "error: Error parsing --batch-size"),
        (("evaluate", "--checkpoint", "c", "--output", "o", "--executor", "ry"), "error: invalid choice 'ry'"),
    ],
)  # fmt: skip
def test_what_cannot_be_parsed_is_one_plain_message_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    shown = capsys.readouterr()
    assert (stopped.value.code, shown.out) == (2, "")
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert not {"│", "╭", "─", "\x1b"} & set(shown.err)


def test_a_text_that_is_broken_in_the_source_is_one_line_in_an_error(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--data", "d", "--output", "o"])
    said = capsys.readouterr().err
    assert "PRESET" in said
    assert "(downloads\n        its" not in said


def test_parsing_alone_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = parse("convert", COMMANDS["convert"], ["there", "--output", "here", "--skip-damaged"])
    assert callable(call)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("evaluate", ["--checkpoint", "c", "--output", "o"]),
        ("diagnose", ["c", "--output", "o"]),
        ("serve", ["c"]),
        ("serve-vla-eval", ["c"]),
        ("focus", ["c", "--output", "o", "--data", "d", "--no-pictures"]),
        ("export", ["c", "--output", "o"]),
    ],
)
def test_a_picture_step_can_be_given_wherever_a_checkpoint_looks(command, arguments):
    call = parse(command, COMMANDS[command], [*arguments, "--pictures.center-crop-area", "0.9"])
    given = [call.keywords, *(vars(each) for each in call.args if is_dataclass(each))]  # type: ignore[attr-defined]
    given += [vars(each) for each in call.keywords.values() if is_dataclass(each)]  # type: ignore[attr-defined]
    assert GivenPictures(center_crop_area=0.9) in [value for values in given for value in values.values()]
