"""Pictures go through the published steps in their order, each to the last bit as the published pipelines have it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from focusvla.config import AS_SHOWN, GivenPictures, PictureConfig
from focusvla.data.crops import crop_and_resize, crop_center, stretch_center, to_uint8
from focusvla.data.pictures import compress, prepare_pictures
from focusvla.data.transforms import resize
from focusvla.errors import ConfigurationError
from vla_adapter_reference import center_crop, jpeg, seen


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.randint(
        0, 256, (2, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_a_window_is_stretched_from_corner_pixel_to_corner_pixel():
    row = torch.tensor([0.0, 10, 20, 30, 40])
    image = row.expand(1, 5, 5)[..., None].expand(1, 5, 5, 3)
    cropped = crop_and_resize(image, torch.tensor([[0.0, 0.25]]), 0.5)
    assert cropped[0, 0, :, 0].tolist() == [10, 15, 20, 25, 30]
    downward = crop_and_resize(image.transpose(1, 2), torch.tensor([[0.25, 0.0]]), 0.5)
    assert downward[0, :, 0, 0].tolist() == [10, 15, 20, 25, 30]


def test_the_middle_of_224_pixels_is_read_where_the_published_evaluation_reads_it():
    ramp = torch.arange(224.0).expand(1, 224, 224)[..., None]
    read = stretch_center(ramp, 0.9)[0, 0, :, 0]
    np.testing.assert_allclose(read, 5.72182 + 0.948683 * np.arange(224), atol=2e-4)


def test_what_is_cropped_is_cut_off_to_8_bits_and_not_rounded(noise):
    assert to_uint8(torch.tensor([0.0, 0.5, 254.4 / 255.5, 1.0])).tolist() == [0, 127, 254, 255]
    small = resize(noise, 224)
    for picture, cropped in zip(small.numpy(), crop_center(small, 0.9).numpy(), strict=True):
        np.testing.assert_array_equal(cropped, center_crop(picture))


def test_jpeg_is_that_of_quality_95_with_a_quarter_of_the_colors(noise):
    compressed = compress(noise, 95).numpy()
    np.testing.assert_array_equal(compressed[1], jpeg(noise[1].numpy()))
    file = io.BytesIO()
    Image.fromarray(noise[1].numpy()).save(file, "JPEG", quality=95, subsampling="4:4:4")
    assert (np.asarray(Image.open(file)) != compressed[1]).any()
    assert compress(noise, 0) is noise


def test_all_steps_are_those_of_the_reference_in_its_order(noise):
    prepared = prepare_pictures(noise, 224, PictureConfig(jpeg_quality=95, center_crop_area=0.9))
    np.testing.assert_array_equal(prepared[0], seen(noise[0].numpy(), 224))


def test_without_steps_a_picture_is_only_resized(noise):
    assert torch.equal(prepare_pictures(noise, 100, AS_SHOWN), resize(noise, 100))


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        (AS_SHOWN, ""),
        (PictureConfig(jpeg_quality=95), "jpeg95"),
        (PictureConfig(jpeg_quality=95, center_crop_area=0.9), "jpeg95-crop0.9"),
    ],
)
def test_steps_have_a_name_and_none_is_empty(steps, name):
    assert str(steps) == name


def test_a_step_that_is_given_fills_what_a_checkpoint_lacks_and_contradicts_nothing():
    given = GivenPictures(center_crop_area=0.9)
    cropped = PictureConfig(jpeg_quality=95, center_crop_area=0.9)
    assert given.over(PictureConfig(jpeg_quality=95)) == cropped
    assert given.over(cropped) == cropped
    with pytest.raises(
        ConfigurationError, match=r"pictures\.center_crop_area=0\.9: expected the checkpoint's own 0\.8"
    ):
        given.over(PictureConfig(center_crop_area=0.8))
    assert GivenPictures(center_crop_area=1.0).over(cropped, is_stated=False) == PictureConfig(
        jpeg_quality=95
    )
