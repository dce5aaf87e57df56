"""A Qwen2 body's weights, under the names that transformers gives them, and with its first values.

A small policy's own loop (`focusvla.model.language`) multiplies them and needs nothing else of transformers, whose import
takes three seconds of each command, and of each process that simulates or answers.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from focusvla.config import LanguageConfig

NORM_EPSILON = 1e-6


class RMSNormWeight(nn.Module):
    """A factor for each channel."""

    variance_epsilon = NORM_EPSILON

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class SelfAttention(nn.Module):
    """The four maps of grouped-query attention."""

    def __init__(self, config: LanguageConfig):
        super().__init__()
        width = config.hidden_size
        self.head_dim = width // config.num_heads
        self.q_proj = nn.Linear(width, config.num_heads * self.head_dim)
        self.k_proj = nn.Linear(width, config.num_key_value_heads * self.head_dim)
        self.v_proj = nn.Linear(width, config.num_key_value_heads * self.head_dim)
        self.o_proj = nn.Linear(config.num_heads * self.head_dim, width, bias=False)


class GatedMLP(nn.Module):
    """The three maps of the feed-forward part."""

    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)


class Layer(nn.Module):
    """One layer's weights."""

    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.self_attn = SelfAttention(config)
        self.mlp = GatedMLP(config)
        self.input_layernorm = RMSNormWeight(config.hidden_size)
        self.post_attention_layernorm = RMSNormWeight(config.hidden_size)


class Frequencies(nn.Module):
    """How fast each channel pair of a head turns with the position, in radians."""

    inv_freq: Tensor

    def __init__(self, config: LanguageConfig):
        super().__init__()
        head_width = config.hidden_size // config.num_heads
        exponents = torch.arange(0, head_width, 2, dtype=torch.int64).float() / head_width
        frequencies: Float[Tensor, " half_width"] = 1.0 / (config.rope_theta**exponents)
        self.register_buffer("inv_freq", frequencies, persistent=False)


class Qwen2Weights(nn.Module):
    """All of the body: embeddings, layers, last norm."""

    def __init__(self, config: LanguageConfig, num_ids: int, padding_id: int | None):
        super().__init__()
        self.embed_tokens = nn.Embedding(num_ids, config.hidden_size, padding_id)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = RMSNormWeight(config.hidden_size)
        self.rotary_emb = Frequencies(config)
        self.apply(_with_first_values(initial_spread(config)))


def initial_spread(config: LanguageConfig) -> float:
    """The standard deviation of first weights: the usual 0.02 at the width of Qwen2.5-0.5B, and in proportion at smaller
    ones."""
    return (3 * config.hidden_size) ** -0.5


def _with_first_values(spread: float):
    def initialize(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=spread)
        if isinstance(module, nn.Linear) and "bias" in dict(module.named_parameters()):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx] = 0

    return initialize
