"""What a protocol shows a policy is what the policy's own resizing makes of what the protocol sends."""

from typing import Any

import numpy as np
from PIL import Image

from focusvla.data.transforms import resize_picture
from focusvla.evaluation.presentation import PresentedEnvironment
from focusvla.suites import protocol
from focusvla.suites.libero import libero_spec
from focusvla_client import Observation

PICTURE = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)


class Simulated:
    """An environment of one picture and one marked pixel."""

    def __init__(self):
        self.applied: list[np.ndarray] = []

    def observe(self, cameras) -> Observation:
        return Observation(dict.fromkeys(cameras, PICTURE), np.zeros(8, np.float32), "push")

    def replay_regions(self, snapshot) -> dict[str, np.ndarray]:
        marked = np.zeros((3, 256, 256), bool)
        marked[0, 200:208, 40:48] = True
        return {"image": marked}

    def apply(self, action: np.ndarray) -> None:
        self.applied.append(action)


def presented(name: str, size: int) -> Any:
    return PresentedEnvironment(Simulated(), libero_spec(size), protocol(name))


def test_pictures_are_sent_as_the_protocol_says_and_resized_as_a_server_does():
    (whole,) = presented("libero_vla_eval", 32).observe(["image"]).images.values()
    np.testing.assert_array_equal(whole, resize_picture(PICTURE, 32))
    sent = np.asarray(Image.fromarray(PICTURE).resize((224, 224), Image.Resampling.BILINEAR))
    (shown,) = presented("libero_openpi", 32).observe(["image"]).images.values()
    np.testing.assert_array_equal(shown, resize_picture(sent, 32))
    (as_sent,) = presented("libero_openpi", 224).observe(["image"]).images.values()
    np.testing.assert_array_equal(as_sent, sent)


def test_regions_are_where_they_are_in_the_smaller_picture():
    regions = presented("libero_lerobot", 32).replay_regions(np.zeros(1))["image"]
    assert np.argwhere(regions).tolist() == [[0, 25, 5]]


def test_a_gripper_value_of_zero_closes_where_it_is_binarized_alone():
    for name, expected in (("libero_vla_eval", [-1, 1, 1]), ("libero_openpi", [-0.5, 0, 0.5])):
        environment = presented(name, 32)
        for value in (-0.5, 0.0, 0.5):
            environment.apply(np.array([0, 0, 0, 0, 0, 0, value]))
        assert [action[6] for action in environment._environment.applied] == expected
