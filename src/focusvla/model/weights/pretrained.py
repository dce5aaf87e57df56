"""What a new model starts from: what a preset or a user names, a small encoder's own weights, and no random layers that
cannot learn unless asked.
"""

from collections import Counter
from collections.abc import Set

from focusvla.config import WeightsConfig
from focusvla.errors import ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.vision import WEIGHTS_PACKAGE, EfficientNetLite0Encoder, folded_published_weights
from focusvla.model.weights.backbones import find_prismatic, load_backbones, load_prismatic, load_vggt
from focusvla.model.weights.files import load_parts, without_adapter


def load_pretrained(model: FocusVLA, weights: WeightsConfig) -> None:
    """Fill what `weights` names, and the small encoder with the ImageNet weights of its package; set the tokenizer.

    Raises:
        ConfigurationError: some layers neither learn nor are filled, and `weights` does not allow that they stay random;
            or there is no tokenizer.
        CheckpointError: something cannot be had, is damaged, or does not fit.
        MissingDependencyError: the package with the small encoder's weights is not installed.
    """
    if model.tokenizer is None and not weights.language:
        raise ConfigurationError(
            "weights.language: expected a Qwen2.5 with the tokenizer that prompts need, got none. Give --weights.dinov2, "
            "--weights.siglip and --weights.language."
        )
    if not weights.random_frozen:  # before anything is downloaded
        require_no_random_frozen(model, _promised(weights))
    prismatic = find_prismatic(weights.prismatic) if weights.prismatic else None
    filled: set[str] = set()
    if isinstance(model.vision_encoder, EfficientNetLite0Encoder):
        filled |= load_parts(model, {"vision_encoder": folded_published_weights()}, WEIGHTS_PACKAGE)
    if weights.dinov2:
        filled |= load_backbones(model, weights.dinov2, weights.siglip, weights.language)
    if prismatic is not None:
        filled |= load_prismatic(model, prismatic)
    if weights.vggt and model.vggt is not None:
        filled |= load_vggt(model, weights.vggt)
    if not weights.random_frozen:
        require_no_random_frozen(model, filled)


_MENDED_BY = {
    "vision_encoder": "--weights.dinov2, --weights.siglip and --weights.language",
    "projector": "--weights.prismatic",
    "language_model": "--weights.prismatic",
    "vggt": "--weights.vggt",
}
"""What fills the parts of a model that may be frozen."""


def _promised(weights: WeightsConfig) -> set[str]:
    """The parts that `weights` may fill, as far as can be told before the files are read."""
    parts: set[str] = set()
    if weights.dinov2:
        parts |= {"vision_encoder", "language_model"}
    if weights.prismatic:
        parts |= {"vision_encoder", "projector", "language_model"}
    if weights.vggt:
        parts.add("vggt")
    return parts


def require_no_random_frozen(model: FocusVLA, filled: Set[str]) -> None:
    """Check that each parameter that does not learn is among `filled`, by its name or its part's, or is of a small
    encoder, which is filled by its name or meant to be random.

    Raises:
        ConfigurationError: naming the parts, and what fills them.
    """
    random = Counter[str]()
    for name, parameter in model.named_parameters():
        part = name.partition(".")[0]
        comes_filled = part == "vision_encoder" and model.config.vision.encoder != "dinov2_siglip"
        if not (parameter.requires_grad or comes_filled or {part, without_adapter(name)} & filled):
            random[part] += parameter.numel()
    if random:
        listed = ", ".join(f"{part} ({number:,} parameters)" for part, number in random.items())
        flags = "; ".join(f"{_MENDED_BY[part]} for {part}" for part in random)
        raise ConfigurationError(
            f"weights: expected something to load into every layer that does not learn, got nothing for {listed}, which "
            f"would stay random for the whole training. Give {flags}; or, in a test, --weights.random-frozen."
        )
