"""Run folders of VLA-Adapter's with the real names of files and tensors, random values and toy widths."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from focusvla.config import LanguageConfig, ModelConfig, PolicyHeadConfig, TransformerConfig, VisionConfig
from focusvla.model.prompt import PROMPT
from published_weights import filled, merged_vla_adapter, vla_adapter_head

LETTERS = {character: index for index, character in enumerate(sorted(set(PROMPT)))}
CAMERAS_PATCHES = 2 * 16
STATISTICS = {
    "action": {
        "q01": [-0.7, -0.6, -0.9, -0.1, -0.2, -0.05, 0.0],
        "q99": [0.9, 0.8, 0.7, 0.1, 0.2, 0.15, 1.0],
        "mask": [True] * 6 + [False],
    },
    "proprio": {
        "q01": [-0.4, -0.3, 0.9, 2.5, -1.5, -1.0, 0.001, -0.04],
        "q99": [0.1, 0.3, 1.4, 3.7, 1.2, 0.4, 0.04, -0.04],
    },
}
"""The last state is constant."""


def toy_sizes() -> ModelConfig:
    """Of the toy's tensors; 16 heads in each encoder and 8 in the policy head divide them."""
    encoder = TransformerConfig(hidden_size=32, num_layers=3, num_heads=16, intermediate_size=40)
    return ModelConfig(
        vision=VisionConfig(
            encoder="dinov2_siglip",
            image_size=56,
            patch_size=14,
            dinov2=encoder,
            siglip=TransformerConfig(hidden_size=48, num_layers=3, num_heads=16, intermediate_size=56),
        ),
        language=LanguageConfig(
            hidden_size=32, num_layers=3, num_heads=4, num_key_value_heads=2, intermediate_size=48
        ),
        policy_head=PolicyHeadConfig(num_heads=8, num_kept_patches=CAMERAS_PATCHES),
        num_cameras=2,
        state_dim=8,
        action_dim=7,
        chunk_length=8,
        num_action_queries=6,
        projector="mlp",
    )


def toy_tokenizer() -> Tokenizer:
    """One that knows the letters of the prompt; any other is a question mark."""
    tokenizer = Tokenizer(models.WordLevel(LETTERS, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return tokenizer


def write_toy_run(
    folder: Path,
    variant: str,
    statistics: Mapping[str, object] = {"libero_spatial_no_noops": STATISTICS},
) -> Path:
    """A whole run folder, merged, named as those on the Hub."""
    folder.mkdir(parents=True)
    sizes = toy_sizes()
    width, layers = sizes.language.hidden_size, sizes.language.num_layers
    save_file(filled(merged_vla_adapter(sizes, len(LETTERS))), folder / "model.safetensors")
    head = filled(vla_adapter_head(variant, layers, width, sizes.action_dim))
    torch.save({f"module.model.{n}": t for n, t in head.items()}, folder / "action_head--checkpoint.pt")
    shapes = {
        "module.fc1.weight": (width, sizes.state_dim), "module.fc1.bias": (width,),
        "module.fc2.weight": (width, width), "module.fc2.bias": (width,),
    }  # fmt: skip
    torch.save(filled(shapes), folder / "proprio_projector--checkpoint.pt")
    text = {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 1e6}
    (folder / "config.json").write_text(json.dumps({"model_type": "openvla", "text_config": text}))
    (folder / "dataset_statistics.json").write_text(json.dumps(statistics))
    toy_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
