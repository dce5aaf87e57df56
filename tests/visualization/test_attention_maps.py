from dataclasses import replace

import numpy as np
import pytest

from focusvla.config import PictureConfig
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


def test_maps_of_a_policy_that_crops_lie_on_what_it_sees(make_policy, experiment, observation):
    """A quarter of the area is the middle half of each side."""
    pictures = PictureConfig(center_crop_area=0.25)
    model = replace(experiment.model, pictures=pictures)
    maps = capture_focus(make_policy(replace(experiment, model=model)), observation)
    assert maps.seen_area == 0.25
    framed = np.zeros((33, 33, 3), np.uint8)
    framed[8:25, 8:25] = 200  # 8 pixels around it are cropped
    assert (maps.seen(framed) == 200).all()
    mask = np.zeros((1, 33, 33), bool)
    mask[0, :, :16] = True
    share = maps.seen_share(mask)[0]
    assert share[:, :15].min() == 1
    assert share[:, 18:].max() == 0
    whole = capture_focus(make_policy(experiment), observation)
    np.testing.assert_array_equal(whole.seen(framed), framed)


def test_a_policy_that_reads_one_position_too_early_is_drawn_on_the_patches_that_it_means(
    make_policy, experiment, observation
):
    """The token before the patches stands first, each patch one later, and the last is never seen."""
    policy = make_policy(experiment)
    exact = capture_focus(policy, observation).weights
    shifted = replace(policy.experiment.model, alignment="vla_adapter", num_tokens_before_vision=1)
    policy.experiment = replace(
        policy.experiment, model=shifted
    )  # drawn as such; the model answers as before
    found = capture_focus(policy, observation).weights
    kept = exact[..., 1:].sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found[..., :-1], exact[..., 1:] / np.where(kept > 0, kept, 1), atol=1e-6)
    assert (found[..., -1] == 0).all()
