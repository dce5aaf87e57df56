"""What a model consists of and costs, counted on tensors without memory: no weights.

Operations are those that a forward pass really issues, two per multiplication and addition; attention under a causal
mask counts half.
"""

from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from focusvla.config import AdapterConfig, ModelConfig, PolicyHeadConfig, TransformerConfig
from focusvla.model.focusvla import FocusVLA
from focusvla.model.weights.vla_adapter_head import VLAAdapterHead
from focusvla.model.without_memory import as_if_on_cpu
from focusvla.types import ModelInputs

PARTS = {
    "DINOv2": ("vision_encoder.dinov2",),
    "SigLIP": ("vision_encoder.siglip",),
    "vision encoder": ("vision_encoder",),
    "VGGT": ("vggt",),
    "projector": ("projector",),
    "language model": ("language_model", "action_queries", "vision_position"),
    "policy": ("policy_head",),
    "proprioception": ("policy_head.proprioception",),
}
"""A parameter belongs to the part with the longest name that it begins with."""

_ATTENTION = ("attention", "bmm", "baddbmm")


@dataclass(frozen=True)
class Part:
    """One row of the account."""

    name: str
    parameters: int
    trainable: int
    inference_flop: int
    """For one observation, adapters merged."""
    training_flop: int
    """For one sample: what is frozen forward and backward to its input, what learns also to its weights."""
    streamed_parameters: int
    """Read for one inference: of an embedding table only single rows are, which are not counted."""


def count_parts(config: ModelConfig, num_text_tokens: int = 50) -> list[Part]:
    """Parameters and operations of each part of the model, for an instruction of `num_text_tokens` tokens."""
    with torch.device("meta"):
        model = FocusVLA(config)
        merged = model if config.adapters.rank == 0 else FocusVLA(replace(config, adapters=AdapterConfig()))
    total, trainable, streamed = Counter[str](), Counter[str](), Counter[str]()
    for name, parameter in model.named_parameters():
        part = _part_of(name)
        trainable[part] += parameter.numel() * parameter.requires_grad
        total[part] += parameter.numel() * ("lora_" not in name)
    for name, parameter in merged.named_parameters():
        streamed[_part_of(name)] += parameter.numel() * ("embed_tokens" not in name)
    plain = _count_operations(merged, num_text_tokens)
    with_adapters = plain if merged is model else _count_operations(model, num_text_tokens)
    rows = []
    for part in PARTS:
        if not total[part]:
            continue
        adapters = with_adapters[part] - plain[part]
        if config.adapters.rank and part in ("DINOv2", "SigLIP", "projector", "language model"):
            training = 2 * plain[part] + 3 * adapters
        else:
            training = (3 if trainable[part] else 1) * plain[part]
        rows.append(Part(part, total[part], trainable[part], plain[part], training, streamed[part]))
    return rows


def _part_of(name: str) -> str:
    matching = [
        (len(prefix), part)
        for part, prefixes in PARTS.items()
        for prefix in prefixes
        if name == prefix or name.startswith(f"{prefix}.")
    ]
    return max(matching)[1]


def _count_operations(model: FocusVLA, num_text_tokens: int) -> Counter[str]:
    config = model.config
    size = config.vision.image_size
    # As products of matrices: the CPU's fused attention is not counted.
    plainly = sdpa_kernel(SDPBackend.MATH)
    with FakeTensorMode(), plainly, FlopCounterMode(display=False) as counter:
        as_if_on_cpu(model.requires_grad_(False).eval())
        token_ids = torch.zeros(1, num_text_tokens, dtype=torch.int64)
        inputs = ModelInputs(
            images=torch.zeros(1, config.num_cameras, size, size, 3, dtype=torch.uint8),
            features=None,
            token_ids=token_ids,
            token_mask=torch.ones_like(token_ids, dtype=torch.bool),
            state=torch.zeros(1, config.state_dim),
        )
        model(inputs)
    operations = Counter[str]()
    counts = counter.get_flop_counts()
    for part, (module, *_) in PARTS.items():
        for operation, flop in counts.get(f"{type(model).__name__}.{module}", {}).items():
            is_causal = part == "language model" and any(name in str(operation) for name in _ATTENTION)
            operations[part] += flop // 2 if is_causal else flop
    if operations["DINOv2"]:  # which with SigLIP is all of the encoder
        del operations["vision encoder"]
    return operations


@dataclass(frozen=True)
class ReferenceCounts:
    """Parameters as the paper's Table 3 counts them, with those that can never receive a gradient."""

    vlm: int
    """Adapters on every linear layer, the output layer and the unused last layers included, and action queries."""
    policy: int
    """Without the proprioception network."""
    never_learn: int
    """Of `vlm`: output layer, pooling head, last layer of each encoder."""
    base_head: int
    """VLA-Adapter's base head."""
    pro_head: int
    """VLA-Adapter's Pro head."""
    pro_head_never_called: int

    @property
    def total(self) -> int:
        return self.vlm + self.policy


def reference_counts(config: ModelConfig) -> ReferenceCounts:
    """Table 3's counts, and those of VLA-Adapter's heads, for a model of these sizes."""
    rank, width = config.adapters.rank, config.language.hidden_size
    language, vision = config.language, config.vision

    def adapters(*shapes: tuple[int, int]) -> int:
        return sum(rank * (into + out) for into, out in shapes)

    def transformer_layer(sizes: TransformerConfig) -> int:
        wide, hidden = sizes.hidden_size, sizes.intermediate_size
        return adapters((wide, 3 * wide), (wide, wide), (wide, hidden), (hidden, wide))

    key_width = width // language.num_heads * language.num_key_value_heads
    language_layer = adapters(
        (width, width), (width, key_width), (width, key_width), (width, width),
        (width, language.intermediate_size), (width, language.intermediate_size), (language.intermediate_size, width),
    )  # fmt: skip
    raw = vision.dinov2.hidden_size + vision.siglip.hidden_size
    siglip = vision.siglip.hidden_size
    pooling_head = adapters(
        (siglip, siglip), (siglip, 2 * siglip), (siglip, siglip),
        (siglip, vision.siglip.intermediate_size), (vision.siglip.intermediate_size, siglip),
    )  # fmt: skip
    output_layer = adapters((width, language.vocabulary_size))
    vlm = (
        vision.dinov2.num_layers * transformer_layer(vision.dinov2)
        + vision.siglip.num_layers * transformer_layer(vision.siglip)
        + pooling_head
        + adapters((raw, 4 * raw), (4 * raw, width), (width, width))
        + language.num_layers * language_layer
        + output_layer
        + config.num_action_queries * width
    )
    never = pooling_head + output_layer + transformer_layer(vision.dinov2) + transformer_layer(vision.siglip)
    with torch.device("meta"):
        policy = FocusVLA(replace(config, adapters=AdapterConfig())).policy_head
        head = PolicyHeadConfig(
            num_heads=config.policy_head.num_heads, attention="mixed", gate="scalar", num_kept_patches=1
        )
        shape = (language.num_layers, width, config.action_dim * width, config.action_dim)
        base = VLAAdapterHead(head, *shape)
        pro = VLAAdapterHead(replace(head, streams="separate"), *shape)
    unused = language.num_layers * (width * 2 * width + 2 * width)

    def count(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    return ReferenceCounts(
        vlm=vlm,
        policy=count(policy) - count(policy.proprioception),
        never_learn=never,
        base_head=count(base),
        pro_head=count(pro) + unused,
        pro_head_never_called=unused,
    )
