"""Packages are named as those who look for them expect, and hold what they say."""

import importlib.util
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from focusvla.checkpoint import TRAINING, open_checkpoint
from focusvla.errors import ConfigurationError
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.results import EpisodeResult, result_line
from focusvla.installed_checkpoints import installed_checkpoint
from focusvla.presets import tiny
from focusvla.suites.libero import libero_spec
from untrained_checkpoints import write_checkpoint

PACKAGES = Path(__file__).parents[1] / "packages"


def test_the_lerobot_plugin_has_a_name_that_lerobot_looks_for_and_can_import():
    folder = PACKAGES / "lerobot_policy_focusvla"
    name = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"]
    # lerobot.utils.import_utils.register_third_party_plugins of 0.4.4: hyphens would not be found.
    assert name.startswith("lerobot_policy_")
    assert (folder / "src" / name / "__init__.py").is_file()
    for part in ("configuration", "modeling", "processor"):
        assert (folder / "src" / name / f"{part}_focusvla.py").is_file()


def test_the_lerobot_environments_have_a_name_that_lerobot_looks_for_and_can_import():
    folder = PACKAGES / "lerobot_env_focusvla"
    name = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"]
    assert name.startswith("lerobot_env_")  # register_third_party_plugins of 0.6.1
    assert (folder / "src" / name / "__init__.py").is_file()


@pytest.fixture(scope="module")
def pack():
    spec = importlib.util.spec_from_file_location("pack", PACKAGES / "focusvla-libero" / "pack.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pack


def test_a_policy_is_packed_with_its_own_scores_the_worst_first_and_without_what_training_needs(
    pack, tmp_path
):
    checkpoint = write_checkpoint(tmp_path / "run", tiny(), libero_spec(32), ("lift",))
    (checkpoint / TRAINING).write_bytes(b"moments")
    policy = PolicyIdentity(weights=open_checkpoint(checkpoint).digest)
    result = EpisodeResult(
        suite="libero_goal", task=0, instruction="lift", trial=0, condition="", seed=0, success=True, steps=1,
        inferences=1, seconds=1.0, protocol="libero_validation", policy=policy, actions_per_inference=8,
        error="", versions={},
    )  # fmt: skip
    failed = replace(result, suite="libero_10", instruction="push", success=False)
    (tmp_path / "results").mkdir()
    file = tmp_path / "results" / "results.jsonl"
    file.write_text(result_line(result) + result_line(failed))
    package = tmp_path / "package"
    (package / "src" / "focusvla_libero").mkdir(parents=True)
    (package / "README.md").write_text("# Card\n<!-- scores -->\nold\n<!-- end of scores -->\nEnd\n")
    for _ in range(2):
        pack(checkpoint, [tmp_path / "results"], package)
    card = (package / "README.md").read_text()
    assert "old" not in card
    assert card.index("| libero_10 | push | 0/1 |") < card.index("| libero_goal | lift | 1/1 |")
    assert "| all | 1/2 = 50.0 %" in card
    packed = package / "src" / "focusvla_libero" / "checkpoint"
    assert open_checkpoint(packed).digest == open_checkpoint(checkpoint).digest
    assert (packed / "README.md").read_text() == card
    assert not (packed / TRAINING).exists()

    file.write_text(result_line(replace(result, policy=PolicyIdentity(weights="another"))))
    with pytest.raises(ConfigurationError, match=r"expected results of \w+, got some of another"):
        pack(checkpoint, [tmp_path / "results"], package)


def test_the_policy_for_forty_tasks_is_found_by_its_name_and_is_small():
    folder = installed_checkpoint("libero")
    if folder is None:
        pytest.skip("focusvla-libero is not installed")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 20e6
    assert {file.name for file in folder.iterdir()} >= {"README.md", "config.json", "model.safetensors"}
    card = (PACKAGES / "focusvla-libero" / "README.md").read_text("utf-8")
    assert (folder / "README.md").read_text("utf-8") == card
    found = open_checkpoint(Path("libero"))
    assert len(found.experiment.model.language.vocabulary) > 60
