"""Checkpoints of random weights, written without training."""

import dataclasses
from pathlib import Path

import torch
from tokenizers import Tokenizer

from focusvla import checkpoint
from focusvla.config import ExperimentConfig
from focusvla.data.normalization import ALONE, Quantiles, Statistics, StatisticsByPart
from focusvla.model.focusvla import FocusVLA
from focusvla.model.prompt import PromptTokenizer
from focusvla_client import Spec


def write_checkpoint(
    folder: Path,
    experiment: ExperimentConfig,
    spec: Spec,
    vocabulary: tuple[str, ...] = (),
    tokenizer: Tokenizer | None = None,
) -> Path:
    """Statistics differ from one dimension to the next, and the last state is constant. A `tokenizer` is a prompt's."""
    language = dataclasses.replace(experiment.model.language, vocabulary=vocabulary)
    if tokenizer is not None:
        size = tokenizer.get_vocab_size()
        language = dataclasses.replace(language, tokenizer="qwen2.5", vocabulary_size=size)
    experiment = dataclasses.replace(
        experiment, model=dataclasses.replace(experiment.model, language=language)
    )
    torch.manual_seed(0)
    checkpoint.write_checkpoint(
        folder,
        experiment=experiment,
        weights=FocusVLA(experiment.model).state_dict(),
        tokenizer=tokenizer and PromptTokenizer(tokenizer),
        spec=spec,
        statistics=StatisticsByPart(
            {
                ALONE: Statistics(
                    action=_ranges(len(spec.action)), state=_ranges(len(spec.state), constant=True)
                )
            }
        ),
        origin="Written by a test.",
    )
    return folder


def _ranges(dims: int, constant: bool = False) -> Quantiles:
    low = [-0.5 - 0.1 * dim for dim in range(dims)]
    high = [1.0 + 0.2 * dim for dim in range(dims)]
    if constant:
        high[-1] = low[-1]
    return Quantiles(q01=tuple(low), q99=tuple(high))
