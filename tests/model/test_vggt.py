"""VGGT's aggregator: positions, frames and the names of its released weights."""

import re
from dataclasses import replace

import pytest
import torch

from focusvla.config import TransformerConfig, VisionConfig
from focusvla.errors import CheckpointError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.vggt import VGGTAggregator, patch_positions, rotate_two_dimensions
from focusvla.model.weights import load_vggt
from focusvla.presets import paper_tiny, with_policy_head

SIZES = TransformerConfig(hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24)
CONFIG = VisionConfig(encoder="dinov2_siglip", image_size=28, patch_size=14, vggt=SIZES)


@pytest.fixture
def aggregator() -> VGGTAggregator:
    torch.manual_seed(0)
    aggregator = VGGTAggregator(CONFIG)
    for parameter in aggregator.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return aggregator


def images(cameras: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, cameras, 28, 28, 3), generator=generator, dtype=torch.uint8)


def test_special_tokens_lie_at_the_origin_and_patches_begin_at_one():
    assert patch_positions(2, 1).tolist() == [[0, 0], [1, 1], [1, 2], [2, 1], [2, 2]]


def test_scores_depend_on_the_distance_between_patches_alone():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 8)

    def score(query_at: tuple[int, int], key_at: tuple[int, int]) -> torch.Tensor:
        turned = [
            rotate_two_dimensions(x, torch.tensor([at])) for x, at in ((query, query_at), (key, key_at))
        ]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score((1, 2), (3, 5)), score((4, 1), (6, 4)))
    assert not torch.isclose(score((1, 2), (3, 5)), score((1, 2), (5, 3)))


def test_features_are_twice_as_wide_and_cameras_stand_one_after_the_other(aggregator):
    features = aggregator(images(3))
    assert features.shape == (2, 3 * 4, 32)
    torch.testing.assert_close(aggregator(images(3)[:1]), features[:1])


def test_each_camera_sees_the_others_only_across_frames(aggregator):
    before = aggregator(images(2))
    changed = images(2)
    changed[:, 1] = 255 - changed[:, 1]
    after = aggregator(changed)
    assert not torch.allclose(before[:, :4, :16], after[:, :4, :16])  # through the layer across frames before
    seen = []
    aggregator.frame_blocks[0].register_forward_hook(lambda module, args, output: seen.append(output))
    aggregator(images(2))
    aggregator(changed)
    within = [states.unflatten(0, (2, 2)) for states in seen]
    torch.testing.assert_close(within[0][:, 0], within[1][:, 0])
    assert not torch.allclose(within[0][:, 1], within[1][:, 1])


def test_the_first_camera_fixes_the_coordinates(aggregator):
    swapped = aggregator(images(2).flip(1))
    assert not torch.allclose(aggregator(images(2)), swapped.unflatten(1, (2, 4)).flip(1).flatten(1, 2))


def released_names(sizes: TransformerConfig, patches: int) -> dict[str, torch.Tensor]:
    """Keys and shapes of the released file, with random values, and some of a head that is not ours."""
    width, hidden = sizes.hidden_size, sizes.intermediate_size
    layer = {
        **{f"norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")},
        **{f"ls{n}.gamma": (width,) for n in (1, 2)},
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "mlp.fc1.weight": (hidden, width),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden),
        "mlp.fc2.bias": (width,),
    }
    head_norms = {
        f"attn.{x}_norm.{kind}": (width // sizes.num_heads,) for x in "qk" for kind in ("weight", "bias")
    }
    shapes: dict[str, tuple[int, ...]] = {
        "camera_token": (1, 2, 1, width),
        "register_token": (1, 2, 4, width),
        "patch_embed.cls_token": (1, 1, width),
        "patch_embed.mask_token": (1, width),
        "patch_embed.register_tokens": (1, 4, width),
        "patch_embed.pos_embed": (1, 1 + patches, width),
        "patch_embed.patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.patch_embed.proj.bias": (width,),
        "patch_embed.norm.weight": (width,),
        "patch_embed.norm.bias": (width,),
    }
    for number in range(sizes.num_layers):
        shapes |= {f"patch_embed.blocks.{number}.{name}": shape for name, shape in layer.items()}
        for kind in ("frame", "global"):
            both = layer | head_norms
            shapes |= {f"{kind}_blocks.{number}.{name}": shape for name, shape in both.items()}
    torch.manual_seed(0)
    tensors = {f"aggregator.{name}": torch.randn(shape) for name, shape in shapes.items()}
    return tensors | {"camera_head.token_norm.weight": torch.randn(5)}


def test_released_weights_load_by_name(tmp_path):
    from safetensors.torch import save_file

    experiment = with_policy_head(paper_tiny(), values="vggt")
    model = FocusVLA(experiment.model)
    tensors = released_names(experiment.model.vision.vggt, patches=64)
    save_file(tensors, tmp_path / "model.safetensors")
    load_vggt(model, tmp_path)
    loaded = model.get_submodule("vggt").state_dict()
    name = "frame_blocks.1.attn.q_norm.weight"
    assert torch.equal(loaded[name], tensors[f"aggregator.{name}"])
    position = tensors["aggregator.patch_embed.pos_embed"][:, :1]
    assert torch.equal(
        loaded["patch_embed.cls_token"], tensors["aggregator.patch_embed.cls_token"] + position
    )

    before = {name: tensor.clone() for name, tensor in loaded.items()}
    del tensors["aggregator.global_blocks.0.ls1.gamma"]
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=re.escape("missing: vggt.global_blocks.0.ls1.gamma")):
        load_vggt(model, tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.items())


def test_the_full_size_has_the_released_number_of_weights():
    with torch.device("meta"):
        aggregator = VGGTAggregator(replace(CONFIG, image_size=518, vggt=VisionConfig.vggt))
    # The released aggregator: its own count less the mask token and the class token's position.
    layer = 4 * 1024 * 1024 + 2 * 4096 * 1024 + (3 + 1 + 4 + 1) * 1024 + 6 * 1024
    frame = layer + 4 * 64
    front = 24 * layer + 1369 * 1024 + 5 * 1024 + 3 * 14 * 14 * 1024 + 1024 + 2 * 1024
    assert sum(p.numel() for p in aggregator.parameters()) == front + 48 * frame + 10 * 1024
