"""What a report page shows, gathered from the folders that training, evaluation and recording leave behind.

Every number comes from those files. What is not there is `None` or empty, and the page says so in a sentence; what is
there but cannot be read is an error.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from focusvla.checkpoint import checkpoint_steps, open_checkpoint
from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.results import (
    EpisodeResult,
    SuccessRate,
    clean_results,
    read_results,
    success_rate,
    success_rate_by_task,
    unfinished,
)
from focusvla.evaluation.tables import Table, table_of_robustness
from focusvla.suites import clean_suite, suites
from focusvla.training.metrics import read_metrics
from focusvla.visualization.charts import LineChart, Series, line_chart, smooth

NUM_COLORS = 4
"""Series colors that report.css defines; later runs use them again."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A training run to report."""

    name: str
    path: Path
    command: str = ""
    """How it was started, shown as it is; empty if not known."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation to report."""

    label: str
    """The starts, such as `standard starts`."""
    results: Path
    """Folder that `focusvla evaluate` wrote."""
    policy: str
    """The policy's name, such as `FocusVLA` or `vision-blind baseline`."""
    is_blind: bool
    """Whether the policy sees nothing; the page compares those that see with those that do not."""

    @classmethod
    def from_results(cls, results: Path, policy: str = "") -> "Evaluation":
        """An evaluation by its folder, which says under which protocol it is, and of whom if `policy` does not.

        Raises:
            DataError: the folder's `protocol.json` is missing or damaged.
            CheckpointError: the evaluated checkpoint is not where it was.
        """
        protocol = read_protocol(results)
        foreign = protocol.get("policy", "")
        if foreign:
            is_blind = not protocol["cameras"]
        else:
            experiment = open_checkpoint(Path(protocol["checkpoint"])).experiment
            is_blind = experiment.model.vision.encoder == "none"
        return cls(
            label="widened starts" if protocol["displacement_meters"] else "standard starts",
            results=results,
            policy=policy or foreign or ("vision-blind baseline" if is_blind else "FocusVLA"),
            is_blind=is_blind,
        )


@dataclass(frozen=True)
class EvaluationContents:
    """An evaluation and what it found."""

    evaluation: Evaluation
    protocol: dict[str, Any]
    episodes: tuple[EpisodeResult, ...]
    unfinished: str
    """How many episodes of how many are there; empty if all are."""
    robustness: Table | None = None
    """Where episodes were played in which something was changed or kept from the policy."""

    @property
    def is_wide(self) -> bool:
        """Whether targets were displaced."""
        return bool(self.protocol["displacement_meters"])

    @property
    def name(self) -> str:
        """Policy and starts."""
        return f"{self.evaluation.policy}, {self.evaluation.label}"

    @property
    def rate(self) -> SuccessRate:
        """Over all episodes that did not break."""
        return success_rate(self.episodes)

    @property
    def rate_by_task(self) -> dict[tuple[str, int], SuccessRate]:
        """Per suite and task number."""
        return success_rate_by_task(self.episodes)

    @property
    def broken(self) -> tuple[EpisodeResult, ...]:
        """Episodes that ended in an error."""
        return tuple(episode for episode in self.episodes if episode.error)

    @property
    def command(self) -> str:
        """The command that evaluates the same episodes; empty without any."""
        if not self.episodes:
            return ""
        first, tasks = self.episodes[0], sorted({episode.task for episode in self.episodes})
        suites = sorted({episode.suite for episode in self.episodes})
        trials = 1 + max(episode.trial for episode in self.episodes)
        if foreign := self.protocol.get("policy"):
            values = ["--policy", foreign]
        else:
            values = ["--checkpoint", self.protocol["checkpoint"]]
        values += ["--output", self.evaluation.results]
        values += [
            "--suites",
            *suites,
            "--protocol",
            first.protocol,
            "--tasks",
            *tasks,
            "--trials",
            trials,
        ]
        values += ["--actions-per-inference", first.actions_per_inference]
        if first.chunks:
            for name, value in self.protocol["chunks"].items():
                values += [f"--chunks.{name.replace('_', '-')}", value]
        parts = {clean_suite(each.suite): each.policy.part for each in self.episodes}
        named = [f"{suite}={part}" for suite, part in parts.items() if part]
        values += ["--statistics", *named] if named else []
        return _command("evaluate", values)


@dataclass(frozen=True)
class Verdict:
    """Whether the evaluations show that the policy looks."""

    headline: str
    explanation: str
    is_shown: bool


@dataclass(frozen=True)
class TaskRow:
    """A task's success in each evaluation, None where it was not played."""

    suite: str
    task: int
    instruction: str
    rates: tuple[SuccessRate | None, ...]


@dataclass(frozen=True)
class RunContents:
    """A training run and what it logged."""

    run: TrainingRun
    experiment: dict[str, Any]
    metrics: tuple[dict[str, Any], ...]
    versions: dict[str, Any]
    """Of its newest checkpoint; empty if there is none."""

    def measured(self, name: str) -> list[tuple[float, float]]:
        """Step and value of each time a metric was logged: `loss`, `validation_loss`, `success_rate`."""
        return [(float(line["step"]), line[name]) for line in self.metrics if name in line]


@dataclass(frozen=True)
class Demonstrations:
    """What scripted experts recorded."""

    path: Path
    config: dict[str, Any]
    tasks: tuple[tuple[str, str, int, int], ...]
    """Task number, instruction, episodes kept and attempts."""

    @property
    def command(self) -> str:
        """The command that records the same data set."""
        words = ["--output", self.path]
        for field, value in self.config.items():
            if field != "workers":
                values = value if isinstance(value, list) else [value]
                words += [f"--{field.replace('_', '-')}", *values]
        return _command("demonstrate", words)


def read_evaluation(evaluation: Evaluation) -> EvaluationContents:
    """Read an evaluation's folder.

    Raises:
        DataError: its results or its protocol are missing or damaged.
    """
    results = read_results(evaluation.results / "results.jsonl")
    episodes = clean_results(results)
    episodes.sort(key=lambda episode: (episode.suite, episode.task, episode.trial))
    protocol, missing = read_protocol(evaluation.results), unfinished(evaluation.results, results)
    is_changed = any(each.condition or clean_suite(each.suite) != each.suite for each in results)
    is_compared = is_changed and any(each.suite in suites() for each in episodes)
    robustness = table_of_robustness(results) if is_compared else None
    return EvaluationContents(evaluation, protocol, tuple(episodes), missing, robustness)


def read_protocol(results: Path) -> dict[str, Any]:
    """The protocol's values and the checkpoint that an evaluation wrote down.

    Raises:
        DataError: they are missing or damaged.
    """
    return _read_json(
        results / "protocol.json",
        ("checkpoint", "displacement_meters", "name", "source"),
        "Run the same `focusvla evaluate` command again; finished episodes are not repeated.",
    )


def read_run(run: TrainingRun) -> RunContents:
    """Read a training run's folder.

    Raises:
        DataError: it is not one, or its metrics are damaged.
        CheckpointError: its newest checkpoint is incomplete.
    """
    experiment = _read_json(
        run.path / "experiment.json", ("model", "training"), "Give the folder that `focusvla train` wrote."
    )
    metrics_file = run.path / "metrics.jsonl"
    try:
        metrics = tuple(read_metrics(metrics_file))
    except ValueError as error:
        raise DataError(
            f"{metrics_file}: expected a JSON object a line, got {error}. Train again."
        ) from error
    versions = open_checkpoint(run.path).versions if checkpoint_steps(run.path) else {}
    return RunContents(run, experiment, metrics, versions)


def read_demonstrations(path: Path) -> Demonstrations | None:
    """The summary of a recorded data set; None if it is a data set from elsewhere.

    Raises:
        DataError: there is no such folder, or the summary is damaged.
    """
    if not path.is_dir():
        raise DataError(
            f"demonstrations={path}: expected the folder of a data set, got none. Correct the path."
        )
    file = path / "meta" / "demonstrations.json"
    if not file.exists():
        return None
    summary = _read_json(file, ("config", "tasks"), "Record the data set again.")
    tasks = summary["tasks"].items()
    return Demonstrations(
        path,
        summary["config"],
        tuple((task, found["instruction"], found["kept"], found["attempts"]) for task, found in tasks),
    )


def task_rows(evaluations: Sequence[EvaluationContents]) -> list[TaskRow]:
    """A row per task, with a success rate per evaluation."""
    instructions = {
        (episode.suite, episode.task): episode.instruction
        for contents in evaluations
        for episode in contents.episodes
    }
    found = [contents.rate_by_task for contents in evaluations]
    return [
        TaskRow(suite, task, instructions[suite, task], tuple(rates.get((suite, task)) for rates in found))
        for suite, task in sorted(instructions)
    ]


def verdict(evaluations: Sequence[EvaluationContents]) -> Verdict:
    """Whether the policy that sees beats the one that does not where the target must be found.

    It does if its whole 95 % interval lies above the other's, on the same episodes. Of several evaluations of a kind
    the first is compared.
    """
    wide = [contents for contents in evaluations if contents.is_wide and contents.episodes]
    seeing = next((contents for contents in wide if not contents.evaluation.is_blind), None)
    blind = next((contents for contents in wide if contents.evaluation.is_blind), None)
    if seeing is None or blind is None:
        missing = "policy that sees" if seeing is None else "vision-blind baseline"
        return Verdict(
            "Not tested: does this policy look?",
            f"That takes an evaluation from widened starts of a {missing}, which is not here. On standard starts "
            "targets hardly move, so that a policy can succeed without looking.",
            False,
        )
    if _conditions(seeing) != _conditions(blind):
        return Verdict(
            "No verdict: the two evaluations differ",
            f"From widened starts, {seeing.name} and {blind.name} did not play the same episodes in the same way "
            f"({len(seeing.episodes)} and {len(blind.episodes)} episodes). Finish both with the same values.",
            False,
        )
    numbers = (
        f"From widened starts it succeeds in {_sentence(seeing.rate)}; blind, in {_sentence(blind.rate)}."
    )
    if seeing.rate.interval[0] > blind.rate.interval[1]:
        return Verdict(
            "This policy looks.",
            f"{numbers} The 95 % intervals do not overlap: on the same starts, seeing makes the difference.",
            True,
        )
    return Verdict(
        "Not shown: that this policy looks",
        f"{numbers} The 95 % intervals overlap. More trials narrow them; a better policy separates them.",
        False,
    )


def training_chart(runs: Sequence[RunContents]) -> LineChart | None:
    """Smoothed training loss and validation loss of each run over steps; None if nothing was logged."""
    series = []
    for contents, color in zip(runs, _colors(), strict=False):
        name = contents.run.name
        if losses := contents.measured("loss"):
            series.append(Series(f"{name}, training", smooth(losses), color, False))
        if losses := contents.measured("validation_loss"):
            series.append(Series(f"{name}, validation", losses, color, True))
    return line_chart(series) if series else None


def success_chart(runs: Sequence[RunContents]) -> LineChart | None:
    """Success in the simulator of each run's checkpoints over steps; None if none was evaluated on the way."""
    series = [
        Series(contents.run.name, rates, color, True)
        for contents, color in zip(runs, _colors(), strict=False)
        if (rates := contents.measured("success_rate"))
    ]
    return line_chart(series) if series else None


def _colors() -> Iterator[int]:
    return cycle(range(1, 1 + NUM_COLORS))


def distinct_versions(
    runs: Sequence[RunContents], evaluations: Sequence[EvaluationContents]
) -> list[tuple[str, dict[str, Any]]]:
    """What ran with which versions, those with the same ones named together."""
    found = [
        (f"Training of {contents.run.name}", contents.versions) for contents in runs if contents.versions
    ]
    for contents in evaluations:
        for episode in contents.episodes:
            found.append((f"Evaluation of {contents.name}", episode.versions))
    merged: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for name, versions in found:
        names, _ = merged.setdefault(json.dumps(versions, sort_keys=True), ([], versions))
        if name not in names:
            names.append(name)
    return [("; ".join(names), versions) for names, versions in merged.values()]


def _command(name: str, words: Sequence[object]) -> str:
    """A command for a shell, one flag a line."""
    return f"focusvla {name}" + "".join(
        f" \\\n  {word}" if str(word).startswith("--") else f" {shlex.quote(str(word))}" for word in words
    )


def _conditions(contents: EvaluationContents) -> set[tuple[Any, ...]]:
    return {
        (e.suite, e.task, e.trial, e.seed, e.actions_per_inference, e.chunks, e.protocol, e.protocol_revision)
        for e in contents.episodes
        if not e.error
    }


def _sentence(rate: SuccessRate) -> str:
    low, high = rate.interval
    return f"{rate.successes} of {rate.episodes} episodes ({100 * rate.rate:.1f} %, {100 * low:.1f} to {100 * high:.1f})"


def _read_json(path: Path, expected: Sequence[str], advice: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a JSON file, got {error}. {advice}") from error
    missing = [field for field in expected if field not in values]
    if missing:
        raise DataError(
            f"{path}: expected the fields {', '.join(expected)}, got none of {', '.join(missing)}. {advice}"
        )
    return values


def require_unique_names(runs: Sequence[TrainingRun], evaluations: Sequence[Evaluation]) -> None:
    """Raise if two runs or two evaluations would be told apart by nothing.

    Raises:
        ConfigurationError: naming the first that occurs twice.
    """
    for field, names, advice in (
        ("runs", [run.name for run in runs], "Rename one."),
        (
            "evaluations",
            [f"{found.policy}, {found.label}" for found in evaluations],
            "Give each its own NAME=FOLDER.",
        ),
    ):
        for name in names:
            if names.count(name) > 1:
                raise ConfigurationError(
                    f"{field}: expected distinct names, got {name!r} {names.count(name)} times. {advice}"
                )
