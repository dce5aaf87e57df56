"""Numbers on maps and segmentations made by hand, whose shares are known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from focusvla.visualization.attention_maps import FocusMaps, Look
from focusvla.visualization.focus_metrics import entropy_bits, measure, patch_coverage, region_shares


@pytest.fixture
def maps():
    """One layer, two heads, one action step, two cameras of 2 x 2 patches."""
    weights = np.array([[[[0.5, 0.25, 0, 0, 0, 0, 0, 0.25]], [[0.5, 0, 0, 0, 0, 0.5, 0, 0]]]], np.float32)
    return FocusMaps(cameras=("front", "wrist"), weights=weights)


@pytest.fixture
def regions():
    """The object on the left half of the front camera's first patch and all of the wrist's last; the target nowhere; the
    gripper on the wrist's upper half."""
    front, wrist = np.zeros((3, 8, 8), bool), np.zeros((3, 8, 8), bool)
    front[0, :4, :2] = True
    wrist[0, 4:, 4:] = True
    wrist[2, :4] = True
    return {"front": front, "wrist": wrist}


def test_entropy_counts_bits_and_a_dropped_patch_adds_none():
    rows = np.array([[0.5, 0.25, 0.25, 0], [1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    np.testing.assert_allclose(entropy_bits(rows), [1.5, 0, 2])


def test_a_patch_counts_by_the_share_of_its_pixels_also_where_sizes_do_not_divide(regions):
    np.testing.assert_allclose(patch_coverage(regions["front"], (2, 2))[0], [0.5, 0, 0, 0])
    np.testing.assert_allclose(patch_coverage(regions["wrist"], (2, 2))[2], [1, 1, 0, 0])
    assert patch_coverage(regions["wrist"], (3, 3))[2].reshape(3, 3)[0] == pytest.approx([1, 1, 1])


def test_attention_and_kept_patches_on_a_region_are_their_shares_of_its_pixels(maps, regions):
    shares = region_shares(maps, regions)
    # Mean weights: 0.5 on the object's half patch, 0.125 on its whole one; 0.25 on a patch of the gripper.
    np.testing.assert_allclose(shares.attention, [[0.5 * 0.5 + 0.125, 0, 0.25]])
    # Five patches kept by two heads: the half one by both, the object's whole one and the gripper's by one each.
    np.testing.assert_allclose(shares.kept, [[(2 * 0.5 + 1) / 5, 0, 1 / 5]])
    # Of the object's 1.5 patches the half one is kept by all heads, the other by half of them; of the gripper's two, one.
    np.testing.assert_allclose(shares.retained, [[(0.5 + 0.5) / 1.5, math.nan, 0.25]])
    np.testing.assert_allclose(shares.chance, [1.5 / 8, 0, 2 / 8])


def test_attention_that_does_not_choose_has_chance_on_every_region(regions):
    uniform = FocusMaps(("front", "wrist"), np.full((2, 2, 3, 8), 1 / 8, np.float32))
    shares = region_shares(uniform, regions)
    for found in (shares.attention, shares.kept):
        np.testing.assert_allclose(found, [shares.chance] * 2, rtol=1e-6)


def test_a_frame_s_numbers_are_means_over_heads_and_become_json_with_null_for_what_is_not_seen(maps, regions):
    look = Look(
        maps, np.array([[0.25, 0.5, 0.25]], np.float32), weight_shares=None, gate=np.array([[0.5, 0.75]], np.float32)
    )  # fmt: skip
    found = measure(look, regions)
    np.testing.assert_allclose(found.entropy, [(1.5 + 1) / 2])
    np.testing.assert_allclose(found.camera_shares, [[(0.75 + 0.5) / 2, (0.25 + 0.5) / 2]])
    np.testing.assert_allclose(found.kept_patches, [2.5])
    numbers = found.to_dict()
    assert numbers["retained_on"] == {"object": [0.66667], "target": [None], "gripper": [0.25]}
    assert numbers["chance_on"]["object"] == 0.1875
    assert (numbers["gate"], numbers["weight_shares"]) == ([[0.5, 0.75]], None)
    assert "attention_on" not in measure(look, None).to_dict()


def test_of_a_policy_that_crops_only_what_it_sees_counts(maps, regions):
    cropped = replace(maps, seen_area=0.25)  # 0-based pixels 1.75 to 5.25 of 8
    shares = region_shares(cropped, regions)
    assert shares.chance[2] == pytest.approx(0.25)  # the upper half of one camera's middle
    outside = {camera: np.zeros((3, 8, 8), bool) for camera in regions}
    outside["front"][0, :1] = True
    assert region_shares(cropped, outside).chance[0] == 0
    assert region_shares(maps, outside).chance[0] == pytest.approx(1 / 16)
