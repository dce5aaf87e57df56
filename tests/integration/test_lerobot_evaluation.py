# pyright: reportMissingImports=false
"""A policy of LeRobot's, as lerobot saves it, is evaluated here: `focusvla evaluate --policy lerobot:FOLDER`."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reach.suite import reach_spec

from focusvla.cli import main
from focusvla.errors import ConfigurationError
from focusvla.evaluation.episodes import PlannedEpisode, Question
from focusvla.evaluation.results import read_results
from focusvla_client import Observation

pytestmark = [
    pytest.mark.lerobot,
    pytest.mark.skipif(
        importlib.util.find_spec("lerobot") is None,
        reason="needs lerobot in an environment of its own: pip install lerobot==0.6.1 packages/focusvla-client .",
    ),
    pytest.mark.filterwarnings("default"),
]

CHUNK = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An untrained ACT for the small world, with the processors and statistics that lerobot saves beside it."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    path = tmp_path_factory.mktemp("act")
    torch.manual_seed(0)
    images = {
        f"observation.images.{camera.name}": PolicyFeature(FeatureType.VISUAL, (3, 32, 32))
        for camera in reach_spec(32).cameras
    }
    config = ACTConfig(
        input_features={**images, "observation.state": PolicyFeature(FeatureType.STATE, (2,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (2,))},
        chunk_size=CHUNK,
        n_action_steps=CHUNK,
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        n_encoder_layers=1,
        use_vae=False,
        pretrained_backbone_weights=None,
        device="cpu",
    )
    numbers = {"mean": torch.tensor([0.5, 0.5]), "std": torch.tensor([0.2, 0.2])}
    pixels = {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)}
    statistics = {"observation.state": numbers, "action": numbers, **dict.fromkeys(images, pixels)}
    before, after = make_pre_post_processors(config, dataset_stats=statistics)
    get_policy_class("act")(config).save_pretrained(path)
    before.save_pretrained(path)
    after.save_pretrained(path)
    return path


def loaded(folder: Path):
    from focusvla.evaluation.lerobot_policy import LeRobotPolicy

    return LeRobotPolicy(str(folder), "cpu", ("reach",), "")


def test_its_chunks_are_lerobots_own_queue_of_actions(folder):
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (32, 32, 3), np.uint8) for name in ("image", "image2")}
    seen = Observation(images, np.array([0.3, 0.6], np.float32), "reach the red disc")
    policy = loaded(folder)
    [chunk] = policy.infer([Question(PlannedEpisode("reach", 0, 0), 0, seen)])
    assert policy.traits().chunk_length == CHUNK

    config = PreTrainedConfig.from_pretrained(folder)
    theirs = get_policy_class("act").from_pretrained(folder, config=config)
    before, after = make_pre_post_processors(config, str(folder))
    batch = {
        f"observation.images.{name}": torch.from_numpy(image).permute(2, 0, 1).float() / 255
        for name, image in images.items()
    }
    batch |= {"observation.state": torch.tensor([0.3, 0.6]), "task": "reach the red disc"}
    with torch.inference_mode():
        queue = [after(theirs.select_action(before(dict(batch))))[0].numpy() for _ in range(CHUNK)]
    np.testing.assert_allclose(chunk, np.stack(queue), atol=1e-6)


def test_it_is_evaluated(folder, tmp_path, capsys):
    line = (
        f"evaluate --policy lerobot:{folder} --output {tmp_path / 'out'} --suites reach --tasks 0 --trials 2"
    )
    with pytest.raises(SystemExit) as stopped:
        main([*line.split(), "--workers", "1", "--no-videos", "--device", "cpu"])
    assert stopped.value.code == 0
    results = read_results(tmp_path / "out/results.jsonl")
    assert [(r.trial, r.error) for r in sorted(results, key=lambda r: r.trial)] == [(0, ""), (1, "")]
    assert str(results[0].policy).startswith("lerobot-")


def test_a_processor_of_elsewhere_is_not_imported(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    file = tmp_path / "policy_preprocessor.json"
    values = json.loads(file.read_text())
    values["steps"].append({"class": "antigravity.Step", "config": {}})
    file.write_text(json.dumps(values))
    with pytest.raises(ConfigurationError, match=r"antigravity\.Step"):
        loaded(tmp_path)


def test_a_policy_for_another_robot_is_refused(folder):
    from focusvla.evaluation.lerobot_policy import LeRobotPolicy

    with pytest.raises(ConfigurationError, match="expected, for libero_goal"):
        LeRobotPolicy(str(folder), "cpu", ("libero_goal",), "")
