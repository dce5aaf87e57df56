"""A request's keys tell its form, and each form is read into what the policy was trained on."""

import numpy as np
import pytest

from focusvla.data.transforms import resize_picture
from focusvla.errors import ConfigurationError
from focusvla.serving.forms import read_request
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec

LIBERO, ALOHA = libero_spec(32), aloha_spec(32)
BOTH, THREE = ("image", "image2"), ("top", "left_wrist", "right_wrist")


def picture(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def native(**changes):
    images = {"image": picture(32), "image2": picture(32, 1)}
    return {"images": images, "state": np.arange(8, dtype=np.float32), "prompt": "lift the cup", **changes}


def libero(size: int = 32):
    return {
        "observation/image": picture(size),
        "observation/wrist_image": picture(size, 1),
        "observation/state": np.arange(8.0),
        "prompt": "lift the cup",
    }


def aloha(**changes):
    names = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
    images = {name: np.moveaxis(picture(32, seed), 2, 0) for seed, name in enumerate(names)}
    return {"images": images, "state": np.arange(14.0), "prompt": "lift the cup", **changes}


def test_our_own_form_is_taken_as_it_is():
    request = read_request(native(request_id=3), LIBERO, BOTH)
    assert (request.form, request.mark, request.resized) == ("native", 3, ())
    np.testing.assert_array_equal(request.observation.images["image2"], picture(32, 1))
    assert request.observation.state.dtype == np.float32
    assert request.observation.instruction == "lift the cup"


def test_a_blind_policy_needs_no_pictures():
    assert read_request(native(images={}), LIBERO, ()).observation.images == {}
    without = {key: value for key, value in libero().items() if "image" not in key}
    assert read_request(without, LIBERO, ()).observation.images == {}


def test_openpis_libero_keys_are_our_cameras_and_pictures_stay_as_they_are_turned():
    request = read_request(libero(), LIBERO, BOTH)
    assert (request.form, request.resized) == ("openpi LIBERO", ())
    for camera, seed in (("image", 0), ("image2", 1)):
        np.testing.assert_array_equal(request.observation.images[camera], picture(32, seed))
    np.testing.assert_array_equal(request.observation.state, np.arange(8, dtype=np.float32))


def test_openpis_libero_pictures_are_resized_as_training_resizes_and_that_is_said():
    request = read_request(libero(224), LIBERO, BOTH)
    expected = resize_picture(picture(224, 1), 32)
    np.testing.assert_array_equal(request.observation.images["image2"], expected)
    assert request.resized == tuple(
        f"{field}: resized from 224x224 to the 32x32 pixels of the policy's spec."
        for field in ("observation/image", "observation/wrist_image")
    )


def test_openpis_aloha_pictures_come_channels_first_and_a_camera_without_use_may_come_along():
    request = read_request(aloha(), ALOHA, THREE)
    assert (request.form, request.resized) == ("openpi ALOHA", ())
    assert tuple(request.observation.images) == THREE
    for camera, seed in zip(THREE, (0, 2, 3), strict=True):
        np.testing.assert_array_equal(request.observation.images[camera], picture(32, seed))


@pytest.mark.parametrize(
    ("message", "spec", "cameras", "expected"),
    [
        (
            libero(),
            ALOHA,
            THREE,
            r"openpi LIBERO form, for one arm of 8 states .*; this policy has 14 states, joint_position",
        ),
        (
            aloha(),
            LIBERO,
            BOTH,
            r"openpi ALOHA form, for two arms of 14 joint .*; this policy has 8 states, end_effector_delta",
        ),
    ],
)
def test_a_form_for_another_robot_is_refused_naming_both(message, spec, cameras, expected):
    with pytest.raises(ConfigurationError, match=expected):
        read_request(message, spec, cameras)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ([1, 2], "request: expected a map whose keys are text"),
        ({b"prompt": 1}, "request: expected a map whose keys are text"),
        ({}, r"native form: .*missing: 'images', 'prompt', 'state', unknown: none"),
        (native(extra=1), "unknown: 'extra'"),
        (native(prompt="  "), r"prompt: expected an instruction of 1..1000 characters"),
        (native(prompt="a" * 1001), "got 1001 characters"),
        (native(prompt=b"lift"), "prompt: .* got bytes"),
        (native(request_id=1.5), "request_id: expected an integer or a string"),
        (native(request_id="x" * 201), "request_id: "),
        (native(state=[0.0] * 8), r"state: expected 8 finite .* \(x, y, .* got list"),
        (native(state=np.arange(8)), r"state: .* got \(8,\) int64"),
        (native(state=np.zeros(7)), r"state: .* got \(7,\) float64"),
        (native(state=np.array([0, 0, np.nan, 0, 0, 0, 0, 1e300])), "got z, finger_right not finite"),
        (native(images=[]), "images: expected a map of camera names, got list"),
        (native(images={"image": picture(32)}), "images: expected the cameras image, image2, got 'image'"),
        (native(images={**native()["images"], "third": picture(32)}), "got 'image', 'image2', 'third'"),
        (
            native(images={"image": picture(16), "image2": picture(32)}),
            r"images\['image'\]: expected \(32, 32, 3\) uint8, got \(16, 16, 3\) uint8",
        ),
        (
            native(images={"image": picture(32), "image2": picture(32).astype(np.float32)}),
            r"images\['image2'\]: .* got \(32, 32, 3\) float32",
        ),
        (libero() | {"observation/image": picture(32)[:, :, :1]}, "observation/image: expected .* uint8"),
        (libero() | {"observation/image": picture(32)[:20]}, "expected 32x32 pixels, got 32x20"),
        (libero() | {"observation/image": picture(32)[:0]}, "expected 32x32 pixels, got 32x0"),
        (libero() | {"observation/joint_position": np.zeros(7)}, "unknown: 'observation/joint_position'"),
    ],
)
def test_what_does_not_fit_is_named_by_its_field(message, expected):
    with pytest.raises(ConfigurationError, match=expected):
        read_request(message, LIBERO, BOTH)


def test_aloha_pictures_that_are_channels_last_are_named():
    images = {name: np.moveaxis(image, 0, 2) for name, image in aloha()["images"].items()}
    with pytest.raises(ConfigurationError, match=r"images\['cam_high'\]: expected \(3, height, width\)"):
        read_request(aloha(images=images), ALOHA, THREE)


def test_a_missing_aloha_camera_is_named():
    images = {"cam_high": aloha()["images"]["cam_high"]}
    with pytest.raises(ConfigurationError, match="expected the cameras cam_high, cam_left_wrist, cam_right"):
        read_request(aloha(images=images), ALOHA, THREE)
