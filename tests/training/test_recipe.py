"""The published recipe's parts where training uses them, on data and models of toy size."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from focusvla.checkpoint import best_step
from focusvla.config import Augmentation, ExecutionConfig, PictureConfig
from focusvla.data.crops import crop_center
from focusvla.data.frame_cache import open_frame_cache
from focusvla.errors import ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.policy import load_policy
from focusvla.presets import paper, tiny
from focusvla.training.engine import Engine
from focusvla.training.features import open_features
from focusvla.training.metrics import read_metrics
from focusvla.training.run import begin_run
from focusvla.training.trainer import accumulate_gradients, train
from focusvla.types import Batch, ModelInputs
from focusvla_client import Observation


def test_a_run_of_before_a_field_was_added_goes_on_unless_its_value_differs(tmp_path):
    begin_run(tmp_path / "run", tiny())
    file = tmp_path / "run" / "experiment.json"
    described = json.loads(file.read_text())
    del described["training"]["weight_decay_on"]
    file.write_text(json.dumps(described))
    begin_run(tmp_path / "run", tiny())
    decaying = dataclasses.replace(tiny().training, weight_decay_on="all")
    with pytest.raises(ConfigurationError, match=r"training.weight_decay_on: 'matrices' there, 'all' here"):
        begin_run(tmp_path / "run", dataclasses.replace(tiny(), training=decaying))


def test_the_loss_weighs_each_dimension_of_the_action(tmp_path):
    class Still(torch.nn.Module):
        """Answers 0 for two steps of two dimensions."""

        def __init__(self):
            super().__init__()
            self.answer = torch.nn.Parameter(torch.zeros(2, 2))

        def forward(self, inputs: ModelInputs) -> torch.Tensor:
            return self.answer.expand(len(inputs.state), 2, 2)

    actions = torch.tensor([[[1.0, 1.0], [3.0, 2.0]]])
    inputs = ModelInputs(
        images=None,
        features=None,
        token_ids=torch.zeros(1, 1, dtype=torch.int64),
        token_mask=torch.ones(1, 1, dtype=torch.bool),
        state=torch.zeros(1, 2),
    )
    batch = Batch(inputs=inputs, actions=actions, action_mask=torch.tensor([[True, True]]))
    engine, model = Engine(ExecutionConfig(), "float32", tmp_path), Still()
    loss, _ = accumulate_gradients(model, iter([batch]), 1, 2, engine, torch.tensor([1.0, 0.5]))
    assert loss.item() == (1 + 0.5 * 1 + 3 + 0.5 * 2) / 4
    assert model.answer.grad is not None
    assert model.answer.grad.tolist() == [[-0.25, -0.125]] * 2


def test_a_policy_that_sees_the_middle_is_not_trained_on_whole_pictures(arm_source, tmp_path):
    model = dataclasses.replace(tiny().model, pictures=PictureConfig(center_crop_area=0.9))
    with pytest.raises(ConfigurationError, match=r"augmentation.crop_area: expected 0.9, .* got 1"):
        train(dataclasses.replace(tiny(), model=model), arm_source(), tmp_path / "run", cache_folder=tmp_path)
    assert not (tmp_path / "run").exists()


def test_the_first_copy_of_a_frozen_encoders_features_is_of_what_the_policy_will_see(arm_source, tmp_path):
    config = dataclasses.replace(tiny().model, pictures=PictureConfig(center_crop_area=0.9))
    model = FocusVLA(config)
    cache = open_frame_cache(arm_source((3,)), tmp_path, size=32)
    settings = Augmentation(crop_area=0.9, colors="successive")
    training = dataclasses.replace(tiny().training, augmentation=settings, augmented_copies=1)
    features = open_features(model, cache, training, lambda done, total: None)
    images = torch.from_numpy(np.array(cache.images))
    with torch.inference_mode():
        expected = model.encode_images(crop_center(images, 0.9)).half().numpy()
        whole = model.encode_images(images).half().numpy()
    np.testing.assert_array_equal(features[0], expected)
    assert not np.array_equal(features[1], expected)
    assert not np.array_equal(features[0], whole)


def test_features_are_the_same_from_any_number_of_cores(arm_source, tmp_path, monkeypatch):
    model, training = FocusVLA(tiny().model), dataclasses.replace(tiny().training, augmented_copies=1)
    cache = open_frame_cache(arm_source((40,)), tmp_path, size=32)
    tables, told = [], []
    for threads, processes in ((1, 1), (3, 2)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        tables.append(np.array(open_features(model, cache, training, lambda done, total: told.append(done))))
        for path in tmp_path.glob("features-*"):
            path.unlink()
    np.testing.assert_array_equal(tables[0], tables[1])
    assert told == [16, 32, 40] * 2


def test_features_are_those_of_the_encoder_that_asks_also_if_another_of_its_kind_asked_before(
    arm_source, tmp_path
):
    training = dataclasses.replace(tiny().training, augmented_copies=0)
    cache = open_frame_cache(arm_source((3,)), tmp_path, size=32)
    model, other = FocusVLA(tiny().model), FocusVLA(tiny().model)
    before, after = (
        np.array(open_features(each, cache, training, lambda done, total: None)) for each in (model, other)
    )
    assert not np.array_equal(before, after)
    learned = dataclasses.replace(
        model.config, vision=dataclasses.replace(model.config.vision, trainable=True)
    )
    same = FocusVLA(learned)
    same.load_state_dict(model.state_dict())
    told: list[int] = []
    again = open_features(same, cache, training, lambda done, total: told.append(done))
    np.testing.assert_array_equal(again, before)
    assert told == []


def test_a_data_set_is_trained_on_by_the_published_recipe_and_short_episodes_are_told(arm_source, tmp_path):
    published = dataclasses.replace(
        paper().training, steps=2, batch_size=4, precision="float32", log_every=1, checkpoint_every=2
    )
    model = dataclasses.replace(tiny().model, pictures=PictureConfig(center_crop_area=0.9))
    remarks: list[str] = []
    train(
        dataclasses.replace(tiny(), model=model, training=published),
        arm_source((9, 3, 8)),
        tmp_path / "run",
        cache_folder=tmp_path,
        on_remark=remarks.append,
    )
    assert remarks[1:] == [  # the first is about the random gripper
        "1 of 3 episodes are shorter than a chunk of 4 steps and left out (last_frames='dropped')"
    ]
    assert best_step(read_metrics(tmp_path / "run" / "metrics.jsonl"), [2]) is None
    policy = load_policy(tmp_path / "run")
    far = np.full(8, 1e6, np.float32)
    images = {name: np.zeros((32, 32, 3), np.uint8) for name in ("image", "image2")}
    state = policy.model_inputs(Observation(images=images, state=far, instruction="push the bowl")).state
    assert state.tolist() == [[1.0] * 8]
