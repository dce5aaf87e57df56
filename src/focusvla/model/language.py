"""The instruction's words, and the language model that reads patches, instruction and action queries.

The sequence is [patches, instruction, action queries] under causal attention, so the states of the patches do
not depend on the instruction. Padding is moved behind the action queries: there, causal attention already
keeps it from influencing anything, positions stay contiguous, and the fused kernel needs no mask.
"""

import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from focusvla.config import LanguageConfig
from focusvla.model.attention import fused_attention
from focusvla.model.compilation import compiled_for_each_shape
from focusvla.model.fused import gated_silu, rms_norm
from focusvla.model.qwen2 import NORM_EPSILON, Qwen2Weights, initial_spread

PADDING_ID = 0
UNKNOWN_ID = 1
NUM_SPECIAL_IDS = 2

_BEHIND_ALL = 2**32


def split_words(instruction: str) -> list[str]:
    """Lower-cased words without the punctuation around them: "Pick up the bowl!" is pick, up, the, bowl."""
    words = (word.strip(string.punctuation) for word in instruction.lower().split())
    return [word for word in words if word]


def build_vocabulary(instructions: Iterable[str]) -> tuple[str, ...]:
    """Every word of the instructions once, sorted."""
    return tuple(sorted({word for instruction in instructions for word in split_words(instruction)}))


class WordTokenizer:
    """Words to ids: 0 is padding, 1 is any unknown word, the vocabulary starts at 2."""

    def __init__(self, vocabulary: Sequence[str]):
        self.ids = {word: NUM_SPECIAL_IDS + index for index, word in enumerate(vocabulary)}

    def encode(
        self, instructions: Sequence[str]
    ) -> tuple[Int64[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
        """Ids padded on the right to the longest instruction, and a mask that is False on padding.

        With the vocabulary (bowl, the): ["the bowl", "the red bowl"] is [[3, 2, 0], [3, 1, 2]].
        """
        rows = [[self.ids.get(word, UNKNOWN_ID) for word in split_words(text)] for text in instructions]
        length = max((len(row) for row in rows), default=0)
        padded = [row + [PADDING_ID] * (length - len(row)) for row in rows]
        ids = torch.tensor(padded, dtype=torch.int64).reshape(len(rows), length)
        return ids, ids != PADDING_ID

    def unknown_words(self, instruction: str) -> list[str]:
        """The instruction's words that the vocabulary lacks, in order."""
        return [word for word in split_words(instruction) if word not in self.ids]


def order_padding_last(is_token: Bool[Tensor, "batch tokens"]) -> Int64[Tensor, "batch tokens"]:
    """Indices that move padding behind everything else and keep the order otherwise.

    The mask [1, 1, 0, 1, 1] gives [0, 1, 3, 4, 2].
    """
    # A stable sort of the mask, which ONNX lacks, by keys of which no two are equal.
    keys = torch.arange(is_token.shape[1], device=is_token.device) + _BEHIND_ALL * ~is_token
    return keys.argsort(dim=1)


class LanguageModel(nn.Module):
    """A Qwen2 body with random weights, run without mask, cache and output head.

    Parameters, their names and first values are those of transformers' `Qwen2Model`. The loop over its layers may be
    ours, because on a CPU its norms and rotary embedding take longer than its matrix products at small widths.
    """

    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.is_fused = config.loop == "fused"
        self.body = (Qwen2Weights if self.is_fused else _of_transformers)(config, *_ids(config))
        self.packed: PackedLayers | None = None
        self._config = config

    def embed(self, token_ids: Int64[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens width"]:
        """Input embeddings of instruction tokens."""
        return self.body.embed_tokens(token_ids)

    def run_by_transformers(self) -> None:
        """From now on leave the loop over the layers to transformers, whose operations other runtimes have."""
        if self.is_fused:
            weights = self.body.state_dict()
            self.body = _of_transformers(self._config, *_ids(self._config)).to(self.body.norm.weight)
            self.body.load_state_dict(weights)
            self.is_fused = False

    @torch.no_grad()
    def pack(self, dtype: torch.dtype) -> "PackedLayers":
        """Keep the layers' weights as our loop multiplies them, in `dtype`, in place of the layers: from now on the
        model answers, and neither learns nor is saved. Angles stay in float32."""
        frequencies = self.body.rotary_emb.inv_freq.float()
        self.to(dtype)
        self.packed = PackedLayers([layer_weights(layer) for layer in self._layers()], frequencies)
        del self.body.layers
        self.register_state_dict_pre_hook(_refuse_to_be_saved)
        self.is_fused = True
        return self.packed

    def forward(
        self, embeddings: Float[Tensor, "batch tokens width"]
    ) -> Iterable[Float[Tensor, "batch tokens width"]]:
        """States after each layer; the last ones have passed the final norm.

        Once packed, a layer is computed when its states are asked for, so that who reads them can begin.
        """
        if self.packed is not None:
            return self._run(embeddings, self.packed.layers, self.packed.turns(embeddings.shape[1]))
        if self.is_fused:
            turns = turns_of(self.body.rotary_emb.inv_freq.float(), embeddings.shape[1])
            return list(self._run(embeddings, map(layer_weights, self._layers()), turns))
        # Layer by layer, since transformers hands out their states by hooks, which would end each compiled graph. No mask
        # is the causal one to the fused kernel; to make one, transformers would wait for the device.
        positions = torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        turns = self.body.rotary_emb(embeddings, positions)
        hidden, states = embeddings, []
        for layer in self._layers():
            hidden = layer(hidden, position_embeddings=turns)
            states.append(hidden)
        return [*states[:-1], self.body.norm(states[-1])]

    def _run(
        self,
        hidden: Float[Tensor, "batch tokens width"],
        layers: Iterable["LayerWeights"],
        turns: Float[Tensor, "tokens 1 half_width pair"],
    ) -> Iterator[Float[Tensor, "batch tokens width"]]:
        norm, last = self.body.norm, self._config.num_layers - 1
        run = run_layer if self.packed is None else self.packed.run
        for index, layer in enumerate(layers):
            hidden = run(layer, hidden, turns)
            yield rms_norm(hidden, norm.weight, norm.variance_epsilon) if index == last else hidden

    def _layers(self) -> Iterator[nn.Module]:
        return iter(self.body.layers)


def _ids(config: LanguageConfig) -> tuple[int, int | None]:
    """How many there are, and that of padding."""
    padding = None if config.tokenizer == "qwen2.5" else PADDING_ID
    return config.vocabulary_size or NUM_SPECIAL_IDS + len(config.vocabulary), padding


def _of_transformers(config: LanguageConfig, num_ids: int, padding_id: int | None) -> Any:
    from transformers import Qwen2Config, Qwen2Model  # three seconds

    return Qwen2Model(
        Qwen2Config(
            vocab_size=num_ids,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_key_value_heads,
            initializer_range=initial_spread(config),
            rms_norm_eps=NORM_EPSILON,
            rope_theta=config.rope_theta,  # pyright: ignore[reportCallIssue] - both 4.57 and 5 take it
            tie_word_embeddings=False,
            pad_token_id=padding_id,
            use_cache=False,
        )
    )


def _refuse_to_be_saved(*_: object) -> None:
    raise RuntimeError(
        "state_dict: expected a model as it was loaded, got one prepared to answer. Load it again."
    )


class LayerWeights(NamedTuple):
    """A layer's weights as `run_layer` multiplies them.

    Qwen2 turns the channel pairs (i, i + half) of queries and keys. Here the rows of their weights are reordered so that
    a pair lies side by side and is turned in one pass over memory; scores do not depend on the order of channels.
    """

    attention_norm: Float[Tensor, " width"]
    projection: Float[Tensor, "projected width"]
    """Rows of all queries, then keys, then values."""
    projection_bias: Float[Tensor, " projected"]
    output: Float[Tensor, "width queries"]
    feed_forward_norm: Float[Tensor, " width"]
    gate_and_up: Float[Tensor, "twice_intermediate width"]
    down: Float[Tensor, "width intermediate"]
    head_width: int
    epsilon: float


class PackedLayers:
    """All layers' weights, packed once, and the angles of their positions."""

    def __init__(self, layers: Sequence[LayerWeights], frequencies: Float[Tensor, " half_width"]):
        self.layers = layers
        self.run = run_layer
        self._frequencies = frequencies
        self._turns: dict[int, Float[Tensor, "tokens 1 half_width pair"]] = {}

    def compile(self) -> None:
        """Run layers compiled: once for each shape of their input, not for each layer."""
        self.run = compiled_for_each_shape(run_layer)

    def turns(self, num_tokens: int) -> Float[Tensor, "tokens 1 half_width pair"]:
        """As `turns_of`, kept for the next time."""
        if num_tokens not in self._turns:
            self._turns[num_tokens] = turns_of(self._frequencies, num_tokens)
        return self._turns[num_tokens]


def turns_of(
    frequencies: Float[Tensor, " half_width"], num_tokens: int
) -> Float[Tensor, "tokens 1 half_width pair"]:
    """Cosine and sine of each position's angles."""
    angles = torch.arange(num_tokens, device=frequencies.device)[:, None] * frequencies
    return torch.stack([angles.cos(), angles.sin()], dim=-1)[:, None]


def layer_weights(layer: Any) -> LayerWeights:
    """Copies of a layer's weights, through which it still learns: a `Layer`, or transformers' of the same names."""
    attention, mlp = layer.self_attn, layer.mlp
    query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
    paired = {"pair": 2, "E": attention.head_dim // 2}
    weight = rearrange(torch.cat([query.weight, key.weight]), "(H pair E) D -> (H E pair) D", **paired)
    bias = rearrange(torch.cat([query.bias, key.bias]), "(H pair E) -> (H E pair)", **paired)
    return LayerWeights(
        attention_norm=layer.input_layernorm.weight,
        projection=torch.cat([weight, value.weight]),
        projection_bias=torch.cat([bias, value.bias]),
        output=attention.o_proj.weight,
        feed_forward_norm=layer.post_attention_layernorm.weight,
        gate_and_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
        down=mlp.down_proj.weight,
        head_width=attention.head_dim,
        epsilon=layer.input_layernorm.variance_epsilon,
    )


def run_layer(
    layer: LayerWeights,
    hidden: Float[Tensor, "batch tokens width"],
    turns: Float[Tensor, "tokens 1 half_width pair"],
) -> Float[Tensor, "batch tokens width"]:
    """States after one layer."""
    normalized = rms_norm(hidden, layer.attention_norm, layer.epsilon)
    projected = F.linear(normalized, layer.projection, layer.projection_bias)
    query_width = layer.output.shape[1]
    key_width = (len(layer.projection) - query_width) // 2
    unturned, values = projected.split([query_width + key_width, key_width], dim=2)
    pairs = rearrange(unturned.float(), "B N (H E pair) -> B N H E pair", E=layer.head_width // 2, pair=2)
    turned = rearrange(turn(pairs, turns), "B N H E pair -> B H N (E pair)").to(hidden.dtype)
    queries, keys = turned.split([query_width // layer.head_width, key_width // layer.head_width], dim=1)
    attended = fused_attention(
        queries,
        keys,
        rearrange(values, "B N (H E) -> B H N E", E=layer.head_width),
        is_causal=True,
        enable_gqa=key_width < query_width,
    )
    hidden = hidden + F.linear(rearrange(attended, "B H N E -> B N (H E)"), layer.output)
    normalized = rms_norm(hidden, layer.feed_forward_norm, layer.epsilon)
    return hidden + F.linear(gated_silu(F.linear(normalized, layer.gate_and_up)), layer.down)


def turn(
    pairs: Float[Tensor, "batch tokens heads half_width pair"],
    turns: Float[Tensor, "tokens 1 half_width pair"],
) -> Float[Tensor, "batch tokens heads half_width pair"]:
    """Turn each pair of channels by its position's angle, as one complex product where that is one pass over memory.

    The pair [1, 0] at an angle of 90 degrees becomes [0, 1].
    """
    if not torch.compiler.is_compiling():
        return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns))
    (x, y), (cosine, sine) = pairs.unbind(dim=-1), turns.unbind(dim=-1)
    return torch.stack([x * cosine - y * sine, x * sine + y * cosine], dim=-1)
