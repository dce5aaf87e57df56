"""Training from the command line, alone or in each of torchrun's processes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from focusvla.cli.output import say
from focusvla.cli.overrides import NO_OVERRIDES, OverrideFlags, Overrides, changed, require_values_of_data
from focusvla.cli.progress import bar
from focusvla.config import EvaluationConfig, ExperimentConfig
from focusvla.errors import ConfigurationError

_EVALUATION = EvaluationConfig(suites=(), trials=10, videos=False)


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


@dataclass(frozen=True, kw_only=True)
class PeriodicEvaluation:
    """Evaluation in the simulator on the way, in a process beside the training."""

    evaluate_every: int = 0
    """Steps between evaluations of checkpoints, a multiple of `checkpoint_every`; the last is evaluated too. 0: none."""
    evaluation: EvaluationConfig = _EVALUATION
    """Which episodes are played: of the suites and tasks that the data show, 10 of each task, if nothing is said."""


_NO_EVALUATION = PeriodicEvaluation()


def train(
    preset: tyro.conf.Positional[str],
    data: Annotated[DataChoice, tyro.conf.arg(name="")],
    output: Path,
    overrides: OverrideFlags = NO_OVERRIDES,
    memory_gb: float | None = None,
    periodic: Annotated[PeriodicEvaluation, tyro.conf.arg(name="")] = _NO_EVALUATION,
) -> None:
    """Train a preset on a data set, or on a mixture of several.

    Example: focusvla train mini --data data/object --output runs/mini

    Cameras, states and actions are as many as the data set has. Interrupted, the same command goes on from the newest
    checkpoint, with the losses of an undisturbed run. On several devices or hosts the batch stays the same:
    torchrun --nproc-per-node 4 -m focusvla train ...

    Args:
        preset: `mini`, `mini_blind` (sees nothing, the baseline), `tiny` (random weights, for tests), `paper` (downloads
            its backbones), `paper_recommended` (another recipe), `paper_libero_spatial` and the other rows of Table 1, or
            one of its ablations and baselines. `focusvla train PRESET --help-all` shows its values.
        data: What is learned from.
        output: Folder of the run: metrics and checkpoints.
        overrides: What to change in the preset.
        memory_gb: Memory of a device: passes, recomputation and division of weights are chosen to fit into it.
        periodic: Evaluation in the simulator on the way.
    """
    from focusvla.presets import preset as find_preset

    run_training(find_preset(preset), data, output, overrides, memory_gb=memory_gb, periodic=periodic)


def run_training(
    experiment: ExperimentConfig,
    data: DataChoice,
    output: Path,
    overrides: Overrides = NO_OVERRIDES,
    *,
    label: str = "training",
    memory_gb: float | None = None,
    periodic: PeriodicEvaluation = _NO_EVALUATION,
) -> Path:
    """Train `experiment`, fitted to the data and with `overrides` in place of its values, with progress bars; what
    `train`, `compare` and `quickstart` share."""
    from focusvla.checkpoint import best_step, checkpoint_folder, checkpoint_steps
    from focusvla.cli.periodic_evaluation import Evaluations, checked, described, device_of_training
    from focusvla.data.formats.opening import remarks
    from focusvla.presets import fitted
    from focusvla.training.memory import GB, fit_memory, plan_memory
    from focusvla.training.metrics import read_metrics
    from focusvla.training.trainer import StepReport
    from focusvla.training.trainer import train as run

    # What is wrong without the data is told before they are opened.
    training = changed(experiment.training, overrides.get("training", {}))
    changed(experiment.weights, overrides.get("weights", {}))
    changed(experiment.execution, overrides.get("execution", {}))
    if periodic.evaluate_every % training.checkpoint_every:
        raise ConfigurationError(
            f"evaluate_every={periodic.evaluate_every}: expected a multiple of "
            f"checkpoint_every={training.checkpoint_every}, since checkpoints are evaluated."
        )
    if memory_gb is not None and not memory_gb > 0:
        raise ConfigurationError(f"memory_gb: expected a positive number of gigabytes, got {memory_gb}.")
    source = _open(data)
    experiment = fitted(experiment, source.spec, overrides.get("model", {}).get("chunk_length"))
    require_values_of_data(overrides, experiment.model)
    experiment = changed(experiment, overrides)
    if periodic.evaluate_every:
        periodic = checked(periodic, source, experiment.model.chunk_length)
    num_processes = int(os.environ.get("WORLD_SIZE", 1))
    if memory_gb is not None:
        experiment = fit_memory(experiment, memory_gb * GB, num_processes)
    average = [float("nan")] * 2
    device = device_of_training(experiment.execution.device)

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

        if periodic.evaluate_every:
            shown.say(described(periodic))
        with Evaluations(output, training.steps, periodic, device, shown.say) as evaluations:
            checkpoint = run(
                experiment,
                source,
                output,
                cache_folder=_cache_folder(data),
                on_step=on_step,
                on_stage=lambda stage, done, total: shown.update(done, total, f"{stage} frames"),
                on_remark=shown.say,
                on_checkpoint=evaluations.begin,
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


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
