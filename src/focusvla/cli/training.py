"""Training from the command line, alone or in each of torchrun's processes."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from focusvla.cli.commands import run_evaluation
from focusvla.cli.output import say
from focusvla.cli.progress import bar
from focusvla.config import EvaluationConfig, ExecutionConfig, ExperimentConfig
from focusvla.errors import ConfigurationError

_EVALUATION = EvaluationConfig(trials=10, videos=False)


@dataclass(frozen=True, kw_only=True)
class TrainingOverrides:
    """Values that replace the preset's; those not given stay."""

    steps: int | None = None
    """Optimizer steps."""
    batch_size: int | None = None
    """Samples of an optimizer step."""
    learning_rate: float | None = None
    """Peak of the schedule."""
    schedule: Literal["cosine", "multi_step", "constant"] | None = None
    warmup_steps: int | None = None
    decay_steps: tuple[int, ...] | None = None
    """Of the multi-step schedule: from each on the learning rate is a tenth."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Of the computation; weights that learn are float32."""
    ema_decay: float | None = None
    """Of the weights' moving average; 0 for none."""
    seed: int | None = None
    """Of the first weights, the order of samples and augmentation."""
    frame_stride: int | None = None
    """Every which frame is a training sample."""
    validate_every: int | None = None
    checkpoint_every: int | None = None
    """Steps between checkpoints."""


@dataclass(frozen=True, kw_only=True)
class WeightsOverrides:
    """Where pretrained weights come from, instead of where the preset says: folders, files or Hub repositories."""

    dinov2: str | None = None
    siglip: str | None = None
    language: str | None = None
    """A Qwen2.5 with its tokenizer."""
    prismatic: str | None = None
    """A Prismatic `.pt` checkpoint, read after the others."""
    vggt: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataChoice:
    """What is learned from."""

    data: tuple[str, ...]
    """Data sets in any known format, folders or names on the Hub; several are a mixture, whose parts bear their
    folders' names."""
    spec: str | None = None
    """What their numbers mean, a JSON file or a known name; their own if not given."""
    skip_damaged: bool = False
    """Leave damaged episodes out, and name them."""
    data_weights: tuple[float, ...] = ()
    """How often each data set's samples are drawn, relative to the others'; all alike if not given."""
    data_statistics: Literal["parts", "joint"] = "parts"
    """By which ranges a mixture is normalized: each data set by its own, or all, where they are of one robot, by those of
    all their steps together. Such a policy needs no --statistics."""
    data_cameras: tuple[str, ...] = ()
    """Where a part of a mixture calls a camera otherwise: PART:NAME=ITS_NAME."""
    cache: Path | None = None
    """Folder for decoded frames and encoded features; beside the first data set if not given, or in ~/.cache/focusvla for
    one from the Hub."""
    chunk_length: int | None = None
    """Actions that the policy predicts at once; the preset's if not given."""


@dataclass(frozen=True, kw_only=True)
class PeriodicEvaluation:
    """Evaluation in the simulator on the way."""

    evaluate_every: int = 0
    """Steps between evaluations of checkpoints, a multiple of `checkpoint_every`; the last is evaluated too. 0: none."""
    evaluation: EvaluationConfig = _EVALUATION
    """Which episodes are played."""


_NO_OVERRIDES, _NO_WEIGHTS, _EXECUTION = TrainingOverrides(), WeightsOverrides(), ExecutionConfig()
_NO_EVALUATION = PeriodicEvaluation()


def train(
    preset: tyro.conf.Positional[str],
    data: Annotated[DataChoice, tyro.conf.arg(name="")],
    output: Path,
    overrides: Annotated[TrainingOverrides, tyro.conf.arg(name="")] = _NO_OVERRIDES,
    execution: Annotated[ExecutionConfig, tyro.conf.arg(name="")] = _EXECUTION,
    memory_gb: float | None = None,
    periodic: Annotated[PeriodicEvaluation, tyro.conf.arg(name="")] = _NO_EVALUATION,
    weights: WeightsOverrides = _NO_WEIGHTS,
) -> None:
    """Train a preset on a data set, or on a mixture of several.

    Example: focusvla train mini --data data/object --output runs/mini

    Cameras, states and actions are as many as the data set has. Interrupted, the same command goes on from the newest
    checkpoint, with the losses of an undisturbed run. On several devices or hosts the batch stays the same:
    torchrun --nproc-per-node 4 -m focusvla train ...

    Args:
        preset: `mini`, `mini_blind` (sees nothing, the baseline), `tiny` (random weights, for tests), `paper` (downloads
            its backbones), `paper_libero_spatial` and the other rows of Table 1, or one of its ablations and baselines:
            see `focusvla describe`.
        data: What is learned from.
        output: Folder of the run: metrics and checkpoints.
        overrides: What to change in the preset.
        execution: On what it runs.
        memory_gb: Memory of a device: passes, recomputation and division of weights are chosen to fit into it.
        periodic: Evaluation in the simulator on the way.
        weights: What the pretrained parts start from.
    """
    from focusvla.presets import preset as find_preset

    experiment = changed(find_preset(preset), overrides, execution, weights)
    run_training(experiment, data, output, memory_gb=memory_gb, periodic=periodic)


def changed(
    experiment: ExperimentConfig,
    overrides: TrainingOverrides,
    execution: ExecutionConfig,
    weights: WeightsOverrides = _NO_WEIGHTS,
) -> ExperimentConfig:
    """`experiment` with what the command line gives in place of its own."""
    return replace(
        experiment,
        training=replace(experiment.training, **_given(overrides)),
        weights=replace(experiment.weights, **_given(weights)),
        execution=execution,
    )


def _given(overrides: TrainingOverrides | WeightsOverrides) -> dict[str, Any]:
    return {name: value for name, value in asdict(overrides).items() if value is not None}


def run_training(
    experiment: ExperimentConfig,
    data: DataChoice,
    output: Path,
    *,
    label: str = "training",
    memory_gb: float | None = None,
    periodic: PeriodicEvaluation = _NO_EVALUATION,
) -> Path:
    """Train `experiment`, fitted to the data, with progress bars; what `train`, `compare` and `quickstart` share."""
    from focusvla.data.formats.opening import remarks
    from focusvla.data.mixture import statistics_by_part
    from focusvla.evaluation.evaluate import require_evaluable
    from focusvla.evaluation.parts import choose_parts
    from focusvla.policy import checkpoint_folder, checkpoint_steps
    from focusvla.presets import fitted
    from focusvla.training.memory import GB, fit_memory, plan_memory
    from focusvla.training.metrics import read_metrics
    from focusvla.training.run import best_step
    from focusvla.training.trainer import StepReport
    from focusvla.training.trainer import train as run

    training = experiment.training
    if periodic.evaluate_every % training.checkpoint_every:
        raise ConfigurationError(
            f"evaluate_every={periodic.evaluate_every}: expected a multiple of "
            f"checkpoint_every={training.checkpoint_every}, since checkpoints are evaluated."
        )
    if memory_gb is not None and not memory_gb > 0:
        raise ConfigurationError(f"memory_gb: expected a positive number of gigabytes, got {memory_gb}.")
    source = _open(data)
    experiment = fitted(experiment, source.spec, data.chunk_length)
    if periodic.evaluate_every:  # what would fail after the first checkpoint fails before the first step
        require_evaluable(source.spec, experiment.model.chunk_length, periodic.evaluation)
        named = statistics_by_part(source).parts
        choose_parts(named, periodic.evaluation.suites, periodic.evaluation.statistics)
    num_processes = int(os.environ.get("WORLD_SIZE", 1))
    if memory_gb is not None:
        experiment = fit_memory(experiment, memory_gb * GB, num_processes)
    average = [float("nan")] * 2

    with bar(label, is_quiet=not _is_main_process()) as shown:
        for remark in (*remarks(source), str(plan_memory(experiment, num_processes))):
            shown.say(remark)

        def on_step(report: StepReport) -> None:
            for index, value in enumerate((report.loss, report.seconds)):
                average[index] = (
                    value if average[index] != average[index] else 0.98 * average[index] + 0.02 * value
                )
            note = f"loss {average[0]:.4f}, {1000 * average[1]:.0f} ms a step"
            shown.update(report.step, training.steps, note)

        checkpoint = run(
            experiment,
            source,
            output,
            cache_folder=_cache_folder(data),
            on_step=on_step,
            on_stage=lambda stage, done, total: shown.update(done, total, f"{stage} frames"),
            on_checkpoint=lambda folder: _evaluated(folder, output, training.steps, periodic),
        )
    if _is_main_process():
        say(f"checkpoint: {checkpoint}")
        best = best_step(read_metrics(output / "metrics.jsonl"), checkpoint_steps(output))
        if best is not None and best != checkpoint_steps(output)[-1]:
            say(
                f"the best by its {'success rate' if periodic.evaluate_every else 'validation loss'}: "
                f"{checkpoint_folder(output, best)}"
            )
    return checkpoint


def _open(data: DataChoice):
    from focusvla.data.formats.opening import open_source, read_spec
    from focusvla.data.mixture import open_mixture

    cameras: dict[str, dict[str, str]] = {}
    for text in data.data_cameras:
        part, colon, names = text.partition(":")
        name, equals, own = names.partition("=")
        if not (part and colon and name and equals and own):
            raise ConfigurationError(f"data_cameras: expected PART:NAME=ITS_NAME, got {text!r}.")
        cameras.setdefault(part, {})[name] = own
    spec = read_spec(data.spec) if data.spec else None
    return open_mixture(
        [Path(each) for each in data.data],
        data.data_weights or None,
        cameras or None,
        data.data_statistics,
        open_source=lambda path: open_source(str(path), spec=spec, skip_damaged=data.skip_damaged),
    )


def _cache_folder(data: DataChoice) -> Path:
    first = Path(data.data[0])
    if data.cache is not None or first.exists():
        return data.cache or first.with_name(first.name + ".cache")
    return Path.home() / ".cache" / "focusvla" / data.data[0].replace("/", "--")


def _evaluated(folder: Path, output: Path, steps: int, periodic: PeriodicEvaluation) -> dict[str, Any]:
    """The success rate of a checkpoint, if it is its turn."""
    from focusvla.evaluation.results import clean_results, success_rate
    from focusvla.policy import checkpoint_step

    step = checkpoint_step(folder)
    if not periodic.evaluate_every or (step % periodic.evaluate_every and step < steps):
        return {}
    results = run_evaluation(
        folder, output / "evaluations" / folder.name, periodic.evaluation, f"evaluation after step {step}"
    )
    rate = success_rate(clean_results(results))
    return {"success_rate": rate.rate, "successes": rate.successes, "episodes": rate.episodes}


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
