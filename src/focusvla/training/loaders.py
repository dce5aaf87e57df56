"""What a run learns from and is checked on: the loaders of both, over what the model sees of the pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from focusvla.config import ExperimentConfig
from focusvla.data.compressed_frames import CompressedFrames
from focusvla.data.episodes import EpisodeSource
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.loader import BatchLoader
from focusvla.data.normalization import StatisticsByPart
from focusvla.data.samples import Samples, build_samples, picture_stride, split_parts
from focusvla.model.focusvla import FocusVLA
from focusvla.training.features import open_features

STD_MARGIN = 1e-3
"""Added to the deviation of a frozen encoder's channels, so that one that hardly varies is not blown up."""

StageProgress = Callable[[str, int, int], None]
"""Called with what is being done (`decode`, `encode`), finished and all units."""
Remark = Callable[[str], None]
"""Called with a sentence that the user should know."""


@dataclass(frozen=True)
class Loaders:
    """Batches of the episodes to learn from, and of those held out, if any are."""

    training: BatchLoader
    validation: BatchLoader | None


def open_loaders(
    model: FocusVLA,
    experiment: ExperimentConfig,
    source: EpisodeSource,
    statistics: StatisticsByPart,
    cache_folder: Path,
    device: torch.device,
    on_stage: StageProgress,
    on_remark: Remark = lambda text: None,
    standardizes: bool = True,
) -> Loaders:
    """Make both; decodes and encodes what has not been yet.

    If `standardizes`, `model` standardizes a frozen encoder's features by theirs from now on, else as it does already.

    Raises:
        DataError: the data set is damaged or too small, or its episodes are shorter than a chunk.
        StorageError: the cache cannot be written.
    """
    config = experiment.training
    stride = picture_stride(source, config.frame_stride)
    images, features = _visual_inputs(model, experiment, source, stride, cache_folder, on_stage, on_remark)
    if standardizes and features is not None:
        sample = features[0, :: max(1, features.shape[1] // 500)].astype(np.float32)
        channels = sample.reshape(-1, features.shape[-1])
        model.set_feature_statistics(
            torch.from_numpy(channels.mean(axis=0)), torch.from_numpy(channels.std(axis=0) + STD_MARGIN)
        )

    def samples(episodes: list[int]) -> Samples:
        return build_samples(
            source,
            statistics=statistics,
            state_limit=config.state_limit,
            chunk_length=experiment.model.chunk_length,
            stride=stride,
            last_frames=config.last_frames,
            episodes=episodes,
            normalization=experiment.model.normalization,
        )

    def loader(chosen: Samples) -> BatchLoader:
        return BatchLoader(
            chosen,
            batch_size=config.batch_size,
            seed=config.seed,
            tokenize=model.tokenize,
            images=images,
            features=features,
            augmentation=config.augmentation,
            center_crop_area=experiment.model.pictures.center_crop_area,
            state_noise=config.state_noise,
            device=device,
        )

    training, held_out = split_parts(source, config.validation_share, config.seed)
    if config.validation_share and not held_out:
        on_remark("one episode, so that none is held out: trained without validation (--validation-share 0)")
    chosen = [samples(episodes) for episodes in (training, held_out) if episodes]
    if num_short := sum(each.num_short_episodes for each in chosen):
        on_remark(
            f"{num_short} of {source.num_episodes} episodes are shorter than a chunk of {experiment.model.chunk_length} "
            "steps and left out (last_frames='dropped')"
        )
    return Loaders(*map(loader, chosen), *(() if held_out else (None,)))


def _visual_inputs(
    model: FocusVLA,
    experiment: ExperimentConfig,
    source: EpisodeSource,
    stride: int,
    cache_folder: Path,
    on_stage: StageProgress,
    on_remark: Remark,
) -> tuple[np.ndarray | CompressedFrames | None, np.ndarray | None]:
    """Images for an encoder that learns, features from one that does not, neither for a blind model."""
    if model.vision_encoder is None:
        return None, None
    cache = open_frame_cache(
        source,
        cache_folder,
        stride=stride,
        size=experiment.model.vision.image_size,
        on_progress=lambda done, total: on_stage("decode", done, total),
        frame_format=experiment.training.frame_format,
        on_remark=on_remark,
    )
    if experiment.model.needs_images:
        return cache.images, None
    features = open_features(
        model, cache, experiment.training, lambda done, total: on_stage("encode", done, total)
    )
    return None, features
