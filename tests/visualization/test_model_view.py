"""Training and evaluation show a model the same pictures, or it is told that they do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focusvla.config import ExperimentConfig, PictureConfig, TransformerConfig, VisionConfig
from focusvla.data.batch_order import step_generator
from focusvla.data.crops import crop_center
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.inspection.problems import Problem
from focusvla.data.memory import MemorySource, random_source
from focusvla.data.normalization import Quantiles, Statistics
from focusvla.data.transforms import augment
from focusvla.errors import DataError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.vision import build_vision_encoder
from focusvla.policy import FocusVLAPolicy
from focusvla.presets import fitted, preset
from focusvla.suites.libero import libero_spec
from focusvla.visualization.model_view import (
    ModelView,
    encoder_pixels,
    find_view_problems,
    view_data,
    weightless_policy,
)
from focusvla_client import Camera
from focusvla_client.spec import IMAGE_UPRIGHT


@pytest.fixture
def source(arm_source) -> MemorySource:
    """Three episodes of 9, 7 and 8 steps, whose pictures have the size that the `tiny` preset sees."""
    return arm_source()


@pytest.fixture
def experiment(source) -> ExperimentConfig:
    return fitted(preset("tiny"), source.spec)


def frame(source: MemorySource, episode: int, step: int, camera: str) -> np.ndarray:
    return list(source.frames(episode, camera))[step]


def test_pictures_of_the_model_s_size_are_the_same_in_training_and_in_evaluation(source, experiment):
    view = view_data(source, experiment, episodes=[0, 2])
    assert [(moment.episode, moment.step) for moment in view.moments] == [(0, 0), (2, 3)]
    for moment in view.moments:
        for camera in moment.cameras:
            recorded = frame(source, moment.episode, moment.step, camera.camera)
            for seen in (camera.recorded, camera.training, camera.evaluation):
                np.testing.assert_array_equal(seen, recorded)
    assert (view.picture_difference, view.state_difference) == (0, 0)
    assert find_view_problems(view) == []


def test_varied_pictures_are_draws_of_the_training_s_own_augmentation(source, experiment):
    learning = replace(experiment.model, vision=replace(experiment.model.vision, trainable=True))
    view = view_data(source, replace(experiment, model=learning), episodes=[1])
    stored = torch.from_numpy(np.stack([frame(source, 1, 0, name) for name in ("image", "image2")]))[None]
    for draw in range(3):
        expected = augment(stored, experiment.training.augmentation, step_generator(0, draw))[0].numpy()
        for place, camera in enumerate(view.moments[0].cameras):
            np.testing.assert_array_equal(camera.varied[draw], expected[place])


def test_a_frozen_encoder_shows_as_many_varied_pictures_as_it_trains_on(source):
    frozen = fitted(preset("mini"), source.spec)
    assert view_data(source, frozen, episodes=[0]).moments[0].cameras[0].varied == ()
    training = replace(frozen.training, augmented_copies=2)
    view = view_data(source, replace(frozen, training=training), episodes=[0])
    assert len(view.moments[0].cameras[0].varied) == 2


def test_an_untrained_policy_sees_what_one_with_weights_sees(source, experiment):
    statistics = source.statistics()
    policy = FocusVLAPolicy(FocusVLA(experiment.model), source.spec, statistics, experiment)
    with_weights = view_data(source, experiment, policy, episodes=[0]).moments[0].cameras[0]
    without = view_data(source, experiment, episodes=[0]).moments[0].cameras[0]
    np.testing.assert_array_equal(with_weights.evaluation, without.evaluation)


class Turning(FocusVLAPolicy):
    """A policy with the mistake that users make: it turns its pictures upside down."""

    def model_inputs(self, *observations):
        inputs = super().model_inputs(*observations)
        assert inputs.images is not None
        return replace(inputs, images=inputs.images.flip(2))


def test_a_policy_that_turns_its_pictures_is_told(source, experiment):
    model = weightless_policy(experiment, source.spec, source.statistics()).model
    view = view_data(
        source, experiment, Turning(model, source.spec, source.statistics(), experiment), episodes=[0]
    )
    camera = view.moments[0].cameras[0]
    np.testing.assert_array_equal(camera.evaluation, frame(source, 0, 0, "image")[::-1])
    difference = np.abs(camera.training.astype(int) - camera.evaluation).mean()
    assert camera.difference == pytest.approx(difference)
    (problem,) = find_view_problems(view)
    assert problem.severity == "warning"
    assert problem.finding.startswith("training and evaluation show the model different pictures: 8")


def test_a_larger_picture_is_the_frame_cache_s_in_training(experiment, tmp_path):
    larger = random_source(libero_spec(48), (9, 7, 8))
    cache = open_frame_cache(larger, tmp_path, size=32)
    view = view_data(larger, experiment, episodes=[1, 2])
    for moment, row in zip(view.moments, (9, 9 + 7 + 3), strict=True):  # after episodes of 9 and of 7 steps
        for place, camera in enumerate(moment.cameras):
            assert camera.recorded.shape == (48, 48, 3)
            assert camera.evaluation.shape == (32, 32, 3)
            np.testing.assert_array_equal(camera.training, cache.images[row, place])


def test_a_difference_that_no_eye_sees_is_only_a_note(source, experiment):
    view = view_data(source, experiment, episodes=[0])
    (moment,) = view.moments
    blurred = replace(moment, cameras=(replace(moment.cameras[0], difference=0.8), moment.cameras[1]))
    assert find_view_problems(replace(view, moments=(blurred,))) == [
        Problem(
            "note",
            "training and evaluation show the model different pictures: 0.40 of 255 in the mean",
            "Each resizes to 32 pixels in its own way. Record at 32 pixels.",
        )
    ]


def test_statistics_of_another_data_set_in_the_checkpoint_are_told(source, experiment):
    own = source.statistics()
    wider = Statistics(action=own.action, state=Quantiles(q01=(-9.0,) * 8, q99=(9.0,) * 8))
    view = view_data(source, experiment, weightless_policy(experiment, source.spec, wider), episodes=[0])
    (problem,) = find_view_problems(view)
    assert problem.finding.startswith("the checkpoint normalizes states otherwise than the data set")


def test_each_convention_in_which_a_checkpoint_differs_is_a_problem(source, experiment):
    other = replace(source.spec, image_orientation=IMAGE_UPRIGHT, control_rate_hz=10.0)
    policy = weightless_policy(experiment, other, source.statistics())
    found = [
        problem.finding for problem in find_view_problems(view_data(source, experiment, policy, episodes=[0]))
    ]
    assert [finding.split(":")[0] for finding in found] == [
        "checkpoint and data set differ in image_orientation",
        "checkpoint and data set differ in control_rate_hz",
    ]
    assert "10.0 against 20.0 (checkpoint first)" in found[1]


def test_a_policy_that_refuses_the_recorded_pictures_is_told_in_place_of_pictures(source, experiment):
    other = replace(source.spec, cameras=(Camera("front", 32, 32), Camera("image2", 32, 32)))
    view = view_data(
        source, experiment, weightless_policy(experiment, other, source.statistics()), episodes=[0]
    )
    assert view.moments == ()
    assert view.absent.startswith("The policy refuses what the data set holds: observation.images: expected")
    assert "expected camera 'front', got image, image2" in find_view_problems(view)[1].finding


def test_a_blind_experiment_sees_no_pictures(source):
    view = view_data(source, fitted(preset("mini_blind"), source.spec), episodes=[0])
    assert (view.absent, view.moments) == ("The experiment is vision-blind: it sees no pictures.", ())
    assert (view.picture_difference, view.state_difference) == (None, None)


def test_pictures_are_shown_of_a_data_set_without_statistics_too(source, experiment):
    class WithoutStatistics(MemorySource):
        def statistics(self):
            raise DataError("meta/stats.json: expected statistics, got no such file. Compute them.")

    episodes = [source.episode(0)]
    frames = {name: np.stack(list(source.frames(0, name))) for name in ("image", "image2")}
    bare = WithoutStatistics(source.spec, episodes, [frames])
    assert view_data(bare, experiment, episodes=[0]).picture_difference == 0


@pytest.mark.parametrize("encoder", ["patches", "dinov2_siglip"])
def test_pixels_are_those_that_reach_the_encoder_s_networks(encoder):
    sizes = TransformerConfig(hidden_size=8, num_layers=2, num_heads=2, intermediate_size=8)
    vision = VisionConfig(encoder=encoder, image_size=32, patch_size=8, dinov2=sizes, siglip=sizes)
    model = build_vision_encoder(vision)
    assert model is not None
    seen = []
    first = next(each for each in model.modules() if isinstance(each, torch.nn.Conv2d))
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.randint(0, 256, (1, 2, 40, 40, 3), dtype=torch.uint8)
    model(images)
    pixels = encoder_pixels(images, vision)[0].permute(0, 3, 1, 2)
    # Networks normalize each channel; that leaves the order of the values as it is, and their ratios.
    for channel in range(3):
        ours, theirs = pixels[:, channel].flatten(), seen[0][:, channel].flatten()
        assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 1 - 1e-5
    assert pixels.min() >= -1
    assert 200 < pixels.max() < 300


def test_a_policy_s_own_picture_steps_are_shown_and_no_warning(source, experiment):
    def view(**steps) -> ModelView:
        stepping = replace(experiment.model, pictures=PictureConfig(**steps))
        return view_data(source, replace(experiment, model=stepping), episodes=[0])

    whole, cropped, compressed = (
        view(**steps) for steps in ({}, {"center_crop_area": 0.9}, {"jpeg_quality": 5})
    )
    camera = cropped.moments[0].cameras[0]
    stored = torch.from_numpy(whole.moments[0].cameras[0].training.copy())
    np.testing.assert_array_equal(camera.evaluation, crop_center(stored, 0.9))
    np.testing.assert_array_equal(camera.training, camera.evaluation)  # as validation sees it
    assert find_view_problems(cropped) == []
    (problem,) = find_view_problems(compressed)
    assert problem.severity == "note"
    assert problem.finding.startswith("the policy's own picture steps (jpeg5) change ")
