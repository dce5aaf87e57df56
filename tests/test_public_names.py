"""`import focusvla` offers what scripts need, without loading it, and the page of each runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import focusvla
from focusvla.config import DemonstrationConfig
from focusvla.demonstrations.collect import collect_demonstrations

PAGES = sorted((Path(__file__).parents[1] / "docs/python").glob("*.md"))
BLOCK = re.compile(r'^```python title="runs in CI"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def test_the_package_offers_its_public_names_and_loads_none_before_it_is_asked_for():
    code = "import sys, focusvla; assert not {'numpy', 'torch'} & set(sys.modules); print(*focusvla.__all__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["Policy", "evaluate", "load_policy", "open_dataset", "presets", "suites", "train"]
    assert {name.lower() for name in said.split()} == {page.stem for page in PAGES}
    assert set(said.split()) <= set(dir(focusvla))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = focusvla.no_such_name


@pytest.fixture(scope="module")
def tour(tmp_path_factory) -> Path:
    """Of the small world that stands for LIBERO here: demonstrations, and a run of two steps."""
    folder = tmp_path_factory.mktemp("tour")
    config = DemonstrationConfig(suite="reach", image_size=32, episodes_per_task=2, workers=1)
    collect_demonstrations(config, folder / "tour/data")
    return folder


@pytest.mark.parametrize(
    "name", ["suites", "presets", "open_dataset", "train", "load_policy", "policy", "evaluate"]
)
def test_the_page_of_each_name_runs(name, tour, monkeypatch):
    page = next(page for page in PAGES if page.stem == name).read_text("utf-8")
    (block,) = BLOCK.findall(page)
    monkeypatch.chdir(tour)
    code = block.replace("libero_object", "reach").replace("tour/run", "tour/scripted")
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
