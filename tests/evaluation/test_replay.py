"""A demonstration succeeds again, to the last bit, and one whose conventions were broken does not."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from focusvla.errors import ConfigurationError
from focusvla.evaluation.replay import RecordedActions, replay
from focusvla_client import Observation


def test_recorded_actions_come_eight_at_a_time_and_end():
    policy = RecordedActions(np.arange(70.0).reshape(10, 7), ("image",))
    observation = Observation({}, np.zeros(8, np.float32), "")
    assert [len(policy.infer(observation)) for _ in range(3)] == [8, 2, 0]
    policy.reset()
    assert policy.infer(observation)[0, 0] == 0


@pytest.mark.simulator
@pytest.mark.slow
def test_a_demonstration_succeeds_again_and_with_the_gripper_reversed_it_does_not(tmp_path, recorded):
    data = shutil.copytree(recorded, tmp_path / "data")
    for result in replay(data, workers=1):
        assert result.success
        assert result.steps == result.recorded_steps
        assert result.state_difference == 0.0
        assert result.picture_difference < 3.0  # the video's compression

    file = next(data.glob("data/*/*.parquet"))
    table = pq.read_table(file)
    actions = np.array(table["action"].to_pylist(), np.float32)
    actions[:, 6] *= -1
    reversed_ = pa.FixedSizeListArray.from_arrays(pa.array(actions.reshape(-1)), 7)
    pq.write_table(table.set_column(table.schema.get_field_index("action"), "action", reversed_), file)
    (broken,) = replay(data, num_episodes=1, workers=1)
    assert not broken.success


@pytest.mark.simulator
@pytest.mark.slow
def test_a_gripper_that_is_held_at_zero_replays_and_does_not_with_a_little_noise(tmp_path, recorded):
    """LIBERO takes the sign of a gripper's action: 0 holds it, and 0.001 closes or opens it."""
    data = shutil.copytree(recorded, tmp_path / "data")
    (plain,) = replay(data, num_episodes=1, workers=1, noise=0.02)
    assert plain.success
    assert plain.state_difference > 0

    file = next(data.glob("data/*/*.parquet"))
    table = pq.read_table(file)
    actions = np.array(table["action"].to_pylist(), np.float32)
    closed = actions[:, 6] > 0
    is_held = closed & np.concatenate([np.zeros(12, bool), closed[:-12]])
    actions[is_held, 6] = 0
    held = pa.FixedSizeListArray.from_arrays(pa.array(actions.reshape(-1)), 7)
    pq.write_table(table.set_column(table.schema.get_field_index("action"), "action", held), file)
    (exact,), (noisy,) = (replay(data, num_episodes=1, workers=1, noise=noise) for noise in (0.0, 0.02))
    assert exact.success
    assert not noisy.success


@pytest.mark.simulator
@pytest.mark.slow
def test_disturbed_demonstrations_are_not_replayed(tmp_path, recorded):
    data = shutil.copytree(recorded, tmp_path / "data")
    episodes = next(data.glob("meta/episodes/*/*.parquet"))
    table = pq.read_table(episodes)
    place = table.schema.get_field_index("metadata")
    made = [json.loads(text) for text in table["metadata"].to_pylist()]
    pushed = pa.array([json.dumps(each | {"pushes": True}) for each in made])
    pq.write_table(table.set_column(place, "metadata", pushed), episodes)
    with pytest.raises(ConfigurationError, match="expected undisturbed demonstrations, got none among 2"):
        replay(data)
    pq.write_table(table.set_column(place, "metadata", pa.array([json.dumps({})] * 2)), episodes)
    with pytest.raises(ConfigurationError, match="expected episodes that say where they began"):
        replay(data)
