"""What VLA-Adapter executes from a camera's picture to a command, written down once more in plain numpy and torch.

TensorFlow's operations are stated in numpy, everything after them in float64. Nothing of the package is used.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

Weights = Mapping[str, np.ndarray]
DINOV2_PIXELS = ((0.484375, 0.455078125, 0.40625), (0.228515625, 0.2236328125, 0.224609375))
SIGLIP_PIXELS = ((0.5,) * 3, (0.5,) * 3)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + torch.erf(torch.from_numpy(x) / math.sqrt(2)).numpy())


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    y = x @ weights[f"{name}.weight"].T
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def layer_norm(weights: Weights, name: str, x: np.ndarray, epsilon: float) -> np.ndarray:
    centered = x - x.mean(axis=-1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + epsilon)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


# Pictures: tf.io.encode_jpeg and decode_image, tf.image.resize, crop_and_resize, convert_image_dtype.


def jpeg(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=2)  # 2 is 4:2:0
    return np.asarray(Image.open(file))


def lanczos3(picture: np.ndarray, size: int) -> np.ndarray:
    source = len(picture)
    scale = source / size
    table = np.zeros((size, source))
    for row in range(size):
        for column in range(source):
            x = abs(column + 0.5 - (row + 0.5) * scale) / scale
            if x < 3:
                table[row, column] = np.sinc(x) * np.sinc(x / 3)
    table /= table.sum(axis=1, keepdims=True)
    resized = np.einsum("ia,jb,abc->ijc", table, table, picture.astype(np.float64), optimize=True)
    return np.rint(resized).clip(0, 255).astype(np.uint8)


def center_crop(picture: np.ndarray, area: float = 0.9) -> np.ndarray:
    """All in float32, as TensorFlow's kernel for CPUs does it, columns before rows."""
    one = np.float32(1)
    side = np.sqrt(np.float32(area))
    low = (one - side) / np.float32(2)
    high = low + side
    last = len(picture) - 1
    scale = (high - low) * np.float32(last) / np.float32(last)
    places = low * np.float32(last) + np.arange(len(picture), dtype=np.float32) * scale
    first, second = np.floor(places).astype(int), np.ceil(places).astype(int)
    share = places - np.floor(places)
    image = picture.astype(np.float32) * np.float32(1 / 255)
    image = image[:, first] + (image[:, second] - image[:, first]) * share[None, :, None]
    image = image[first] + (image[second] - image[first]) * share[:, None, None]
    return (image.clip(0, 1) * np.float32(255.5)).clip(0, 255).astype(np.uint8)


def seen(picture: np.ndarray, size: int, *, crops: bool = True) -> np.ndarray:
    resized = lanczos3(jpeg(picture), size)
    return center_crop(resized) if crops else resized


# The vision-language model.


def vision_transformer(
    weights: Weights, picture: np.ndarray, pixels: tuple, num_heads: int, num_layers: int
) -> np.ndarray:
    """Patch features after the second-to-last of `num_layers` layers."""
    mean, std = np.array(pixels)
    image = (picture / 255 - mean) / std
    kernel = weights["patch_embed.proj.weight"]
    patch = kernel.shape[-1]
    side = len(image) // patch
    cut = image.reshape(side, patch, side, patch, 3).transpose(0, 2, 4, 1, 3).reshape(side * side, -1)
    x = cut @ kernel.reshape(len(kernel), -1).T + weights["patch_embed.proj.bias"] + weights["pos_embed"][0]
    num_patches = len(x)
    if "cls_token" in weights:
        x = np.concatenate([weights["cls_token"][0], weights["reg_token"][0], x])
    for number in range(num_layers - 1):
        block = f"blocks.{number}"
        first, second = (weights.get(f"{block}.ls{branch}.scale_factor", 1.0) for branch in (1, 2))
        queries, keys, values = np.split(
            linear(weights, f"{block}.attn.qkv", layer_norm(weights, f"{block}.norm1", x, 1e-6)), 3, axis=1
        )
        width = x.shape[1] // num_heads
        heads = [slice(head * width, (head + 1) * width) for head in range(num_heads)]
        mixed = [softmax(queries[:, h] @ keys[:, h].T / math.sqrt(width)) @ values[:, h] for h in heads]
        x = x + first * linear(weights, f"{block}.attn.proj", np.concatenate(mixed, axis=1))
        hidden = gelu(linear(weights, f"{block}.mlp.fc1", layer_norm(weights, f"{block}.norm2", x, 1e-6)))
        x = x + second * linear(weights, f"{block}.mlp.fc2", hidden)
    return x[-num_patches:]


def qwen2(
    weights: Weights, x: np.ndarray, num_heads: int, num_key_heads: int, num_layers: int, theta: float
) -> list[np.ndarray]:
    """The embeddings and the states after each layer, the last ones after the final norm."""

    def rms_norm(name: str, rows: np.ndarray) -> np.ndarray:
        return rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True) + 1e-6) * weights[f"{name}.weight"]

    def turned(rows: np.ndarray) -> np.ndarray:
        half = rows.shape[1] // 2
        angles = np.arange(len(rows))[:, None] * theta ** (-np.arange(half) / half)
        a, b = rows[:, :half], rows[:, half:]
        return np.concatenate(
            [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], axis=1
        )

    states = [x]
    width = x.shape[1] // num_heads
    later = np.triu(np.ones((len(x), len(x)), bool), 1)
    for number in range(num_layers):
        layer = f"layers.{number}"
        normed = rms_norm(f"{layer}.input_layernorm", x)
        queries, keys, values = (linear(weights, f"{layer}.self_attn.{n}_proj", normed) for n in "qkv")
        mixed = []
        for head in range(num_heads):
            own, shared = (n * width for n in (head, head * num_key_heads // num_heads))
            scores = turned(queries[:, own : own + width]) @ turned(keys[:, shared : shared + width]).T
            scores = np.where(later, -np.inf, scores / math.sqrt(width))
            mixed.append(softmax(scores) @ values[:, shared : shared + width])
        x = x + linear(weights, f"{layer}.self_attn.o_proj", np.concatenate(mixed, axis=1))
        normed = rms_norm(f"{layer}.post_attention_layernorm", x)
        gate = linear(weights, f"{layer}.mlp.gate_proj", normed)
        up = linear(weights, f"{layer}.mlp.up_proj", normed)
        x = x + linear(weights, f"{layer}.mlp.down_proj", gate / (1 + np.exp(-gate)) * up)
        states.append(x)
    states[-1] = rms_norm("norm", states[-1])
    return states


# The policy head.


def head_actions(
    weights: Weights,
    variant: str,
    num_heads: int,
    x: np.ndarray,
    action_queries: np.ndarray,
    vision: np.ndarray,
    proprioception: np.ndarray,
    angles_in: torch.dtype = torch.float64,
) -> np.ndarray:
    """Normalized actions of one sample; axis 0 of both streams holds the embeddings, then the states after each layer."""

    def turned(rows: np.ndarray) -> np.ndarray:
        if variant == "base":
            return rows
        channels = np.arange(head_width)
        frequency = 10000.0 ** (-2 * (channels % (head_width // 2)) / head_width)
        angle = torch.arange(len(rows)).to(angles_in)[:, None] * torch.from_numpy(frequency).to(angles_in)
        cosine, sine = angle.cos().double().numpy(), angle.sin().double().numpy()
        other = np.empty_like(rows)
        other[:, 0::2], other[:, 1::2] = -rows[:, 1::2], rows[:, 0::2]
        return rows * cosine + other * sine

    head_width = len(weights["fc1.bias"]) // num_heads
    names = {"base": ["k_proj"] * 3, "pro": ["k_self", "k_adapter", "k_task"]}[variant]
    latent = np.maximum(linear(weights, "fc1", layer_norm(weights, "layer_norm1", x, 1e-5)), 0)
    for layer in range(len(vision) - 1):
        block = f"mlp_resnet_blocks.{layer}"
        streams = [latent, np.concatenate([action_queries[layer + 1], proprioception]), vision[layer + 1]]
        queries = linear(weights, f"{block}.q_proj", latent)
        keys = [linear(weights, f"{block}.{name}", rows) for name, rows in zip(names, streams, strict=True)]
        values = [
            linear(weights, f"{block}.{name.replace('k_', 'v_')}", rows)
            for name, rows in zip(names, streams, strict=True)
        ]
        outputs = []
        for head in range(num_heads):
            part = slice(head * head_width, (head + 1) * head_width)
            scores = [turned(queries[:, part]) @ turned(key[:, part]).T for key in keys]
            scores[2] = scores[2] * np.tanh(weights[f"{block}.gating_factor"])
            attention = softmax(np.concatenate(scores, axis=1) / np.sqrt(head_width))
            outputs.append(attention @ np.concatenate([value[:, part] for value in values]))
        mixed = linear(weights, f"{block}.o_proj", np.concatenate(outputs, axis=1))
        normed = layer_norm(weights, f"{block}.ffn.0", mixed + latent, 1e-5)
        latent = np.maximum(linear(weights, f"{block}.ffn.1", normed), 0)
    return linear(weights, "fc2", layer_norm(weights, "layer_norm2", latent, 1e-5))


# Ranges, as openvla_utils.py and run_libero_eval.py have them.


def normalized_state(state: np.ndarray, ranges: Mapping[str, Any]) -> np.ndarray:
    low, high = np.array(ranges["q01"]), np.array(ranges["q99"])
    return np.clip(2 * (state - low) / (high - low + 1e-8) - 1, -1, 1)


def command(normalized: np.ndarray, ranges: Mapping[str, Any]) -> np.ndarray:
    """What the simulator is given of the head's actions, which are float32."""
    low, high = np.array(ranges["q01"]), np.array(ranges["q99"])
    scaled = np.float32(0.5) * (normalized + np.float32(1))
    actions = np.where(ranges["mask"], scaled * (high - low + 1e-8) + low, normalized)
    actions[:, -1] = -np.sign(2 * actions[:, -1] - 1)
    return actions


@dataclass(frozen=True)
class Reference:
    """A whole policy: merged weights, head and proprioception network under their own names, and what shapes hide."""

    merged: Weights
    head: Weights
    proprioception: Weights
    variant: str
    statistics: Mapping[str, Any]
    encoder_layers: int
    encoder_heads: int
    language_layers: int
    language_heads: int
    key_heads: int
    chunk_length: int
    head_heads: int = 8
    theta: float = 1e6

    def normalized_actions(
        self, pictures: list[np.ndarray], token_ids: list[int], state: np.ndarray
    ) -> np.ndarray:
        """The head's answer to pictures that have passed all steps, primary before wrist."""
        dinov2, siglip, projector, language = (
            _under(self.merged, prefix)
            for prefix in (
                "vision_backbone.featurizer.",
                "vision_backbone.fused_featurizer.",
                "projector.",
                "language_model.model.",
            )
        )
        sizes = (self.encoder_heads, self.encoder_layers)
        features = np.concatenate(
            [
                np.concatenate(
                    [
                        vision_transformer(dinov2, picture, DINOV2_PIXELS, *sizes),
                        vision_transformer(siglip, picture, SIGLIP_PIXELS, *sizes),
                    ],
                    axis=1,
                )
                for picture in pictures
            ]
        )
        hidden = gelu(linear(projector, "fc2", gelu(linear(projector, "fc1", features))))
        vision = linear(projector, "fc3", hidden)
        tokens, queries = language["embed_tokens.weight"], self.merged["action_queries.weight"]
        words = tokens[token_ids]
        sequence = np.concatenate([words[:1], vision, words[1:], queries, tokens[2:3]])
        states = np.stack(
            qwen2(language, sequence, self.language_heads, self.key_heads, self.language_layers, self.theta)
        )
        num_vision, num_words = len(vision), len(words)
        first_query = num_vision + num_words - 1
        x = np.zeros((self.chunk_length, len(self.head["layer_norm1.weight"])))
        asked = linear(
            self.proprioception,
            "fc2",
            gelu(
                linear(self.proprioception, "fc1", normalized_state(state, self.statistics["proprio"])[None])
            ),
        )
        return head_actions(
            self.head,
            self.variant,
            self.head_heads,
            x,
            states[:, first_query : first_query + len(queries)],
            states[:, :num_vision],
            asked,
            torch.bfloat16,
        )


def _under(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
