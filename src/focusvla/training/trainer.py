"""Training: the only loop that changes weights.

The batch of step s is a function of the seed and s alone, and a checkpoint holds weights, moments and
average, so a run that was killed and continued gives the losses of one that was not, bit for bit on the same
machine.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from focusvla.config import ExperimentConfig, ModelConfig
from focusvla.data.episodes import EpisodeSource
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.loader import BatchLoader
from focusvla.data.samples import Samples, build_samples, picture_stride, split_episodes
from focusvla.data.storage import explained_storage_errors, partial_path
from focusvla.errors import CheckpointError, ConfigurationError, DataError
from focusvla.model.focusvla import FocusVLA, action_loss
from focusvla.model.language import build_vocabulary
from focusvla.model.weights import load_pretrained
from focusvla.policy import checkpoint_folder, checkpoint_steps, read_tokenizer
from focusvla.training.checkpoint import remove_unfinished, restore_training, save_checkpoint
from focusvla.training.features import open_features
from focusvla.training.metrics import MetricsLog
from focusvla.training.optimization import WeightAverage, build_optimizer, learning_rate

StageProgress = Callable[[str, int, int], None]
"""Called with what is being done (`decode`, `encode`), finished and all units."""


@dataclass(frozen=True)
class StepReport:
    """How a step went, for a progress bar."""

    step: int
    """Steps taken so far."""
    loss: float
    seconds: float
    """Of this step, waiting for data included."""


def train(
    experiment: ExperimentConfig,
    source: EpisodeSource,
    run: Path,
    *,
    cache_folder: Path,
    on_step: Callable[[StepReport], None] = lambda report: None,
    on_stage: StageProgress = lambda stage, done, total: None,
    on_checkpoint: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Train `experiment` on `source` in the folder `run`, going on from its newest checkpoint if it has one.

    Returns the last checkpoint.

    Raises:
        DataError: the data set does not fit the model, or is damaged.
        ConfigurationError: `run` was begun with another configuration.
        CheckpointError: the newest checkpoint cannot be continued.
        StorageError: the disk is full or a folder cannot be written.
    """
    config = experiment.training
    _require_fitting(experiment.model, source)
    experiment = _with_vocabulary(experiment, source)
    _begin_run(run, experiment)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = FocusVLA(experiment.model)
    steps = checkpoint_steps(run)
    if steps:
        model.tokenizer = read_tokenizer(checkpoint_folder(run, steps[-1]), model)
    else:
        load_pretrained(model, experiment.weights)
    training_episodes, validation_episodes = split_episodes(
        source.num_episodes, config.validation_share, config.seed
    )
    statistics = source.statistics()
    images, features = _visual_inputs(model, experiment, source, cache_folder, on_stage)

    def samples(episodes: list[int]) -> Samples:
        return build_samples(
            source,
            statistics=statistics,
            chunk_length=experiment.model.chunk_length,
            stride=picture_stride(source, config.frame_stride),
            episodes=episodes,
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
            state_noise=config.state_noise,
        )

    training_data = loader(samples(training_episodes))
    validation_data = loader(samples(validation_episodes)) if validation_episodes else None
    average = WeightAverage((p for p in model.parameters() if p.requires_grad), config.ema_decay)
    optimizer = build_optimizer(model, config)
    first_step = 0
    if steps:
        if steps[-1] >= config.steps:
            return checkpoint_folder(run, steps[-1])
        first_step = restore_training(checkpoint_folder(run, steps[-1]), model, average, optimizer)
    metrics = MetricsLog(run / "metrics.jsonl", first_step)
    folder = checkpoint_folder(run, first_step)
    for step in range(first_step, config.steps):
        began = time.perf_counter()
        batch = training_data.batch(step)
        rate = learning_rate(config, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = action_loss(model(batch.inputs), batch.actions, batch.action_mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient_norm = torch.nn.utils.clip_grad_norm_(
            model.parameters(), config.max_gradient_norm, foreach=True
        )
        value = loss.item()
        if not math.isfinite(value):
            raise DataError(
                f"step {step + 1}: the loss is {value}. Lower `learning_rate`, or look for extreme values in the data; "
                f"the checkpoints in {run} are kept."
            )
        optimizer.step()
        average.update(step)
        taken = step + 1
        report = StepReport(taken, value, time.perf_counter() - began)
        on_step(report)
        if taken % config.log_every == 0 or taken == config.steps:
            metrics.write(step=taken, loss=value, learning_rate=rate, gradient_norm=gradient_norm.item())
        if validation_data is not None and (taken % config.validate_every == 0 or taken == config.steps):
            metrics.write(
                step=taken, validation_loss=_validate(model, average, validation_data, config.batch_size)
            )
        if taken % config.checkpoint_every == 0 or taken == config.steps:
            folder = save_checkpoint(
                run,
                taken,
                experiment=experiment,
                model=model,
                average=average,
                optimizer=optimizer,
                spec=source.spec,
                statistics=statistics,
            )
            on_checkpoint(folder)
    return folder


def _require_fitting(model: ModelConfig, source: EpisodeSource) -> None:
    spec = source.spec
    for field, expected, got in (
        ("cameras", model.num_cameras, len(spec.cameras)),
        ("state width", model.state_dim, len(spec.state)),
        ("action width", model.action_dim, len(spec.action)),
    ):
        if expected != got:
            raise DataError(
                f"{field}: the model expects {expected}, the data set has {got}. Set model.num_cameras, "
                "model.state_dim and model.action_dim to the data set's, or train on another one."
            )


def _with_vocabulary(experiment: ExperimentConfig, source: EpisodeSource) -> ExperimentConfig:
    if experiment.model.language.tokenizer != "words":
        return experiment
    words = build_vocabulary(source.episode(index).instruction for index in range(source.num_episodes))
    language = dataclasses.replace(experiment.model.language, vocabulary=words)
    return dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, language=language))


def _begin_run(run: Path, experiment: ExperimentConfig) -> None:
    """Create the run's folder, or check that it is the same experiment's."""
    described = json.loads(json.dumps(asdict(experiment)))
    file = run / "experiment.json"
    with explained_storage_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            partial = partial_path(file)
            partial.write_text(json.dumps(described, indent=2), "utf-8")
            partial.replace(file)
        remove_unfinished(run)
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file}: cannot be read ({error}). Remove {run} and start anew.") from error
    differing = [
        f"{part}.{field}: {found.get(part, {}).get(field)!r} there, {value!r} here"
        for part in (
            "model",
            "training",
        )  # weights matter to a start alone, which may have failed for lack of them
        for field, value in described[part].items()
        if found.get(part, {}).get(field) != value and field != "threads"
    ]
    if differing:
        raise ConfigurationError(
            f"run={run} was begun with other values ({'; '.join(differing)}). Continue it with its own, or choose "
            "another folder."
        )


def _visual_inputs(
    model: FocusVLA,
    experiment: ExperimentConfig,
    source: EpisodeSource,
    cache_folder: Path,
    on_stage: StageProgress,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Images for an encoder that learns, features from one that does not, neither for a blind model.

    Standardizes a frozen encoder's features by their mean and deviation over the data set.
    """
    if model.vision_encoder is None:
        return None, None
    cache = open_frame_cache(
        source,
        cache_folder,
        stride=picture_stride(source, experiment.training.frame_stride),
        size=experiment.model.vision.image_size,
        on_progress=lambda done, total: on_stage("decode", done, total),
    )
    if experiment.model.needs_images:
        return cache.images, None
    features = open_features(
        model, cache, experiment.training, lambda done, total: on_stage("encode", done, total)
    )
    sample = features[0, :: max(1, len(cache) // 500)].astype(np.float32).reshape(-1, features.shape[-1])
    model.set_feature_statistics(
        torch.from_numpy(sample.mean(axis=0)), torch.from_numpy(sample.std(axis=0) + 1e-3)
    )
    return None, features


@torch.no_grad()
def _validate(model: FocusVLA, average: WeightAverage, data: BatchLoader, batch_size: int) -> float:
    """Mean absolute error of the averaged weights on held-out episodes."""
    average.swap()
    model.eval()
    errors, counts = [], []
    for batch in data.every_sample(batch_size):
        errors.append(action_loss(model(batch.inputs), batch.actions, batch.action_mask).item())
        counts.append(int(batch.action_mask.sum()))
    average.swap()
    model.train()
    return float(np.average(errors, weights=counts))
