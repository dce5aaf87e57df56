"""What makes a policy fail without an error: unknown words, pictures of one color, states it never saw."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from focusvla.data.normalization import Quantiles
from focusvla.model.language import WordTokenizer
from focusvla.policy import FocusVLAPolicy
from focusvla_client import Observation

STATE_MARGIN = 0.25
"""How far beyond the training data's 1 % and 99 % quantiles a state may lie, as a share of the range between them. There,
or sooner, normalization clips (`TrainingConfig.state_limit`), and the policy no longer sees how far it is."""
SMALLEST_EXCESS = 1e-3
"""In physical units: what a dimension that was constant in training may differ by."""
_MAX_WORDS = 5


def observation_warnings(observation: Observation, policy: FocusVLAPolicy) -> list[str]:
    """A sentence for each thing in an observation that `policy` was not trained on."""
    return [
        *_unknown_words(observation.instruction, policy.model.tokenizer),
        *(f"images[{name!r}]: is {color} everywhere." for name, color in _plain(observation)),
        *_outside(observation.state, policy.statistics.state, policy.spec.state),
    ]


def _unknown_words(instruction: str, tokenizer: object) -> list[str]:
    """Only of a tokenizer that holds the words of the training data."""
    if not isinstance(tokenizer, WordTokenizer):
        return []
    words = tokenizer.unknown_words(instruction)
    if not words:
        return []
    more = f" and {len(words) - _MAX_WORDS} more" if len(words) > _MAX_WORDS else ""
    shown = ", ".join(repr(word[:40]) for word in words[:_MAX_WORDS])
    return [f"prompt: the policy was not trained with {shown}{more}."]


def _plain(observation: Observation) -> list[tuple[str, str]]:
    plain = []
    for name, image in observation.images.items():
        color = image[0, 0]
        if (image == color).all():
            plain.append((name, "black" if not color.any() else f"one color, {tuple(color.tolist())},"))
    return plain


def _outside(state: Float32[np.ndarray, " state"], training: Quantiles, names: Sequence[str]) -> list[str]:
    low, high = np.array(training.q01), np.array(training.q99)
    margin = STATE_MARGIN * (high - low) + SMALLEST_EXCESS
    outside = (state < low - margin) | (state > high + margin)
    return [
        f"state: {names[place]} is {state[place]:.4g}, far outside the {low[place]:.4g} to {high[place]:.4g} of the "
        "training data."
        for place in np.flatnonzero(outside).tolist()
    ]
