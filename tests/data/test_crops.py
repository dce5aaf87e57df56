"""Cropping as TensorFlow's `crop_and_resize` does it, on rows small enough to print."""

import torch

from focusvla.data.crops import crop_and_resize, crop_center, to_uint8


def test_a_window_is_stretched_from_corner_pixel_to_corner_pixel():
    row = torch.tensor([0.0, 10, 20, 30, 40])
    across = row.view(1, 1, 5, 1).expand(2, 5, 5, 3)
    corners = torch.tensor([[0.25, 0.25], [0.0, 0.5]])  # top and left
    found = crop_and_resize(across, corners, side=0.5)
    assert found[0, 2, :, 0].tolist() == [10, 15, 20, 25, 30]
    assert found[1, 2, :, 0].tolist() == [20, 25, 30, 35, 40]
    down = crop_and_resize(across.transpose(1, 2), corners, side=0.5)
    assert down[0, :, 2, 0].tolist() == [10, 15, 20, 25, 30]
    assert down[1, :, 2, 0].tolist() == [0, 5, 10, 15, 20]


def test_the_published_center_crop_reads_a_picture_of_224_pixels_where_the_reference_does():
    side = 0.9**0.5
    ramp = torch.arange(224.0).view(1, 1, 224, 1).expand(1, 224, 224, 3)
    found = crop_and_resize(ramp, torch.full((1, 2), (1 - side) / 2), side)[0, 100, :, 0]
    expected = 5.72182 + 0.948683 * torch.arange(224)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


def test_a_center_crop_stores_what_it_reads_and_one_of_the_whole_area_is_none():
    images = (
        torch.arange(0, 250, 50, dtype=torch.uint8).view(1, 1, 1, 5, 1).expand(2, 3, 5, 5, 3).contiguous()
    )
    assert crop_center(images, 1.0) is images
    found = crop_center(images, 0.25)
    assert found.shape == images.shape
    assert found[1, 2, 3, :, 0].tolist() == [50, 75, 100, 125, 150]


def test_values_are_stored_as_255_and_a_half_times_cut_off():
    assert to_uint8(torch.tensor([0.0, 0.5, 0.999, 1.0])).tolist() == [0, 127, 255, 255]
    bytes_ = torch.arange(256)
    assert torch.equal(to_uint8(bytes_ / 255), bytes_.to(torch.uint8))


def test_an_image_is_cropped_alike_wherever_it_is_in_its_batch():
    generator = torch.Generator().manual_seed(0)
    images, corners = (
        torch.rand(7, 23, 29, 3, generator=generator),
        0.05 * torch.rand(7, 2, generator=generator),
    )
    whole = crop_and_resize(images, corners, 0.95)
    for place in range(7):
        part = slice(place, place + 1)
        assert torch.equal(crop_and_resize(images[part], corners[part], 0.95), whole[part])
