"""What VLA-Adapter executes for one inference, stated again in our own words, as the measure that `latency.py` takes.

It computes a FocusVLA model's actions with that model's own weights, the long way round:

- pictures are normalized on the CPU, for each encoder by itself, and uploaded as floating-point numbers;
- the prompt is tokenized once for each picture, the instruction's embeddings are found anew each time;
- each picture passes each encoder by itself, through all layers, of which the last one's output is thrown away;
- queries, keys and values, and both halves of the gated network, are products of their own; keys and values are cached;
- the output layer scores every word of the vocabulary at every position, in float32, and nobody reads it;
- states of all layers, the embeddings included, are picked by boolean masks (for which a device waits) and stacked;
- every policy layer projects keys and values of every patch; where it has positions, their tables are made anew.

A FocusVLA policy then still keeps the best K patches and gates what it saw; with preset `baseline_mixed_separate`, the
policy is VLA-Adapter's Pro, and the whole is what VLA-Adapter runs.
"""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from transformers import DynamicCache

from focusvla.errors import ConfigurationError
from focusvla.model.attention import attend, merge_heads, rotary_turns, rotate, split_heads
from focusvla.model.blocks import CascadedBlock
from focusvla.model.focus import focus_weights
from focusvla.model.focusvla import FocusVLA
from focusvla.model.vision_transformer import (
    DinoSiglipEncoder,
    TransformerBlock,
    VisionTransformer,
    resize_images,
)

STOP_TOKEN = 2
"""Appended behind the action queries, where nothing reads it."""


class ReferencePath:
    """Answers as `model` does, up to rounding."""

    def __init__(self, model: FocusVLA):
        """Run the weights of `model`; what only the reference has is drawn at random.

        Raises:
            ConfigurationError: its encoder is not DINOv2 and SigLIP, its adapters are not merged, or its policy does not
                attend to the language model's or the encoder's states, or not by three attentions that ask alike.
        """
        encoder, config = model.vision_encoder, model.config
        if not isinstance(encoder, DinoSiglipEncoder) or config.language.loop != "transformers":
            raise ConfigurationError("reference path: expected DINOv2 and SigLIP with transformers' loop.")
        if config.adapters.rank or config.policy_head.attention == "mlp" or model.vggt is not None:
            raise ConfigurationError("reference path: expected merged adapters, and a policy that attends.")
        if config.policy_head.cascade != "parallel" or config.policy_head.selection == "action_queries":
            raise ConfigurationError(
                "reference path: expected a parallel cascade, and patches chosen by the latent."
            )
        self.model = model
        self.encoder = encoder
        like = model.action_queries
        dinov2, siglip = (
            TransformerBlock(sizes, has_scales).to(like.device, like.dtype).requires_grad_(False)
            for sizes, has_scales in ((config.vision.dinov2, True), (config.vision.siglip, False))
        )
        self.unread = {"dinov2": dinov2, "siglip": siglip}
        self.pixel_statistics = [
            (each.mean.cpu(), each.std.cpu()) for each in (encoder.dinov2_pixels, encoder.siglip_pixels)
        ]

    @torch.inference_mode()
    def __call__(
        self,
        images: UInt8[Tensor, "1 cameras height width 3"],
        instruction: str,
        state: Float[Tensor, "1 state"],
    ) -> Float[Tensor, "1 chunk action"]:
        """Normalized actions in float32; `images` and `state` lie on the CPU."""
        model = self.model
        device, dtype = model.action_queries.device, model.action_queries.dtype
        views, token_ids = [], None
        for view in images[0]:
            token_ids, _ = model.tokenize([instruction])
            pixels = resize_images(view[None, None], self.encoder.image_size)
            both = [(pixels - mean) / std for mean, std in self.pixel_statistics]
            views.append(torch.cat(both, dim=1).to(device, dtype))
        assert token_ids is not None
        pixel_values = torch.cat(views, dim=1)
        features = torch.cat([self._features(view) for view in pixel_values.split(6, dim=1)], dim=1)
        features = (features - model.feature_mean.to(dtype)) / model.feature_std.to(dtype)
        vision = model.projector(features)
        embeddings, is_vision, is_query = self._sequence(vision, token_ids)
        body = model.language_model.body
        seen = body(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.int64, device=device),
            output_hidden_states=True,
            use_cache=True,
            past_key_values=DynamicCache(),
        )
        nn.functional.linear(seen.hidden_states[-1], body.embed_tokens.weight).float()
        packed = []
        for states in seen.hidden_states:
            patches = states[is_vision].reshape(1, -1, states.shape[-1])
            queries = states[is_query].reshape(1, -1, states.shape[-1])
            packed.append(torch.cat([patches, queries], dim=1).unsqueeze(1))
        stacked = torch.cat(packed, dim=1)
        return self._act(stacked, features, state.to(device, dtype), vision.shape[1]).float()

    def _features(self, pixels: Float[Tensor, "1 six size size"]) -> Float[Tensor, "1 patches raw"]:
        dinov2 = self._second_to_last(self.encoder.dinov2, pixels[:, :3], self.unread["dinov2"])
        siglip = self._second_to_last(self.encoder.siglip, pixels[:, 3:], self.unread["siglip"])
        return torch.cat([dinov2, siglip], dim=2)

    @staticmethod
    def _second_to_last(
        transformer: VisionTransformer, pixels: Float[Tensor, "1 3 size size"], last: nn.Module
    ) -> Float[Tensor, "1 patches width"]:
        features = transformer(pixels)
        tokens = features
        if transformer.has_class_tokens:
            before = torch.cat([transformer.cls_token, transformer.reg_token], dim=1)
            tokens = torch.cat([before, features], dim=1)
        last(tokens)
        return features

    def _sequence(
        self, vision: Float[Tensor, "1 patches width"], token_ids: Tensor
    ) -> tuple[Float[Tensor, "1 tokens width"], Bool[Tensor, "1 tokens"], Bool[Tensor, "1 tokens"]]:
        """Embeddings, and masks of the patches and of the action queries."""
        model = self.model
        num_queries, num_patches = model.config.num_action_queries, vision.shape[1]
        first = model.config.num_tokens_before_vision
        placeholders = token_ids.new_ones(1, num_queries)
        stop = token_ids.new_full((1, 1), STOP_TOKEN)
        ids = torch.cat([token_ids, placeholders, stop], dim=1)
        is_query = torch.zeros_like(ids, dtype=torch.bool)
        is_query[:, token_ids.shape[1] : token_ids.shape[1] + num_queries] = True
        tokens = model.language_model.embed(ids) * ~is_query[..., None]
        for row in range(len(ids)):
            places = torch.where(is_query[row])[0]
            tokens[row, places] = model.action_queries[: len(places)]
        embeddings = torch.cat([tokens[:, :first], vision, tokens[:, first:]], dim=1)
        too_early = int(model.config.alignment == "vla_adapter")
        place = torch.arange(embeddings.shape[1], device=embeddings.device)[None] + too_early
        begin = num_patches + token_ids.shape[1]
        return (
            embeddings,
            (place >= first) & (place < first + num_patches),
            (place >= begin) & (place < begin + num_queries),
        )

    def _act(
        self,
        stacked: Float[Tensor, "1 layers tokens width"],
        features: Float[Tensor, "1 patches raw"],
        state: Float[Tensor, "1 state"],
        num_patches: int,
    ) -> Float[Tensor, "1 chunk action"]:
        head = self.model.policy_head
        proprioception = head.proprioception(state)[:, None]
        latent = head.latent(proprioception)
        raw = None
        if head.reads_features:
            raw = head.raw_projection(features)
            raw = head.raw_norm(raw if head.raw_position is None else raw + head.raw_position)
        for layer, block in enumerate(head.blocks):
            patches, queries = stacked[:, layer + 1].split([num_patches, stacked.shape[2] - num_patches], 1)
            queries = head.action_query_norms[layer](torch.cat([queries, proprioception], dim=1))
            if head.reads_states:
                keys = head.vision_norms[layer](patches)
                values = keys if raw is None else raw
            else:
                assert raw is not None
                keys = values = raw
            if isinstance(block, CascadedBlock):
                latent = _cascaded(block, latent, queries, keys, values)
            else:
                latent = block(latent, queries, keys, values)
        return head.output(head.norm(latent))


def _cascaded(
    block: CascadedBlock, latent: Tensor, action_queries: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """A cascaded layer with projected keys and values of every patch."""
    asking = block.latent_norm(latent)

    def split(x: Tensor) -> Tensor:
        return split_heads(x, block.num_heads)

    def placed(x: Tensor) -> Tensor:
        heads = split(x)
        if block.config.positions == "none":
            return heads
        return rotate(heads, rotary_turns(heads.shape[2], heads.shape[3], heads.device))

    queries = placed(block.query(asking))
    from_self = attend(queries, placed(block.self_key(asking)), split(block.self_value(asking)))
    from_action_queries = attend(
        queries,
        placed(block.action_query_key(action_queries)),
        split(block.action_query_value(action_queries)),
    )
    scores = queries @ placed(block.vision_key(keys)).mT * queries.shape[-1] ** -0.5
    selection = block.config.selection
    assert selection != "action_queries", "stated for the paper's own selection"
    weights = focus_weights(scores, block.config.num_kept_patches, selection)
    seen = merge_heads(weights @ split(block.vision_value(values)))
    fused = block.fusion(torch.cat([from_self, from_action_queries, block.gate(seen, asking)], dim=-1))
    return block.feed_forward(fused + latent)
