"""The lerobot library itself reads what we write, and we train on what it writes.

Its pinned packages are not those of `constraints.txt`, so these tests run in an environment of their own: pip install
lerobot packages/focusvla-client . pytest, then pytest -m lerobot; with 0.6.1 tests/environments/lerobot_0_6.sh does.
"""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.formats.lerobot_writer import LeRobotWriter
from focusvla.data.frame_cache import open_frame_cache
from focusvla.policy import load_policy
from focusvla.presets import tiny
from focusvla.suites.libero import libero_spec
from focusvla.training.metrics import read_metrics
from focusvla.training.trainer import train
from focusvla_client import Camera, Observation, Spec
from focusvla_client.spec import (
    ACTION_POSITION_DELTA,
    GRIPPER_OPEN_NEGATIVE,
    IMAGE_UPRIGHT,
    ROTATION_NONE,
)

pytestmark = [
    pytest.mark.lerobot,
    pytest.mark.skipif(
        importlib.util.find_spec("lerobot") is None,
        reason="needs lerobot in an environment of its own: pip install lerobot packages/focusvla-client .",
    ),
    # Warnings of the library and of what it pins are not ours to fix.
    pytest.mark.filterwarnings("default"),
]

LENGTHS = [12, 5, 1, 9]
TASKS = ["push the cube", "pull the cube", "push the cube", "wait"]
SPEC = Spec(
    cameras=(Camera("image", 32, 48), Camera("image2", 32, 32)),
    image_orientation=IMAGE_UPRIGHT,
    state=("x",),
    action=("dx", "dy", "gripper"),
    action_space=ACTION_POSITION_DELTA,
    rotation=ROTATION_NONE,
    gripper=GRIPPER_OPEN_NEGATIVE,
    control_rate_hz=20.0,
)


def _level(episode: int, step: int, camera: int) -> int:
    """Every frame is one gray level of its own."""
    return 40 * episode + 6 * step + 25 * camera


def _state(episode: int, step: int) -> list[float]:
    return [episode + step / 100]


def _action(episode: int, step: int) -> list[float]:
    return [step / 10, -float(episode), 1.0]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lerobot") / "dataset"
    with LeRobotWriter(path, SPEC, robot_type="arm") as writer:
        for episode, (length, task) in enumerate(zip(LENGTHS, TASKS, strict=True)):
            writer.add_episode(
                frames={
                    camera.name: [
                        np.full((camera.height, camera.width, 3), _level(episode, step, position), np.uint8)
                        for step in range(length)
                    ]
                    for position, camera in enumerate(SPEC.cameras)
                },
                state=np.array([_state(episode, step) for step in range(length)]),
                action=np.array([_action(episode, step) for step in range(length)]),
                instruction=task,
            )
    return path


@pytest.fixture
def open_with_lerobot(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    def open_source(**options):
        return LeRobotDataset("focusvla/test", root=dataset, video_backend="pyav", **options)

    return open_source


def test_lerobot_reads_every_frame_of_our_dataset(open_with_lerobot):
    dataset = open_with_lerobot()
    assert (dataset.num_episodes, len(dataset), dataset.fps) == (4, sum(LENGTHS), 20)
    steps = [(episode, step) for episode, length in enumerate(LENGTHS) for step in range(length)]
    for index, (episode, step) in enumerate(steps):
        item = dataset[index]
        assert (item["episode_index"].item(), item["frame_index"].item()) == (episode, step)
        assert item["index"].item() == index
        assert item["task"] == TASKS[episode]
        assert item["timestamp"].item() == pytest.approx(step / 20)
        np.testing.assert_array_equal(
            item["observation.state"].reshape(-1), np.array(_state(episode, step), np.float32)
        )
        np.testing.assert_array_equal(item["action"], np.array(_action(episode, step), np.float32))
        for position, (camera, shape) in enumerate((("image", (3, 32, 48)), ("image2", (3, 32, 32)))):
            image = item[f"observation.images.{camera}"]
            assert tuple(image.shape) == shape
            np.testing.assert_allclose(image * 255, _level(episode, step, position), atol=2.5)


def test_lerobot_makes_chunks_from_delta_timestamps(open_with_lerobot):
    chunk = [step / 20 for step in range(4)]
    dataset = open_with_lerobot(delta_timestamps={"action": chunk, "observation.images.image": [-0.05, 0.0]})
    item = dataset[12 + 3]  # step 3 of the 5 of episode 1
    np.testing.assert_allclose(item["action"][:, 0], [0.3, 0.4, 0.4, 0.4], rtol=1e-6)
    assert item["action_is_pad"].tolist() == [False, False, True, True]
    levels = item["observation.images.image"].mean((1, 2, 3)) * 255
    np.testing.assert_allclose(levels, [_level(1, 2, 0), _level(1, 3, 0)], atol=2.5)


def test_lerobot_selects_episodes(open_with_lerobot):
    dataset = open_with_lerobot(episodes=[1, 3])
    assert [dataset[index]["episode_index"].item() for index in range(len(dataset))] == [1] * 5 + [3] * 9
    level = dataset[5]["observation.images.image2"].mean() * 255
    assert level.item() == pytest.approx(_level(3, 0, 1), abs=2.5)


def test_lerobot_accepts_our_statistics(open_with_lerobot):
    from lerobot.datasets.compute_stats import aggregate_stats  # pyright: ignore[reportMissingImports]

    dataset = open_with_lerobot()
    aggregate_stats([dataset.meta.stats, dataset.meta.stats])  # checks every shape
    statistics = dataset.meta.stats["action"]
    assert {"min", "max", "mean", "std", "count", "q01", "q99"} <= set(statistics)
    np.testing.assert_allclose(statistics["max"], [1.1, 0.0, 1.0], rtol=1e-6)


def test_a_torch_loader_batches_our_dataset(open_with_lerobot):
    from torch.utils.data import DataLoader

    batches = list(DataLoader(open_with_lerobot(), batch_size=10, shuffle=False))
    assert [len(batch["action"]) for batch in batches] == [10, 10, 7]
    assert batches[0]["task"][0] == TASKS[0]


ARM = libero_spec(64)


@pytest.fixture(scope="module")
def written_by_lerobot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes that lerobot records and encodes in its own way; every frame is one gray level."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    path = tmp_path_factory.mktemp("theirs") / "dataset"
    features: dict[str, Any] = {
        f"observation.images.{camera.name}": {
            "dtype": "video",
            "shape": (camera.height, camera.width, 3),
            "names": ["height", "width", "channels"],
        }
        for camera in ARM.cameras
    }
    for key, names in (("observation.state", ARM.state), ("action", ARM.action)):
        features[key] = {"dtype": "float32", "shape": (len(names),), "names": list(names)}
    dataset = LeRobotDataset.create("theirs", fps=20, features=features, root=path)
    rng = np.random.default_rng(0)
    for episode, length in enumerate(LENGTHS):
        for step in range(length):
            frame: dict[str, Any] = {
                f"observation.images.{camera.name}": np.full(
                    (64, 64, 3), _level(episode, step, position), np.uint8
                )
                for position, camera in enumerate(ARM.cameras)
            }
            frame["observation.state"] = rng.normal(size=len(ARM.state)).astype(np.float32)
            frame["action"] = rng.uniform(-1, 1, len(ARM.action)).astype(np.float32)
            dataset.add_frame(frame | {"task": TASKS[episode]})
        dataset.save_episode()
    dataset.finalize()
    return path


def test_we_read_every_frame_of_a_dataset_that_lerobot_wrote(written_by_lerobot: Path, tmp_path: Path):
    source = LeRobotSource(written_by_lerobot, ARM)
    assert [len(source.episode(index)) for index in range(source.num_episodes)] == LENGTHS
    assert [source.episode(index).instruction for index in range(4)] == TASKS
    source.statistics().require_fitting(ARM)
    images = open_frame_cache(source, tmp_path, size=32).images
    expected = [
        [_level(episode, step, position) for position in range(2)]
        for episode, length in enumerate(LENGTHS)
        for step in range(length)
    ]
    np.testing.assert_allclose(images[:, :, 16, 16, 0].astype(int), expected, atol=4)


def test_a_model_trains_on_a_dataset_that_lerobot_wrote(written_by_lerobot: Path, tmp_path: Path):
    experiment = tiny()
    training = dataclasses.replace(experiment.training, steps=20, log_every=1, learning_rate=3e-3)
    experiment = dataclasses.replace(experiment, training=training)
    train(experiment, LeRobotSource(written_by_lerobot, ARM), tmp_path / "run", cache_folder=tmp_path)
    losses = [line["loss"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert len(losses) == 20
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    policy = load_policy(tmp_path / "run")
    observation = Observation(
        images={camera.name: np.zeros((64, 64, 3), np.uint8) for camera in ARM.cameras},
        state=np.zeros(len(ARM.state), np.float32),
        instruction=TASKS[0],
    )
    assert np.isfinite(policy.infer(observation)).all()
