"""Attention along an episode in one byte a patch."""

import dataclasses

import numpy as np
import pytest

from focusvla.config import PictureConfig
from focusvla.errors import ConfigurationError
from focusvla.visualization import focus_grids
from focusvla.visualization.attention_maps import capture_focus
from focusvla.visualization.focus_grids import capture_grids, choose_layers


def test_grids_are_the_maps_in_256_steps_with_means_before_layers_and_heads(
    make_policy, experiment, observation
):
    policy = make_policy(experiment)
    other = dataclasses.replace(observation, state=np.ones(8, np.float32))
    calls = []
    grids = capture_grids(policy, [observation, other], lambda: calls.append(1))
    assert (len(calls), grids.rows, grids.columns, grids.layers) == (2, 4, 4, (1, 2))
    assert grids.cameras == ("image", "image2")
    for index, asked in enumerate((observation, other)):
        maps = capture_focus(policy, asked)
        expected = maps.weights[1, 0].mean(axis=0)
        np.testing.assert_allclose(
            grids.attention[index, 2, 1] / 255, expected / expected.max(), atol=0.5 / 255
        )
        for camera in grids.cameras:
            mean = grids.of_camera(grids.kept, camera)[index, 0, 0] / 255
            np.testing.assert_allclose(mean, maps.kept_share(camera), atol=0.5 / 255)
            last = grids.of_camera(grids.kept, camera)[index, 2, 0] / 255
            np.testing.assert_allclose(last, maps.kept_share(camera, layer=1), atol=0.5 / 255)


def test_all_cameras_of_a_moment_share_a_scale(make_policy, experiment, observation):
    grids = capture_grids(make_policy(experiment), [observation], lambda: None)
    assert (grids.attention.max(axis=-1) == 255).all()
    brightest = grids.of_camera(grids.attention, "image").max(axis=(-1, -2))
    assert (brightest < 255).any()


@pytest.mark.parametrize(
    ("num_layers", "room", "chosen"),
    [(24, 4, [5, 11, 17, 23]), (3, 9, [0, 1, 2]), (24, 0, [23]), (5, 2, [1, 4])],
)
def test_layers_are_left_out_evenly_until_the_rest_fits_and_never_the_last(num_layers, room, chosen):
    bytes_per_layer = focus_grids.MAX_BYTES // (room + 1)
    assert choose_layers(num_layers, bytes_per_layer) == chosen


def test_a_blind_policy_has_no_grids(make_policy, blind_experiment, observation):
    with pytest.raises(ConfigurationError, match="attends to no patches"):
        capture_grids(make_policy(blind_experiment), [observation], lambda: None)


def test_grids_say_how_much_of_a_picture_the_patches_cover(make_policy, experiment, observation):
    pictures = PictureConfig(center_crop_area=0.81)
    cropped = dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, pictures=pictures))
    sides = [
        capture_grids(make_policy(each), [observation], lambda: None).seen_side
        for each in (experiment, cropped)
    ]
    assert sides == [1.0, pytest.approx(0.9)]
