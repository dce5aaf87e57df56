"""VLA-Adapter's augmentation: a crop, then one change of color after the other, each checked by itself."""

import colorsys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from focusvla.config import Augmentation
from focusvla.data.transforms import augment, crop_and_vary_colors, draw_variations, from_hsv, to_hsv, vary
from focusvla.errors import ConfigurationError
from focusvla.presets import paper, paper_recommended

PUBLISHED = paper().training.augmentation
COLORS = Augmentation(colors="successive", brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def varied(pixels: Tensor, settings: Augmentation, *colors: float) -> Tensor:
    """One image (height, width, 3) with brightness, contrast, saturation and hue by these shares of `settings`."""
    drawn = torch.tensor(colors, dtype=torch.float32).view(1, 1, 4)
    return crop_and_vary_colors(pixels.to(torch.uint8)[None, None], torch.zeros(1, 1, 2), drawn, settings)[
        0, 0
    ]


def test_published_crops_lie_on_the_diagonal_and_the_recommended_ones_anywhere():
    diagonal = draw_variations(PUBLISHED, 200, 2, _generator()).corners
    assert torch.equal(diagonal[..., 0], diagonal[..., 1])
    assert not torch.equal(diagonal[:, 0], diagonal[:, 1])  # each camera has its own
    anywhere = draw_variations(paper_recommended().training.augmentation, 200, 2, _generator()).corners
    assert not torch.equal(anywhere[..., 0], anywhere[..., 1])
    for corners in (diagonal, anywhere):
        assert 0 <= corners.min() < 0.001
        assert 0.0508 < corners.max() <= 1 - 0.9**0.5


def test_a_crop_is_that_of_its_corner():
    settings = Augmentation(colors="successive", crop_area=0.25)
    ramp = torch.arange(0, 250, 50, dtype=torch.uint8).view(1, 1, 1, 5, 1).expand(1, 1, 5, 5, 3).contiguous()
    drawn = draw_variations(settings, 1, 1, _generator())
    found = vary(ramp, replace(drawn, corners=torch.tensor([[[0.0, 0.5]]])))
    assert found[0, 0, 0, :, 0].tolist() == [100, 125, 150, 175, 200]


def test_each_change_is_clipped_before_the_next():
    row = torch.tensor([250, 100]).view(1, 2, 1).expand(1, 2, 3)
    # 0.980 + 0.2 is clipped to 1, 0.392 + 0.2 = 0.592; around their mean 0.796 by 0.8: 0.959 and 0.633; times 255.5.
    assert varied(row, COLORS, 1, -1, 0, 0)[0, :, 0].tolist() == [245, 161]
    # 0.980 - 0.2 and 0.392 - 0.2, around their mean 0.486 by 1.2.
    assert varied(row, COLORS, -1, 1, 0, 0)[0, :, 0].tolist() == [214, 34]


def test_contrast_is_around_each_channels_own_mean():
    pixels = torch.tensor([[[40, 200, 90], [60, 200, 110]]])
    assert varied(pixels, COLORS, 0, -1, 0, 0).tolist() == [[[42, 200, 92], [58, 200, 108]]]


def test_saturation_and_hue_change_colors_as_in_hsv():
    pixels = torch.randint(0, 256, (6, 7, 3), generator=_generator())
    for saturation, hue in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.5, -0.7)):
        found = varied(pixels, COLORS, 0, 0, saturation, hue)
        for place in ((0, 0), (2, 3), (5, 6)):
            h, s, v = colorsys.rgb_to_hsv(*(pixels[place] / 255).tolist())
            s = min(1.0, s * (1 + 0.2 * saturation))
            expected = [int(255.5 * value) for value in colorsys.hsv_to_rgb((h + 0.05 * hue) % 1, s, v)]
            assert (
                found[place].int() - torch.tensor(expected)
            ).abs().max() <= 1  # cut off by float32 or float64
    gray = torch.full((2, 2, 3), 77)
    assert torch.equal(varied(gray, COLORS, 0, 0, 1, 1), gray.to(torch.uint8))


def test_colors_go_to_hue_saturation_and_value_and_back():
    colors = torch.tensor(
        [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0.5, 0.5], [0.2, 0.2, 0.2], [0, 0, 0], [1, 0, 0.5]]
    )
    hue, saturation, value = to_hsv(colors)
    torch.testing.assert_close(hue, torch.tensor([0, 1 / 3, 2 / 3, 0, 0, 0, 11 / 12]))
    torch.testing.assert_close(saturation, torch.tensor([1, 1, 1, 0.5, 0, 0, 1]))
    torch.testing.assert_close(value, torch.tensor([1, 1, 1, 1, 0.2, 0, 1]))
    torch.testing.assert_close(from_hsv(hue, saturation, value), colors)


def test_a_part_of_a_batch_is_varied_as_in_the_whole_bit_for_bit():
    images = torch.randint(0, 256, (7, 2, 23, 29, 3), generator=_generator()).to(torch.uint8)
    drawn = draw_variations(PUBLISHED, 7, 2, _generator(1))
    whole = vary(images, drawn)
    for chosen in (slice(0, 1), slice(2, 5), slice(6, 7)):
        part = vary(images[chosen], drawn.part(chosen, images.device))
        assert torch.equal(part, whole[chosen])


def test_the_input_is_left_alone_and_every_sample_and_camera_is_varied_by_itself():
    images = torch.full((4, 2, 8, 8, 3), 100, dtype=torch.uint8)
    images[..., ::2, :] = 180
    before = images.clone()
    found = augment(images, PUBLISHED, _generator())
    assert torch.equal(images, before)
    assert len({bytes(image.numpy().tobytes()) for image in found.flatten(0, 1)}) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_area": 0.9}, "augmentation.colors: expected successive with crop_area=0.9"),
        ({"hue": 0.1}, "augmentation.colors: expected successive with crop_area=1 and hue=0.1"),
        ({"crop_area": 0.0}, "augmentation.crop_area: expected 0 < share <= 1"),
        ({"hue": 0.6, "colors": "successive"}, "augmentation.hue: expected 0..0.5"),
    ],
)
def test_variations_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        Augmentation(**changes)
