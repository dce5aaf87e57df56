"""Tab in real shells."""

import shutil
import subprocess
from pathlib import Path

import pytest

from focusvla.cli import main

COMPLETE = """
source "$1"
COMP_WORDS=("${@:2}"); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
$(complete -p focusvla | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(capsys, tmp_path):
    """The file that `focusvla completion SHELL` writes."""

    def write(shell: str) -> Path:
        with pytest.raises(SystemExit) as stopped:
            main(["completion", shell])
        assert not stopped.value.code
        path = tmp_path / shell
        path.write_text(capsys.readouterr().out)
        return path

    return write


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash: apt-get install bash")
def test_bash_completes_a_command_a_flag_and_a_choice(script):
    path = script("bash")

    def offered(*words: str) -> set[str]:
        ended = subprocess.run(
            ["bash", "-c", COMPLETE, "bash", str(path), "focusvla", *words], capture_output=True, text=True
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        return set(ended.stdout.split())

    assert offered("eva") == {"evaluate"}
    assert {"train", "doctor", "completion"} <= offered("")
    assert offered("train", "mini", "--batch") == {"--batch-size"}
    assert offered("train", "mini", "--weights.vg") == {"--weights.vggt"}
    assert offered("train", "mini", "--augmentation.cr") == {
        "--augmentation.crop-area",
        "--augmentation.crop-offsets",
    }
    assert offered("train", "mini", "--model.policy-head.gate", "he") == {"head_wise"}
    assert offered("train", "mini", "--parallelism", "f") == {"fsdp2"}


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef focusvla"), ("fish", "#")])
def test_other_shells_have_scripts_too(shell, begins, script):
    text = script(shell).read_text()
    assert text.startswith(begins)
    assert "evaluate" in text
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(script(shell))], check=True)


def test_an_unknown_shell_is_named_with_those_that_are_known(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "basch"])
    assert stopped.value.code == 2
    assert "Expected one of ('bash', 'zsh', 'fish')" in " ".join(capsys.readouterr().err.split())
