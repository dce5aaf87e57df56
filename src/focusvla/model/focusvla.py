"""The whole model: images, instruction and proprioception to a chunk of actions.

Notable: policy layer i reads the language model's states after layer i + 1 by view; the raw features that
serve as the policy's values (equation 10) are standardized inside the model, so features computed beforehand
and features of live images take the same path.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from focusvla.config import ModelConfig
from focusvla.errors import ConfigurationError
from focusvla.model.adapters import add_adapters
from focusvla.model.blocks import PolicyBlock
from focusvla.model.language import LanguageModel, WordTokenizer, order_padding_last
from focusvla.model.policy_head import LayerStates, PolicyHead, TrainingNoiseLatent, position_table
from focusvla.model.projector import LinearProjector, MLPProjector
from focusvla.model.prompt import PromptTokenizer
from focusvla.model.vggt import PositionedBlock, VGGTAggregator
from focusvla.model.vision import build_vision_encoder
from focusvla.model.vision_transformer import TransformerBlock
from focusvla.types import ModelInputs

BLIND_RAW_WIDTH = 1


@dataclass(frozen=True)
class Prompt:
    """What a batch's instructions are to the language model, which depends on no picture and no state."""

    before: Float[Tensor, "batch before width"]
    """Embeddings of the tokens that go before the patches."""
    after: Float[Tensor, "batch after width"]
    """Embeddings of the other tokens, then the action queries, then padding."""
    first_query: Int64[Tensor, " batch"]
    """Where the action queries begin in `after`."""


def absolute_errors(
    predicted: Float[Tensor, "batch chunk action"],
    actions: Float[Tensor, "batch chunk action"],
    action_mask: Bool[Tensor, "batch chunk"],
) -> Float[Tensor, "batch chunk action"]:
    """Distances to the demonstrated actions, in float32, and 0 on steps after the end of the episode.

    With one dimension, predicted [1, 1, 1], actions [1, 3, 9] and mask [1, 1, 0], they are [0, 2, 0]. The training's loss
    is their mean over the steps inside the episode: 1.
    """
    return (predicted.float() - actions).abs() * action_mask[..., None]


class FocusVLA(nn.Module):
    """A vision-language-action model whose policy focuses on the patches that matter.

    Weights are drawn from torch's global generator: seed it before building. What is not to be random, a checkpoint or
    `focusvla.model.weights.load_pretrained` fills.
    """

    feature_mean: Tensor
    feature_std: Tensor
    is_told: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        width = config.language.hidden_size
        self.tokenizer: WordTokenizer | PromptTokenizer | None = None
        if config.language.tokenizer == "words":
            self.tokenizer = WordTokenizer(config.language.vocabulary)
        self.vision_encoder = build_vision_encoder(config.vision)
        raw_width = BLIND_RAW_WIDTH if self.vision_encoder is None else self.vision_encoder.raw_width
        self.register_buffer("feature_mean", torch.zeros(raw_width))
        self.register_buffer("feature_std", torch.ones(raw_width))
        is_told = torch.ones(config.state_dim)
        is_told[list(config.ignored_state_dims)] = 0.0
        self.register_buffer("is_told", is_told, persistent=False)
        self.projector = (LinearProjector if config.projector == "linear" else MLPProjector)(raw_width, width)
        self.vision_position = position_table(config)
        self.action_queries = nn.Parameter(torch.randn(config.num_action_queries, width) * 0.02)
        self.language_model = LanguageModel(config.language)
        self.vggt = (
            VGGTAggregator(config.vision).requires_grad_(False)
            if config.policy_head.values == "vggt"
            else None
        )
        self.policy_head = PolicyHead(config, raw_width if self.vggt is None else self.vggt.raw_width)
        if config.adapters.rank:
            add_adapters(self, config.adapters)

    def begin_step(self, seed: int, step: int) -> None:
        """Draw what a training step adds to the policy's first latent, alike for its samples, passes and processes."""
        if isinstance(self.policy_head.latent, TrainingNoiseLatent):
            self.policy_head.latent.draw(seed, step)

    def forward(self, inputs: ModelInputs) -> Float[Tensor, "batch chunk action"]:
        """Predict normalized actions."""
        prompt = self.read_prompt(inputs.token_ids, inputs.token_mask)
        return self.predict(inputs.images, inputs.features, prompt, inputs.state)

    def read_prompt(
        self, token_ids: Int64[Tensor, "batch tokens"], token_mask: Bool[Tensor, "batch tokens"]
    ) -> Prompt:
        """The part of the language model's input that is the same for all pictures."""
        num_before, num_queries = self.config.num_tokens_before_vision, self.config.num_action_queries
        if token_ids.shape[1] < num_before:
            raise ConfigurationError(
                f"inputs.token_ids: expected at least num_tokens_before_vision={num_before}, got {token_ids.shape[1]}."
            )
        tokens = self.language_model.embed(token_ids)
        queries = self.action_queries.expand(tokens.shape[0], -1, -1)
        after = torch.cat([tokens[:, num_before:], queries], dim=1)
        is_token = torch.cat(
            [token_mask[:, num_before:], token_mask.new_ones(tokens.shape[0], num_queries)], dim=1
        )
        order = order_padding_last(is_token)
        return Prompt(
            tokens[:, :num_before],
            after.gather(1, order[..., None].expand_as(after)),
            token_mask[:, num_before:].sum(dim=1),
        )

    def predict(
        self,
        images: UInt8[Tensor, "batch cameras height width 3"] | None,
        features: Float[Tensor, "batch patches raw"] | None,
        prompt: Prompt,
        state: Float[Tensor, "batch state"],
    ) -> Float[Tensor, "batch chunk action"]:
        """As the forward pass, for a prompt that was read before."""
        self._check_state(state)
        dtype = self.action_queries.dtype
        features = self._standardized_features(images, features, state.shape[0]).to(dtype)
        vision = self.projector(features)
        if self.vision_position is not None:
            vision = vision + self.vision_position
        if self.config.ignored_state_dims:
            state = state * self.is_told
        proprioception = self.policy_head.proprioception(state.to(dtype))[:, None]
        states = self._read(vision, proprioception, prompt)
        if self.vggt is not None:
            features = self._vggt_features(images)
        return self.policy_head(states, features, proprioception)

    def blocks(self) -> list[nn.Module]:
        """The layers that hold nearly all weights and are called as a whole: what memory is saved by.

        The fused loop calls parts of the language model's layers, which are therefore not among them.
        """
        kinds = (TransformerBlock, PositionedBlock, PolicyBlock)
        layers = [] if self.language_model.is_fused else self.language_model.body.layers
        return [*(module for module in self.modules() if isinstance(module, kinds)), *layers]

    def encode_images(
        self, images: UInt8[Tensor, "batch cameras height width 3"]
    ) -> Float[Tensor, "batch patches raw"]:
        """Features of the vision encoder, not yet standardized: what `ModelInputs.features` takes."""
        if self.vision_encoder is None:
            raise ConfigurationError("vision.encoder: expected an encoder for images, got 'none'.")
        self._check_images(images)
        learns = self.config.vision.trainable or self.config.adapters.rank > 0
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
            return self.vision_encoder(images)

    def tokenize(
        self, instructions: Sequence[str]
    ) -> tuple[Int64[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
        """Token ids and mask of instructions, on the model's device."""
        if self.tokenizer is None:
            raise ConfigurationError(
                "language.tokenizer: 'qwen2.5' needs its files, which are not the model's. Set `model.tokenizer` with "
                "focusvla.model.weights.load_tokenizer."
            )
        ids, mask = self.tokenizer.encode(instructions)
        device = self.feature_mean.device
        return ids.to(device), mask.to(device)

    def set_feature_statistics(self, mean: Float[Tensor, " raw"], std: Float[Tensor, " raw"]) -> None:
        """Set what features are standardized with; a channel that never varies is left at its scale."""
        if mean.shape != self.feature_mean.shape or std.shape != self.feature_std.shape:
            raise ConfigurationError(
                f"feature statistics: expected {len(self.feature_mean)} channels, "
                f"got mean {tuple(mean.shape)} and std {tuple(std.shape)}."
            )
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(torch.where(std > 0, std, 1.0))

    def _standardized_features(
        self,
        images: UInt8[Tensor, "batch cameras height width 3"] | None,
        features: Float[Tensor, "batch patches raw"] | None,
        batch_size: int,
    ) -> Float[Tensor, "batch patches raw"]:
        if self.vision_encoder is None:
            return self.feature_mean.new_zeros(batch_size, self.config.num_patches, BLIND_RAW_WIDTH)
        if features is None:
            if images is None:
                raise ConfigurationError("inputs.images: expected images or features, got neither.")
            features = self.encode_images(images)
        num_patches, raw_width = self.config.num_patches, len(self.feature_mean)
        if features.shape[1:] != (num_patches, raw_width):
            raise ConfigurationError(
                f"inputs.features: expected (batch, {num_patches} patches, {raw_width} channels), "
                f"got {tuple(features.shape)}."
            )
        scale = 1 / self.feature_std
        return torch.addcmul(-self.feature_mean * scale, features.to(scale.dtype), scale)

    def _vggt_features(
        self, images: UInt8[Tensor, "batch cameras height width 3"] | None
    ) -> Float[Tensor, "batch patches raw"]:
        assert self.vggt is not None
        if images is None:
            raise ConfigurationError("inputs.images: expected images, which VGGT needs, got none.")
        with torch.no_grad():
            return self.vggt(images)

    def _read(
        self,
        vision: Float[Tensor, "batch patches width"],
        proprioception: Float[Tensor, "batch 1 width"],
        prompt: Prompt,
    ) -> Iterable[LayerStates]:
        """The language model's states of patches and of action queries after each layer.

        Its sequence is [first tokens, patches, proprioception (for the MLP alone), other tokens, action queries].
        """
        config = self.config
        before = [prompt.before, vision]
        if config.policy_head.attention == "mlp":  # whose layers read nothing else
            before.append(proprioception)
        too_early = int(config.alignment == "vla_adapter")
        first_patch = config.num_tokens_before_vision - too_early
        first_query = sum(part.shape[1] for part in before) + prompt.first_query - too_early
        query_index = first_query[:, None] + torch.arange(config.num_action_queries, device=vision.device)
        query_index = query_index[..., None].expand(-1, -1, vision.shape[2])
        states = self.language_model(torch.cat([*before, prompt.after], dim=1))
        return (
            (state.narrow(1, first_patch, vision.shape[1]), state.gather(1, query_index)) for state in states
        )

    def _check_state(self, state: Tensor) -> None:
        if state.ndim != 2 or state.shape[1] != self.config.state_dim:
            raise ConfigurationError(
                f"inputs.state: expected (batch, {self.config.state_dim}), got {tuple(state.shape)}; "
                f"state_dim is {self.config.state_dim}."
            )

    def _check_images(self, images: Tensor) -> None:
        if images.dtype != torch.uint8:
            raise ConfigurationError(
                f"inputs.images: expected torch.uint8 values from 0 to 255, got {images.dtype}."
            )
        if images.ndim != 5 or images.shape[-1] != 3:
            raise ConfigurationError(
                f"inputs.images: expected (batch, cameras, height, width, 3 channels), "
                f"got {tuple(images.shape)}."
            )
        if images.shape[1] != self.config.num_cameras:
            raise ConfigurationError(
                f"inputs.images: expected {self.config.num_cameras} camera(s), got {images.shape[1]}; "
                f"num_cameras is {self.config.num_cameras}."
            )
