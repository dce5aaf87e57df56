"""The lerobot library itself reads what we write.

Its pinned packages do not fit beside ours, so these tests run in an environment of their own: pip install
lerobot==0.4.4, then focusvla without its dependencies, and pytest -m lerobot.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.lerobot_writer import LeRobotWriter
from focusvla_client import Camera, Spec
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
        reason="needs lerobot in an environment of its own: pip install lerobot==0.4.4, then -m lerobot",
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

    def open_dataset(**options):
        return LeRobotDataset("focusvla/test", root=dataset, video_backend="pyav", **options)

    return open_dataset


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
