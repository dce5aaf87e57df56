"""The paper's encoders against transformers' own, at toy sizes, with every parameter random."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from focusvla.config import TransformerConfig, VisionConfig
from focusvla.model.vision_transformer import (
    DINOV2_MEAN,
    DINOV2_STD,
    DinoSiglipEncoder,
    PixelNormalization,
    resample_positions,
    resize_images,
)
from focusvla.model.weights.backbones import dinov2_from_hub, siglip_from_hub

SIZES = TransformerConfig(hidden_size=16, num_layers=3, num_heads=2, intermediate_size=64)
CONFIG = VisionConfig(
    encoder="dinov2_siglip",
    image_size=28,
    patch_size=14,
    dinov2=SIZES,
    siglip=replace(SIZES, intermediate_size=40),
)


def randomized(model: Any) -> Any:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def dinov2(image_size: int) -> Any:
    return randomized(
        Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(
                hidden_size=16,
                num_hidden_layers=3,
                num_attention_heads=2,
                mlp_ratio=4,
                image_size=image_size,
                patch_size=14,
                num_register_tokens=4,
            )
        )
    )


@pytest.mark.parametrize("published_size", [28, 70])
def test_dinov2_gives_the_states_after_the_second_to_last_layer(published_size):
    theirs = dinov2(published_size)
    encoder = DinoSiglipEncoder(CONFIG)
    encoder.dinov2.load_state_dict(dinov2_from_hub(dict(theirs.state_dict()), num_layers=3, num_patches=4))
    images = torch.randn(2, 3, 28, 28)
    states = theirs(images, output_hidden_states=True).hidden_states
    torch.testing.assert_close(encoder.dinov2(images), states[2][:, 5:], rtol=1e-4, atol=1e-5)


def test_siglip_gives_the_states_after_the_second_to_last_layer():
    theirs = randomized(
        SiglipVisionModel(
            SiglipVisionConfig(
                hidden_size=16,
                num_hidden_layers=3,
                num_attention_heads=2,
                intermediate_size=40,
                image_size=28,
                patch_size=14,
                hidden_act="gelu",
            )
        )
    )
    encoder = DinoSiglipEncoder(CONFIG)
    encoder.siglip.load_state_dict(siglip_from_hub(dict(theirs.state_dict()), num_layers=3, num_patches=4))
    images = torch.randn(2, 3, 28, 28)
    states = theirs(images, output_hidden_states=True).hidden_states
    torch.testing.assert_close(encoder.siglip(images), states[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "part", "sizes"),
    [
        ("vit_large_patch14_reg4_dinov2", "dinov2", {"init_values": 1e-5}),
        ("vit_so400m_patch14_siglip_224", "siglip", {"mlp_ratio": 40 / 16}),
    ],
)
def test_features_equal_those_of_timm(name, part, sizes):
    timm = pytest.importorskip("timm", reason="needs timm, which needs torchvision")
    from focusvla.model.weights.backbones import vision_part_from_timm

    theirs = randomized(
        timm.create_model(name, img_size=28, embed_dim=16, depth=3, num_heads=2, num_classes=0, **sizes)
    )
    encoder = DinoSiglipEncoder(CONFIG)
    ours = getattr(encoder, part)
    ours.load_state_dict(vision_part_from_timm(dict(theirs.state_dict()), num_layers=3, num_patches=4))
    images = torch.randn(2, 3, 28, 28)
    (expected,) = theirs.get_intermediate_layers(images, n={1})
    torch.testing.assert_close(ours(images), expected, rtol=1e-4, atol=1e-5)


def test_cameras_stand_one_after_the_other_and_both_encoders_side_by_side():
    encoder = randomized(DinoSiglipEncoder(CONFIG))
    images = torch.randint(0, 256, (2, 3, 28, 28, 3), dtype=torch.uint8)
    features = encoder(images)
    assert features.shape == (2, 3 * 4, 16 + 16)
    pixels = resize_images(images[1:, 2:], 28)
    alone = encoder.dinov2(encoder.dinov2_pixels(pixels))
    torch.testing.assert_close(features[1:, 8:, :16], alone)
    torch.testing.assert_close(encoder(images[:, :1]), features[:, :4])


def test_pixels_are_resized_and_normalized_on_the_way():
    white = torch.full((1, 1, 10, 10, 3), 255, dtype=torch.uint8)
    pixels = resize_images(white, 28)
    assert pixels.shape == (1, 3, 28, 28)
    torch.testing.assert_close(pixels, torch.ones(1, 3, 28, 28))
    normalized = PixelNormalization(DINOV2_MEAN, DINOV2_STD)(pixels)[0, :, 0, 0]
    torch.testing.assert_close(normalized, torch.tensor([2.2564, 2.4367, 2.6435]), atol=1e-4, rtol=0)


def test_positions_are_resampled_by_averaging_over_what_a_new_patch_covers():
    ramp = torch.arange(8.0).repeat_interleave(8).reshape(1, 64, 1)
    resampled = resample_positions(ramp, 4)
    assert resampled.shape == (1, 4, 1)
    torch.testing.assert_close(resampled.flatten(), torch.tensor([1.5, 1.5, 5.5, 5.5]), atol=0.2, rtol=0)
    assert resample_positions(ramp, 64) is ramp
