"""The policy head of released VLA-Adapter policies. Its sizes are read from the shapes of its weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from focusvla.config import PolicyHeadConfig
from focusvla.errors import CheckpointError, require_known
from focusvla.model.blocks import MixedBlock
from focusvla.model.policy_head import ConstantLatent
from focusvla.model.weights.files import StateDict, renamed, require_matching, tensors_by_name

NUM_HEADS = 8
"""Of every released head; shapes do not tell it."""
Variant = Literal["base", "pro"]
STREAMS: dict[str, Literal["shared", "separate"]] = {"base": "shared", "pro": "separate"}
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
    state_dict: Mapping[str, Tensor], variant: Variant, num_heads: int = NUM_HEADS
) -> VLAAdapterHead:
    """The head of a released policy, from its state dict with or without the prefixes `module.` and `model.`.

    The maps `film_gen`, which the Pro variant holds and never calls, are left out.

    Raises:
        ConfigurationError: an unknown variant.
        CheckpointError: keys are missing or unexpected, or of a wrong shape; they are listed.
    """
    require_known("variant", variant, STREAMS)
    tensors = without_prefixes(state_dict)
    sizes = head_sizes(tensors)
    width = sizes.width
    if num_heads < 1 or width % num_heads:
        raise CheckpointError(f"num_heads: expected a divisor of the head's width {width}, got {num_heads}.")
    config = PolicyHeadConfig(
        num_heads=num_heads, attention="mixed", streams=STREAMS[variant], gate="scalar", num_kept_patches=1
    )
    with torch.device("meta"):
        head = VLAAdapterHead(config, sizes.num_layers, width, sizes.input_width, sizes.action_dim)
    mapped = head_part(tensors)
    require_matching(head.state_dict(), mapped, f"VLA-Adapter head, variant {variant!r}")
    head.load_state_dict(mapped, assign=True)
    return head


def without_prefixes(state_dict: object) -> StateDict:
    """A state dict without the prefixes `module.` and `model.`, which training on several devices and the wrapper of the
    head have left; one that lies under `state_dict` is taken out.

    Raises:
        CheckpointError: it is no state dict.
    """
    if isinstance(state_dict, Mapping) and set(state_dict) == {"state_dict"}:
        state_dict = state_dict["state_dict"]
    tensors = tensors_by_name(state_dict, "state_dict")
    return renamed(tensors, lambda name: name.removeprefix("module.").removeprefix("model."))


@dataclass(frozen=True)
class HeadSizes:
    """What the shapes of a head's weights tell."""

    num_layers: int
    width: int
    input_width: int
    action_dim: int
    streams: Literal["shared", "separate"]
    """`separate` of the Pro variant."""


def head_sizes(tensors: StateDict) -> HeadSizes:
    """The sizes of a head from its tensors, whose names have no prefixes.

    Raises:
        CheckpointError: they are not those of a head.
    """
    for name in ("fc1.weight", "fc2.weight"):
        if name not in tensors or tensors[name].ndim != 2:
            raise CheckpointError(
                f"state_dict: expected the matrix {name!r} of a VLA-Adapter head, got {', '.join(sorted(tensors)[:5])}. "
                "Give the file action_head--*.pt."
            )
    width, input_width = tensors["fc1.weight"].shape
    return HeadSizes(
        num_layers=1 + max((int(m[1]) for name in tensors if (m := _BLOCK.fullmatch(name))), default=-1),
        width=width,
        input_width=input_width,
        action_dim=len(tensors["fc2.weight"]),
        streams="separate" if any(".k_self." in name for name in tensors) else "shared",
    )


def head_part(tensors: StateDict) -> StateDict:
    """A head's tensors under the names that they have in our policy head."""
    return renamed(tensors, _our_name)


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
