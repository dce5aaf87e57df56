"""Demonstrations are recorded, resumed after a kill, and refused where they would overwrite something."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.errors import ConfigurationError, StorageError
from recorded_demonstrations import CONFIG

pytestmark = [pytest.mark.simulator, pytest.mark.slow]


def test_a_slow_camera_repeats_its_pictures(tmp_path, recorded):
    from focusvla.demonstrations.collect import collect_demonstrations

    config = dataclasses.replace(CONFIG, episodes_per_task=1, steps_per_picture=8, workers=1)
    summary = collect_demonstrations(config, tmp_path / "slow")
    assert summary["config"]["mesh_cell_meters"] == 0.008
    slow, fast = LeRobotSource(tmp_path / "slow"), LeRobotSource(recorded)
    assert (slow.steps_per_picture, fast.steps_per_picture) == (8, 1)
    np.testing.assert_array_equal(slow.episode(0).action, fast.episode(0).action)
    shown, seen = (np.array(list(source.frames(0, "image2")), int) for source in (slow, fast))
    assert len(shown) == len(seen)
    for step in range(len(shown)):
        np.testing.assert_allclose(shown[step].mean(), seen[step - step % 8].mean(), atol=0.5)
        np.testing.assert_allclose(shown[step], shown[step - step % 8], atol=30)


def test_a_recorded_episode_opens_the_gripper_at_its_end_and_its_frames_show_something(recorded):
    source = LeRobotSource(recorded)
    assert source.num_episodes == 2
    episode = source.episode(0)
    assert episode.instruction == "pick up the salad dressing and place it in the basket"
    assert episode.action[-1, 6] == -1.0
    assert (episode.action[:, 6] == 1.0).any()
    for camera in ("image", "image2"):
        frames = list(source.frames(0, camera))
        assert len(frames) == len(episode)
        assert frames[0].shape == (64, 64, 3)
        assert frames[0].std() > 10
        assert abs(frames[0].astype(int) - frames[-1]).mean() > 1


def test_an_existing_folder_and_an_unfinished_recording_of_other_values_are_refused(tmp_path):
    from focusvla.demonstrations.collect import collect_demonstrations

    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        collect_demonstrations(CONFIG, tmp_path / "taken")
    staging = tmp_path / "other.recording"
    staging.mkdir()
    (staging / "collection.json").write_text(json.dumps({"suite": "libero_object", "seed": 7}))
    with pytest.raises(ConfigurationError, match=r"unfinished data set with other values .*seed"):
        collect_demonstrations(CONFIG, tmp_path / "other")


def test_a_folder_that_cannot_be_written_and_a_suite_without_expert_are_named(tmp_path):
    from focusvla.demonstrations.collect import collect_demonstrations

    with pytest.raises(StorageError, match="expected a folder that can be written"):
        collect_demonstrations(CONFIG, Path("/proc/data"))
    with pytest.raises(ConfigurationError, match="has no scripted expert"):
        collect_demonstrations(dataclasses.replace(CONFIG, suite="libero_90"), tmp_path / "ninety")
