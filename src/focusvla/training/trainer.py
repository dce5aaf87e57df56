"""Training: the only loop that changes weights.

The batch of step s is a function of the seed and s alone, and a checkpoint holds weights, moments and
average, so a run that was killed and continued gives the losses of one that was not, bit for bit on the same
machine.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from focusvla.checkpoint import checkpoint_folder, checkpoint_steps
from focusvla.config import ExperimentConfig
from focusvla.data.episodes import EpisodeSource
from focusvla.data.loader import BatchLoader
from focusvla.data.normalization import StatisticsByPart
from focusvla.errors import ConfigurationError, DataError, StoppedError
from focusvla.model.focusvla import FocusVLA, absolute_errors
from focusvla.model.language import build_vocabulary
from focusvla.model.weights import load_pretrained
from focusvla.storage import only_writer, publish_file
from focusvla.training.checkpoint import (
    learning_parameters,
    restore_model,
    restore_training,
    save_checkpoint,
    start_from,
)
from focusvla.training.checkpoint_metrics import CheckpointMetrics, OnCheckpoint
from focusvla.training.data_checks import check_data, statistics_of_run
from focusvla.training.engine import Engine
from focusvla.training.loaders import Remark, StageProgress, open_loaders
from focusvla.training.memory import flags_of, plan_memory
from focusvla.training.metrics import MetricsLog, Speed
from focusvla.training.optimization import (
    WeightAverage,
    action_weights,
    build_optimizer,
    learning_rate,
)
from focusvla.training.run import begin_run
from focusvla.training.stopping import StopSignals
from focusvla.training.validation import validate
from focusvla.types import Batch


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
    run: str | Path,
    *,
    cache_folder: Path | None = None,
    on_step: Callable[[StepReport], None] = lambda report: None,
    on_stage: StageProgress = lambda stage, done, total: None,
    on_remark: Remark = lambda text: None,
    on_checkpoint: OnCheckpoint = lambda folder: {},
) -> Path:
    """Train `experiment` on `source` in the folder `run`, going on from its newest checkpoint if it has one.

    Decoded frames are kept in `cache_folder`, or in one of the run's own.

    Processes that torchrun or `accelerate launch` started together share the work. Returns the last checkpoint.

    Raises:
        DataError: the data set does not fit the model, is damaged, holds what no policy could do, or gave a loss that is
            not finite.
        ConfigurationError: the policy would see the middle of pictures that it was trained on whole, `run` was begun
            with another configuration or on other data or is being trained, or the device cannot be used or has too
            little memory.
        CheckpointError: the newest checkpoint cannot be continued.
        StorageError: the disk is full or a folder cannot be written.
        StoppedError: SIGTERM or Ctrl-C came; the step is saved.
    """
    run, config = Path(run), experiment.training
    _require_fitting(experiment, source)
    instructions = (source.episode(index).instruction for index in range(source.num_episodes))
    experiment = with_vocabulary(experiment, instructions)
    data = check_data(source, on_remark)
    engine = Engine(experiment.execution, config.precision, run)
    fitted = engine.fit(experiment)
    if fitted.execution != experiment.execution:
        on_remark(
            f"to fit the device: {flags_of(fitted.execution)}; {plan_memory(fitted, engine.num_processes)}"
        )
        experiment = fitted
    passes = engine.passes(config.batch_size)
    statistics = statistics_of_run(run, data, on_remark)
    with only_writer(run, "training") if engine.is_main else nullcontext():
        if engine.is_main:
            begin_run(run, experiment, on_remark)
            data.record(run)
        engine.wait()
        cache = cache_folder or run / "cache"
        told = (on_step, on_stage, on_remark, on_checkpoint)
        return _learn(experiment, source, run, cache, engine, passes, statistics, *told)


def _learn(
    experiment: ExperimentConfig,
    source: EpisodeSource,
    run: Path,
    cache_folder: Path,
    engine: Engine,
    passes: int,
    statistics: StatisticsByPart,
    on_step: Callable[[StepReport], None],
    on_stage: StageProgress,
    on_remark: Remark,
    on_checkpoint: OnCheckpoint,
) -> Path:
    config = experiment.training
    steps = checkpoint_steps(run)
    first_step = steps[-1] if steps else 0
    folder = checkpoint_folder(run, first_step)
    metrics = MetricsLog(run / "metrics.jsonl", first_step, engine)
    checkpoints = CheckpointMetrics(
        run, metrics, experiment.execution.keep_checkpoints, engine, on_checkpoint
    )
    checkpoints.begin_again()
    if first_step >= config.steps:
        engine.leave()
        checkpoints.collect(wait=True)
        return folder
    engine.start_trackers(run, asdict(experiment))  # what cannot be reached is told before hours of decoding
    torch.manual_seed(config.seed)
    model = FocusVLA(experiment.model)
    if steps:
        restore_model(folder, model)
    elif experiment.weights.checkpoint:
        start_from(Path(experiment.weights.checkpoint), model)
    else:
        load_pretrained(model, experiment.weights)
    with engine.explained_errors():
        model.to(engine.device)
    with engine.first_on_host():  # who decodes and encodes what the others then find
        loaders = open_loaders(
            model,
            experiment,
            source,
            statistics,
            cache_folder,
            engine.device,
            on_stage,
            on_remark,
            standardizes=not (steps or experiment.weights.checkpoint),
        )
    module = engine.prepare(model)
    average = WeightAverage(learning_parameters(model).values(), config.ema_decay)
    optimizer = build_optimizer(model, config)
    weights = action_weights(config, source.spec).to(engine.device)
    if steps:
        restore_training(folder, model, optimizer)
    speed = Speed(config.batch_size, engine.device)
    shares = range(engine.process * passes, (engine.process + 1) * passes)
    batches = loaders.training.batches(
        first_step,
        config.steps,
        shares,
        engine.num_processes * passes,
        experiment.execution.prefetched_batches,
    )
    with StopSignals() as stop, closing(batches), engine.explained_errors():
        for step in range(first_step, config.steps):
            began = time.perf_counter()
            rate = learning_rate(config, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            model.begin_step(config.seed, step)
            loss, waited = accumulate_gradients(
                module, batches, passes, loaders.training.num_action_steps(step), engine, weights
            )
            gradient_norm = engine.clip(model, config.max_gradient_norm)
            is_asked_to_stop = torch.full_like(loss, float(stop.received is not None))
            summed = engine.sum(torch.stack([loss, is_asked_to_stop]))
            value, num_asked, norm = torch.stack([*summed, gradient_norm]).tolist()  # one wait for the device
            if not (math.isfinite(value) and math.isfinite(norm)):
                kept = _save_failed_batch(run, step, loaders.training, engine)
                raise DataError(
                    f"step {step + 1}: the loss is {value}, its gradient's norm {norm}. Its batch is in {kept}: look for "
                    f"extreme values in it, or lower `learning_rate`. The checkpoints in {run} are kept."
                )
            optimizer.step()
            average.update(step)
            taken = step + 1
            is_last = taken == config.steps or num_asked > 0
            seconds = time.perf_counter() - began
            speed.add(seconds, waited)
            on_step(StepReport(taken, value, seconds))
            if taken % config.log_every == 0 or taken == config.steps:
                metrics.write(
                    step=taken, loss=value, learning_rate=rate, gradient_norm=norm, **speed.metrics()
                )
            if loaders.validation is not None and (
                taken % config.validate_every == 0 or taken == config.steps
            ):
                errors = validate(module, average, loaders.validation, config.batch_size, engine)
                metrics.write(step=taken, **errors.metrics(source.spec.action))
            if taken % config.checkpoint_every == 0 or is_last:
                folder = save_checkpoint(
                    run,
                    taken,
                    experiment=experiment,
                    model=model,
                    average=average,
                    optimizer=optimizer,
                    spec=source.spec,
                    statistics=statistics,
                    engine=engine,
                )
                if not num_asked:  # asked to stop, nothing that takes long is begun
                    with stop.suspended():
                        checkpoints.begin(folder)
            checkpoints.collect()
            if num_asked and taken < config.steps:
                engine.end_trackers()
                raise StoppedError(f"after step {taken} of {config.steps}, saved as {folder}", stop.received)
    engine.leave()  # the others need not wait for what is found out about the last checkpoints
    checkpoints.collect(wait=True)
    engine.end_trackers()
    return folder


def accumulate_gradients(
    module: nn.Module,
    batches: Iterator[Batch],
    passes: int,
    num_action_steps: int,
    engine: Engine,
    weights: Float[Tensor, " action"],
) -> tuple[Float[Tensor, ""], float]:
    """Add the gradients of the next `passes` batches, and of all processes', to the parameters'.

    Returns this process's part of the loss, which is a mean over `num_action_steps` of the whole batch of absolute errors
    times `weights`, and the seconds spent waiting for data.
    """
    loss, waited = torch.zeros((), device=engine.device), 0.0
    for index in range(passes):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        with engine.gradients_of(module, is_last_pass=index == passes - 1):
            with engine.autocast():
                predicted = module(batch.inputs)
            errors = absolute_errors(predicted, batch.actions, batch.action_mask)
            part = (errors * weights).sum() / (num_action_steps * errors.shape[2])
            (part * engine.num_processes).backward()
        loss += part.detach()
    return loss, waited


def _save_failed_batch(run: Path, step: int, data: BatchLoader, engine: Engine) -> Path:
    """Write what this process computed in a step as `RUN/failed/step-*.safetensors`: inputs, actions and mask."""
    path = run / "failed" / f"step-{step + 1:08d}-process-{engine.process}.safetensors"
    batch = data.batch(step, (engine.process, engine.num_processes))
    tensors = {field.name: getattr(batch.inputs, field.name) for field in dataclasses.fields(batch.inputs)}
    tensors |= {"actions": batch.actions, "action_mask": batch.action_mask}
    with publish_file(path) as file:
        save_file({name: t.cpu().contiguous() for name, t in tensors.items() if t is not None}, file)
    return path


def _require_fitting(experiment: ExperimentConfig, source: EpisodeSource) -> None:
    model, spec = experiment.model, source.spec
    acting, trained = model.pictures.center_crop_area, experiment.training.augmentation.crop_area
    if acting != trained:  # the other way around is no `ExperimentConfig`
        raise ConfigurationError(
            f"augmentation.crop_area: expected {acting:g}, the model's pictures.center_crop_area, got {trained:g}. Give "
            f"--augmentation.crop-area {acting:g}, or --model.pictures.center-crop-area 1."
        )
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


def with_vocabulary(experiment: ExperimentConfig, instructions: Iterable[str]) -> ExperimentConfig:
    """The same experiment whose model knows the words of `instructions`; with a published tokenizer nothing changes."""
    if experiment.model.language.tokenizer != "words":
        return experiment
    language = dataclasses.replace(experiment.model.language, vocabulary=build_vocabulary(instructions))
    return dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, language=language))
