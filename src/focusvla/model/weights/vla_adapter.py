"""Released VLA-Adapter policies: the head, and whole run folders.

Its head's constants are read from the shapes of its weights, so heads of any size load.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from focusvla.config import AdapterConfig, ModelConfig, PolicyHeadConfig
from focusvla.errors import CheckpointError, require_known
from focusvla.model.blocks import MixedBlock
from focusvla.model.focusvla import FocusVLA
from focusvla.model.policy_head import ConstantLatent
from focusvla.model.weights.backbones import language_part, vision_part_from_timm
from focusvla.model.weights.files import (
    StateDict,
    load_parts,
    read_pickled_tensors,
    read_safetensors,
    renamed,
    require_matching,
)

Variant = Literal["base", "pro"]
_STREAMS: dict[str, Literal["shared", "separate"]] = {"base": "shared", "pro": "separate"}
_OUTER = {"layer_norm1": "latent.norm", "fc1": "latent.linear", "layer_norm2": "norm", "fc2": "output"}
_INNER = {
    "ffn.0": "feed_forward.norm",
    "ffn.1": "feed_forward.linear",
    "q_proj": "query",
    "o_proj": "output",
    "k_proj": "keys.shared",
    "v_proj": "values.shared",
    "k_self": "keys.self",
    "v_self": "values.self",
    "k_adapter": "keys.action_query",
    "v_adapter": "values.action_query",
    "k_task": "keys.vision",
    "v_task": "values.vision",
}
_BLOCK = re.compile(r"mlp_resnet_blocks\.(\d+)\.(.+)")


class VLAAdapterHead(nn.Module):
    """VLA-Adapter's policy by itself: our blocks between its input and output maps."""

    def __init__(
        self, config: PolicyHeadConfig, num_layers: int, width: int, input_width: int, action_dim: int
    ):
        super().__init__()
        self.latent = ConstantLatent(1, 1, width)
        self.latent.norm = nn.LayerNorm(input_width)
        self.latent.linear = nn.Linear(input_width, width)
        self.blocks = nn.ModuleList(MixedBlock(config, width) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, action_dim)

    def forward(
        self,
        x: Float[Tensor, "batch chunk input_width"],
        action_queries: Float[Tensor, "batch layers queries width"],
        vision: Float[Tensor, "batch layers patches width"],
        proprioception: Float[Tensor, "batch 1 width"],
    ) -> Float[Tensor, "batch chunk action"]:
        """Normalized actions from an input (zeros at inference) and the language model's states.

        Axis 1 of both streams holds the embeddings, which are not read, and then the states after each layer.
        """
        latent = self.latent.encode(x)
        for layer, block in enumerate(self.blocks, start=1):
            asked = torch.cat([action_queries[:, layer], proprioception], dim=1)
            latent = block(latent, asked, vision[:, layer], vision[:, layer])
        return self.output(self.norm(latent))


def load_vla_adapter_head(
    state_dict: Mapping[str, Tensor], variant: Variant, num_heads: int = 8
) -> VLAAdapterHead:
    """The head of a released policy, from its state dict with or without the prefixes `module.` and `model.`.

    The maps `film_gen`, which the Pro variant holds and never calls, are left out.

    Raises:
        ConfigurationError: an unknown variant.
        CheckpointError: keys are missing or unexpected, or of a wrong shape; they are listed.
    """
    require_known("variant", variant, _STREAMS)
    tensors = {
        name.removeprefix("module.").removeprefix("model."): torch.as_tensor(values)
        for name, values in state_dict.items()
    }
    for name in ("fc1.weight", "fc2.weight"):
        if name not in tensors or tensors[name].ndim != 2:
            raise CheckpointError(
                f"state_dict: expected the matrix {name!r} of a VLA-Adapter head, got {', '.join(sorted(tensors)[:5])}. "
                "Give the file action_head--*.pt."
            )
    num_layers = 1 + max((int(m[1]) for name in tensors if (m := _BLOCK.fullmatch(name))), default=-1)
    width, input_width = tensors["fc1.weight"].shape
    if num_heads < 1 or width % num_heads:
        raise CheckpointError(f"num_heads: expected a divisor of the head's width {width}, got {num_heads}.")
    config = PolicyHeadConfig(
        num_heads=num_heads, attention="mixed", streams=_STREAMS[variant], gate="scalar", num_kept_patches=1
    )
    with torch.device("meta"):
        head = VLAAdapterHead(config, num_layers, width, input_width, len(tensors["fc2.weight"]))
    mapped = renamed(tensors, _our_name)
    require_matching(head.state_dict(), mapped, f"VLA-Adapter head, variant {variant!r}")
    head.load_state_dict(mapped, assign=True)
    return head


def _our_name(name: str) -> str | None:
    if (block := _BLOCK.fullmatch(name)) is None:
        stem, _, kind = name.rpartition(".")
        return f"{_OUTER[stem]}.{kind}" if stem in _OUTER else name
    number, inner = block.groups()
    if inner.startswith("film_gen."):
        return None
    if inner == "gating_factor":
        return f"blocks.{number}.gate"
    stem, _, kind = inner.rpartition(".")
    return f"blocks.{number}.{_INNER.get(stem, stem)}.{kind}"


def load_vla_adapter_run(folder: Path, config: ModelConfig, variant: Variant) -> FocusVLA:
    """A whole policy from a released run folder: merged weights, head and proprioception network.

    `config` gives the sizes (that of the presets `baseline_mixed` or `baseline_mixed_separate`); its alignment becomes
    `vla_adapter`, its latent zeros, and it needs no adapters.

    Raises:
        CheckpointError: a file is missing, damaged or of another model; the keys are listed.
    """
    require_known("variant", variant, _STREAMS)
    head = dataclasses.replace(
        config.policy_head,
        attention="mixed",
        streams=_STREAMS[variant],
        gate="scalar",
        latent="zeros",
        values="vlm",
    )
    config = dataclasses.replace(
        config,
        policy_head=head,
        alignment="vla_adapter",
        adapters=AdapterConfig(),
        num_tokens_before_vision=1,
    )
    merged = read_safetensors(folder)
    action_head = read_pickled_tensors(_only_file(folder, "action_head--*.pt"))
    proprioception = read_pickled_tensors(_only_file(folder, "proprio_projector--*.pt"))
    model = FocusVLA(config)
    head_tensors = {
        name.removeprefix("module.").removeprefix("model."): tensor for name, tensor in action_head.items()
    }
    proprioception = {name.removeprefix("module."): tensor for name, tensor in proprioception.items()}
    load_parts(
        model,
        _backbone_parts(merged, config)
        | {
            "policy_head": renamed(head_tensors, _our_name)
            | renamed(
                proprioception,
                lambda name: "proprioception." + name.replace("fc1.", "0.").replace("fc2.", "2."),
            ),
        },
        folder,
    )
    return model


def _backbone_parts(merged: StateDict, config: ModelConfig) -> dict[str, StateDict]:
    """The merged file's tensors by the parts of our model they belong to; what is left over is an error later."""
    prefixes = {
        "vision_encoder.dinov2": "vision_backbone.featurizer.",
        "vision_encoder.siglip": "vision_backbone.fused_featurizer.",
        "projector": "projector.",
        "language_model.body": "language_model.",
        "action_queries": "action_queries.",
    }
    parts: dict[str, StateDict] = {part: {} for part in prefixes}
    parts["unknown"] = {}
    for name, tensor in merged.items():
        part = next((p for p, prefix in prefixes.items() if name.startswith(prefix)), "unknown")
        parts[part][name.removeprefix(prefixes.get(part, ""))] = tensor
    if parts["unknown"]:
        raise CheckpointError(
            f"merged weights: expected those of VLA-Adapter, got also {', '.join(sorted(parts['unknown'])[:5])}."
        )
    num_patches = config.vision.patches_per_camera
    return {
        "vision_encoder.dinov2": vision_part_from_timm(
            parts["vision_encoder.dinov2"], config.vision.dinov2.num_layers, num_patches
        ),
        "vision_encoder.siglip": vision_part_from_timm(
            parts["vision_encoder.siglip"], config.vision.siglip.num_layers, num_patches
        ),
        "projector": parts["projector"],
        "language_model.body": language_part(parts["language_model.body"]),
        "action_queries": {"": parts["action_queries"]["weight"]} if parts["action_queries"] else {},
    }


def _only_file(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise CheckpointError(
            f"{folder}: expected one file {pattern}, got {', '.join(path.name for path in found) or 'none'}. "
            "Keep the one of the step you want."
        )
    return found[0]
