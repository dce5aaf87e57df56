"""The notebook runs from its top to its end, as a kernel runs it: cell after cell in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parents[2] / "docs/notebooks/first_look.ipynb"


@pytest.mark.simulator
@pytest.mark.slow
def test_the_notebook_runs_and_draws_where_the_policy_looked(tmp_path: Path):
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
    environment = os.environ | {"MPLBACKEND": "agg", "MUJOCO_GL": "egl"}
    ran = subprocess.run(
        [sys.executable, "-c", "\n\n".join(code)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "pick up the salad dressing and place it in the basket" in ran.stdout
    assert "success=True" in ran.stdout
    with Image.open(tmp_path / "focus.png") as drawn:
        assert drawn.size == (1200, 800)
