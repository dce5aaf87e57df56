"""Training takes the steps that it took when they were written down."""

import json
from pathlib import Path

import pytest

from training.golden_losses import FILE, PRESETS, STEPS, losses


@pytest.mark.parametrize("preset", PRESETS)
def test_the_first_losses_are_those_written_down(preset: str, tmp_path: Path):
    found, known = losses(preset, tmp_path), json.loads(FILE.read_text())[preset]
    assert len(known) == STEPS
    # The same up to the order in which another processor sums. A forgotten normalization moves them a hundred times more.
    assert found == pytest.approx(known, rel=1e-4)
