"""Results call policies that answer differently differently, and what they are called says how to load them again."""

import pytest

from focusvla.config import GivenPictures, PictureConfig
from focusvla.evaluation.identity import PolicyIdentity

CROPPED = PictureConfig(jpeg_quality=95, center_crop_area=0.9)


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (PolicyIdentity(weights="0123456789abcdef"), "0123456789abcdef"),
        (
            PolicyIdentity(weights="0123456789abcdef", part="my-data"),
            "0123456789abcdef-my-data",
        ),
        (
            PolicyIdentity(
                weights="0123456789abcdef", precision="bfloat16", pictures=CROPPED, part="libero_goal"
            ),
            "0123456789abcdef-bfloat16-jpeg95-crop0.9-libero_goal",
        ),
        (
            PolicyIdentity(weights="0123456789abcdef", precision="bfloat16", part="my-part/1.0.0"),
            "0123456789abcdef-bfloat16-my-part/1.0.0",
        ),
        (PolicyIdentity(weights="scripted-expert"), "scripted-expert"),
    ],
)
def test_an_identity_is_read_back_as_it_was_written(identity, text):
    assert str(identity) == text
    assert PolicyIdentity.parse(text) == identity


def test_what_an_identity_says_of_pictures_is_what_the_checkpoint_is_loaded_with():
    identity = PolicyIdentity.parse("0123456789abcdef-jpeg95")
    assert identity.given_pictures == GivenPictures(jpeg_quality=95, center_crop_area=1.0)
