from dataclasses import replace

import numpy as np
import pytest

from focusvla.errors import ConfigurationError
from focusvla.visualization.attention_maps import (
    FocusMaps,
    capture_focus,
    draw_attention_heat,
    draw_kept_patches,
    enlarge,
)

NUM_KEPT = 9


@pytest.fixture
def policy(make_policy, experiment):
    return make_policy(experiment)


@pytest.fixture
def maps():
    """One layer, two heads, one action step, two cameras of 2 x 2 patches."""
    weights = np.array([[[[0.5, 0.2, 0, 0, 0, 0, 0, 0.3]], [[0.1, 0, 0, 0.6, 0, 0.3, 0, 0]]]], np.float32)
    return FocusMaps(cameras=("front", "wrist"), weights=weights)


def hooks_of(policy):
    return sum(len(module._forward_hooks) for module in policy.model.modules())


def test_every_layer_head_and_action_step_keeps_exactly_k_patches(policy, observation):
    maps = capture_focus(policy, observation)
    layers, heads, queries, patches = 2, 2, 4, 32
    assert maps.weights.shape == (layers, heads, queries, patches)
    assert (maps.kept.sum(axis=-1) == NUM_KEPT).all()


def test_dropped_patches_weigh_nothing_and_kept_ones_all(policy, observation):
    maps = capture_focus(policy, observation)
    assert (maps.weights[~maps.kept] == 0).all()
    np.testing.assert_allclose(maps.weights.sum(axis=-1), 1, rtol=1e-5)


def test_looking_does_not_change_the_answer_and_leaves_no_hook(policy, observation):
    before = policy.infer(observation)
    capture_focus(policy, observation)
    assert hooks_of(policy) == 0
    np.testing.assert_array_equal(policy.infer(observation), before)


def test_a_refused_observation_leaves_no_hook(policy, observation):
    with pytest.raises(ConfigurationError, match=r"observation\.images: expected camera 'image'"):
        capture_focus(policy, replace(observation, images={}))
    assert hooks_of(policy) == 0


def test_a_blind_policy_has_no_focus_to_capture(make_policy, blind_experiment, observation):
    with pytest.raises(ConfigurationError, match=r"expected one that sees, got vision\.encoder='none'"):
        capture_focus(make_policy(blind_experiment), observation)


def test_the_patch_axis_is_cut_into_cameras_of_square_grids(maps):
    np.testing.assert_array_equal(maps.kept_share("front"), [[1.0, 0.5], [0.0, 0.5]])
    np.testing.assert_array_equal(maps.kept_share("wrist"), [[0.0, 0.5], [0.0, 0.5]])


def test_attention_mass_is_the_mean_weight_and_sums_to_one_over_cameras(maps):
    np.testing.assert_allclose(maps.attention_mass("front"), [[0.3, 0.1], [0.0, 0.3]], rtol=1e-6)
    np.testing.assert_allclose(maps.attention_mass("wrist"), [[0.0, 0.15], [0.0, 0.15]], rtol=1e-6)


def test_one_layer_can_be_looked_at_by_itself():
    weights = np.zeros((2, 1, 1, 4), np.float32)
    weights[0, 0, 0, 0] = weights[1, 0, 0, 3] = 1
    maps = FocusMaps(cameras=("front",), weights=weights)
    np.testing.assert_array_equal(maps.kept_share("front"), [[0.5, 0], [0, 0.5]])
    np.testing.assert_array_equal(maps.kept_share("front", layer=-1), [[0, 0], [0, 1]])


def test_kept_patches_look_as_they_are_and_dropped_ones_are_dark_and_gray():
    image = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    drawn = draw_kept_patches(image, np.array([[1.0, 0.0], [0.5, 1.0]]), size=16)
    assert drawn.shape == (16, 16, 3)
    assert (drawn[:8, :8] == image[0, 0]).all()
    assert (drawn[8:, 8:] == image[0, 0]).all()
    dropped = drawn[:8, 8:]
    assert (dropped == dropped[..., :1]).all()
    assert dropped.max() < 60
    assert (drawn[8:, :8] < image[0, 0]).all()
    assert drawn[8:, :8].sum() > dropped.sum()


def test_attention_heat_is_brightest_where_the_mass_is():
    image = np.full((8, 8, 3), 100, np.uint8)
    drawn = draw_attention_heat(image, np.array([[0.4, 0.0], [0.0, 0.1]]), brightest=0.4, size=16).sum(
        axis=-1
    )
    assert drawn[0, 0] > drawn[-1, -1] > drawn[0, -1]


def test_drawing_keeps_the_caller_s_image(observation):
    image = observation.images["image"]
    before = image.copy()
    draw_kept_patches(image, np.zeros((4, 4)))
    draw_attention_heat(image, np.zeros((4, 4)), brightest=0.0)
    np.testing.assert_array_equal(image, before)
    assert enlarge(image, 256).shape == (256, 256, 3)
