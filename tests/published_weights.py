"""Key names and shapes of published files, written down once more, so that our maps are checked against something."""

from collections.abc import Callable

import torch
from torch import Tensor

from focusvla.config import ModelConfig, TransformerConfig

Shapes = dict[str, tuple[int, ...]]


def timm_transformer(
    sizes: TransformerConfig, patches: int, scale_name: str | None, prefix: str = ""
) -> Shapes:
    """All of it, last layer, final norm and pooling head included; with scales it is DINOv2, without SigLIP."""
    width, hidden = sizes.hidden_size, sizes.intermediate_size
    shapes: Shapes = {
        "pos_embed": (1, patches, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for number in range(sizes.num_layers):
        block: Shapes = {
            "norm1.weight": (width,), "norm1.bias": (width,), "norm2.weight": (width,), "norm2.bias": (width,),
            "attn.qkv.weight": (3 * width, width), "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
            "mlp.fc1.weight": (hidden, width), "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (width, hidden), "mlp.fc2.bias": (width,),
        }  # fmt: skip
        if scale_name:
            block |= {f"ls{branch}.{scale_name}": (width,) for branch in (1, 2)}
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    if scale_name:
        shapes |= {"cls_token": (1, 1, width), "reg_token": (1, 4, width)}
    else:
        maps = {
            "q": (width, width), "kv": (2 * width, width), "proj": (width, width),
            "mlp.fc1": (hidden, width), "mlp.fc2": (width, hidden),
        }  # fmt: skip
        shapes |= {f"attn_pool.{name}.weight": shape for name, shape in maps.items()}
        shapes |= {f"attn_pool.{name}.bias": shape[:1] for name, shape in maps.items()}
        shapes |= {"attn_pool.latent": (1, 1, width)}
        shapes |= {f"attn_pool.norm.{kind}": (width,) for kind in ("weight", "bias")}
    return {prefix + name: shape for name, shape in shapes.items()}


def qwen2(config: ModelConfig, vocabulary_size: int, prefix: str) -> Shapes:
    language = config.language
    width, hidden = language.hidden_size, language.intermediate_size
    key_width = width // language.num_heads * language.num_key_value_heads
    shapes: Shapes = {
        "lm_head.weight": (vocabulary_size, width),
        "model.embed_tokens.weight": (vocabulary_size, width),
        "model.norm.weight": (width,),
    }
    for number in range(language.num_layers):
        layer: Shapes = {
            "input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,),
            "self_attn.q_proj.weight": (width, width), "self_attn.q_proj.bias": (width,),
            "self_attn.k_proj.weight": (key_width, width), "self_attn.k_proj.bias": (key_width,),
            "self_attn.v_proj.weight": (key_width, width), "self_attn.v_proj.bias": (key_width,),
            "self_attn.o_proj.weight": (width, width),
            "mlp.gate_proj.weight": (hidden, width), "mlp.up_proj.weight": (hidden, width),
            "mlp.down_proj.weight": (width, hidden),
        }  # fmt: skip
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    return {prefix + name: shape for name, shape in shapes.items()}


def projector(config: ModelConfig, names: tuple[str, str, str]) -> Shapes:
    raw = config.vision.dinov2.hidden_size + config.vision.siglip.hidden_size
    widths = (raw, 4 * raw, config.language.hidden_size, config.language.hidden_size)
    return {
        key: shape
        for name, into, out in zip(names, widths, widths[1:], strict=False)
        for key, shape in ((f"{name}.weight", (out, into)), (f"{name}.bias", (out,)))
    }


def vla_adapter_head(
    variant: str, num_layers: int, width: int, action_dim: int, input_width: int | None = None
) -> Shapes:
    input_width = input_width or action_dim * width
    maps = {"base": ("q", "k", "v", "o"), "pro": ("q", "o")}[variant]
    names = [f"{name}_proj" for name in maps]
    if variant == "pro":
        names += [f"{kind}_{stream}" for stream in ("self", "adapter", "task") for kind in "kv"]
    shapes: Shapes = {
        "layer_norm1.weight": (input_width,), "layer_norm1.bias": (input_width,),
        "fc1.weight": (width, input_width), "fc1.bias": (width,),
        "layer_norm2.weight": (width,), "layer_norm2.bias": (width,),
        "fc2.weight": (action_dim, width), "fc2.bias": (action_dim,),
    }  # fmt: skip
    for number in range(num_layers):
        block: Shapes = {
            "gating_factor": (1,),
            "ffn.0.weight": (width,), "ffn.0.bias": (width,),
            "ffn.1.weight": (width, width), "ffn.1.bias": (width,),
        }  # fmt: skip
        for name in names:
            block |= {f"{name}.weight": (width, width), f"{name}.bias": (width,)}
        if variant == "pro":
            block |= {"film_gen.0.weight": (2 * width, width), "film_gen.0.bias": (2 * width,)}
        shapes |= {f"mlp_resnet_blocks.{number}.{name}": shape for name, shape in block.items()}
    return shapes


def merged_vla_adapter(config: ModelConfig, vocabulary_size: int) -> Shapes:
    """`model.safetensors` of a released run."""
    patches = config.vision.patches_per_camera
    return (
        timm_transformer(config.vision.dinov2, patches, "scale_factor", "vision_backbone.featurizer.")
        | timm_transformer(config.vision.siglip, patches, None, "vision_backbone.fused_featurizer.")
        | {f"projector.{name}": shape for name, shape in projector(config, ("fc1", "fc2", "fc3")).items()}
        | qwen2(config, vocabulary_size, "language_model.")
        | {"action_queries.weight": (config.num_action_queries, config.language.hidden_size)}
    )


def filled(shapes: Shapes, make: Callable[[tuple[int, ...]], Tensor] | None = None) -> dict[str, Tensor]:
    """Random tensors of these shapes, or what `make` makes of them."""
    generator = torch.Generator().manual_seed(0)
    make = make or (lambda shape: 0.3 * torch.randn(shape, generator=generator))
    return {name: make(shape) for name, shape in shapes.items()}
