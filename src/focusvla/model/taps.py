"""Taps on the policy's layers: look at what passes through them, or keep a stream from them.

A tap is a forward hook on a module that a layer has anyway, so that a policy which nobody looks at runs as if there were
none, and one that is looked at takes the same path and gives the same answer.

Three streams reach an action: the latent itself (`self`), the action queries with the proprioception token at their end
(`action_query`), and the patches (`vision`).

Legend: B batch, H heads, T action steps, S streams, P patches, D width, O output width.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from focusvla.errors import ConfigurationError
from focusvla.model.attention import merge_heads, split_heads
from focusvla.model.blocks import STREAMS, CascadedBlock, MixedBlock, PolicyBlock, Stream
from focusvla.model.focusvla import FocusVLA

_TAPPED = ("attention_weights", "fusion", "gate.logits", "values.")
"""How the names of the modules begin that are looked at, within a layer."""
_Seen = dict[str, list[Tensor]]


@dataclass(frozen=True)
class LayerRecord:
    """What passed through one policy layer."""

    vision_weights: Float[Tensor, "batch heads chunk patches"]
    """Attention among the patches alone, each row summing to 1: of a mixed layer, after division by vision's share, and
    all 0 in a row whose share is."""
    contributions: Float[Tensor, "batch chunk streams"]
    """Share of each stream in what attention adds to the latent, by the norm of what it adds; the sum is 1.

    Attention ends in a linear map of what the streams brought: the fusion of a cascaded layer, the output projection of a
    mixed one. Being linear, it is a sum of one vector per stream, and a bias that is nobody's. Their norms tell what
    weights do not, since a token of weight 1 whose value is 0 adds nothing (Kobayashi et al., "Attention is Not Only a
    Weight", EMNLP 2020), and can be compared between both kinds of layers. Vectors that cancel each other count as much
    as any.
    """
    weight_shares: Float[Tensor, "batch heads chunk streams"] | None
    """Share of each stream in a mixed layer's one softmax; None in a cascaded layer, where each stream has its own."""
    gate: Float[Tensor, "batch chunk heads"] | None
    """The vision gate, in the mean over each head's channels: what the attention's output is multiplied by in a cascaded
    layer, the patches' scores in a mixed one. 0 to 1, or -1 to 1 of a scalar gate; None without a gate."""


@contextmanager
def recorded_layers(model: FocusVLA) -> Generator[list[LayerRecord]]:
    """While the block runs, each forward pass of `model` appends a record per policy layer, the first layer's first.

    Raises:
        ConfigurationError: its policy does not attend.
    """
    records: list[LayerRecord] = []
    with ExitStack() as taps:
        for layer in attending_layers(model):
            seen: _Seen = defaultdict(list)
            for name, module in layer.named_modules():
                if name.startswith(_TAPPED):
                    hook = partial(_note, seen, name.partition(".")[0])
                    taps.callback(module.register_forward_hook(hook).remove)
            hook = partial(_record, records, seen, _tap_of(layer))
            taps.callback(layer.register_forward_hook(hook).remove)
        yield records


@contextmanager
def without_stream(model: FocusVLA, stream: Stream) -> Generator[None]:
    """While the block runs, `stream` adds nothing to the latent, as if its values were zero.

    Without `vision` the policy does not look; the language model still does, and what the action queries bring of the
    pictures stays: the shortcut that the paper closes. In a sequential cascade a stream also shapes the next one's query,
    and goes on doing so.

    Raises:
        ConfigurationError: the policy does not attend.
    """
    with ExitStack() as taps:
        for layer in attending_layers(model):
            taps.callback(_tap_of(layer).silence(layer, stream, model.config.num_policy_patches).remove)
        yield


def attending_layers(model: FocusVLA) -> Sequence[nn.Module]:
    """The policy's layers.

    Raises:
        ConfigurationError: they do not attend.
    """
    if not model.policy_head.attends:
        kind = model.config.policy_head.attention
        raise ConfigurationError(
            f"policy_head.attention: expected a kind that attends, such as 'cascaded', got {kind!r}. Its layers "
            "attend to nothing: there is nothing to look at or to keep from them."
        )
    return list(model.policy_head.blocks)


def _note(seen: _Seen, name: str, module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
    seen[name].append(given[0] if name == "fusion" else answer)


def _record(
    records: list[LayerRecord],
    seen: _Seen,
    tap: "_Tap",
    layer: nn.Module,
    given: tuple[Tensor, ...],
    answer: Tensor,
) -> None:
    records.append(
        tap.record(layer, {name: [tensor.float() for tensor in tensors] for name, tensors in seen.items()})
    )
    seen.clear()


def _cascaded_record(layer: CascadedBlock, seen: _Seen) -> LayerRecord:
    (weights,), (joined,) = seen["attention_weights"], seen["fusion"]
    brought = rearrange(joined, "B T (S D) -> B T S D", S=len(STREAMS))
    maps = rearrange(layer.fusion.weight.float(), "O (S D) -> S O D", S=len(STREAMS))
    added = torch.einsum("btsd,sod->btso", brought, maps)
    gate = None
    if layer.gate.kind == "scalar":
        gate = _of_all_heads(layer.gate.scalar, weights)
    elif layer.gate.kind != "none":
        gates = torch.sigmoid(seen["gate"][0])
        gate = rearrange(gates, "B T (H C) -> B T H C", H=layer.num_heads).mean(dim=-1)
    return LayerRecord(weights, _shares_of_norms(added), None, gate)


def _mixed_record(layer: MixedBlock, seen: _Seen) -> LayerRecord:
    (weights,), values = seen["attention_weights"], seen["values"]
    parts = weights.split([tokens.shape[1] for tokens in values], dim=-1)
    brought = [
        merge_heads(part @ split_heads(tokens, layer.num_heads))
        for part, tokens in zip(parts, values, strict=True)
    ]
    added = F.linear(torch.stack(brought, dim=2), layer.output.weight.float())
    shares = torch.stack([part.sum(dim=-1) for part in parts], dim=-1)
    return LayerRecord(
        vision_weights=F.normalize(parts[-1], p=1, dim=-1, eps=torch.finfo(torch.float32).tiny),
        contributions=_shares_of_norms(added),
        weight_shares=shares,
        gate=None if layer.gate is None else _of_all_heads(layer.gate, weights),
    )


def _shares_of_norms(
    added: Float[Tensor, "batch chunk streams width"],
) -> Float[Tensor, "batch chunk streams"]:
    """[[3, 4], [0, 0], [0, 5]] becomes [0.5, 0, 0.5]."""
    return F.normalize(added.norm(dim=-1), p=1, dim=-1)


def _of_all_heads(
    scalar: Float[Tensor, "1"], weights: Float[Tensor, "batch heads chunk tokens"]
) -> Float[Tensor, "batch chunk heads"]:
    batch, heads, chunk, _ = weights.shape
    return torch.tanh(scalar).float().expand(batch, chunk, heads)


def _silence_cascaded(layer: CascadedBlock, stream: Stream, num_patches: int) -> RemovableHandle:
    return layer.fusion.register_forward_pre_hook(partial(_silence_fused, stream))


def _silence_mixed(layer: MixedBlock, stream: Stream, num_patches: int) -> RemovableHandle:
    return layer.attention_weights.register_forward_hook(partial(_silence_weights, stream, num_patches))


def _silence_fused(stream: Stream, module: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
    brought = list(given[0].chunk(len(STREAMS), dim=-1))
    place = STREAMS.index(stream)
    brought[place] = torch.zeros_like(brought[place])
    return torch.cat(brought, dim=-1)


def _silence_weights(
    stream: Stream, num_patches: int, module: nn.Module, given: tuple[Tensor, ...], weights: Tensor
) -> Tensor:
    chunk, tokens = weights.shape[-2:]
    parts = list(weights.split([chunk, tokens - chunk - num_patches, num_patches], dim=-1))
    place = STREAMS.index(stream)
    parts[place] = torch.zeros_like(parts[place])
    return torch.cat(parts, dim=-1)


@dataclass(frozen=True)
class _Tap:
    """How to look at one kind of block."""

    record: Callable[[Any, _Seen], LayerRecord]
    """Of the block, from what its modules of `_TAPPED` were given or answered."""
    silence: Callable[[Any, Stream, int], RemovableHandle]
    """Keep a stream from the block, until the handle is removed; the number is that of the patches."""


_TAPS: dict[type[PolicyBlock], _Tap] = {
    CascadedBlock: _Tap(_cascaded_record, _silence_cascaded),
    MixedBlock: _Tap(_mixed_record, _silence_mixed),
}


def _tap_of(layer: nn.Module) -> _Tap:
    for kind, tap in _TAPS.items():
        if isinstance(layer, kind):
            return tap
    raise NotImplementedError(
        f"{type(layer).__name__}: expected a block that `_TAPS` in focusvla.model.taps says how to look at. Add it there."
    )
