"""The shapes that the code states are checked wherever tests run with jaxtyping's hook, as `make test` does."""

import subprocess
import sys

import pytest

HOOK = "--jaxtyping-packages=focusvla,beartype.beartype"
SCRIPT = """
import torch
from focusvla.model.blocks import LinearFeedForward

def test_batch_and_chunk_are_stated():
    LinearFeedForward(4)(torch.zeros(2, 3, 4))

def test_a_missing_dimension():
    LinearFeedForward(4)(torch.zeros(3, 4))

def test_another_type():
    LinearFeedForward(4)(torch.zeros(2, 3, 4, dtype=torch.int64))
"""


@pytest.mark.slow
def test_a_wrong_shape_and_a_wrong_type_are_caught(tmp_path):
    file = tmp_path / "test_wrong_shapes.py"
    file.write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        HOOK,
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
    ]
    ended = subprocess.run([*command, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert "2 failed, 1 passed" in ended.stdout, ended.stdout + ended.stderr
    assert "TypeCheckError" in ended.stdout
    unchecked = subprocess.run(
        [*(part for part in command if part != HOOK), str(file), "-k", "missing"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "1 passed" in unchecked.stdout  # what the hook adds
