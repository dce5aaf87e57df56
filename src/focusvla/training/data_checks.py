"""What a training asks of its data before the first step: whether it can be learned from, and whether it is what a run
began with.

Numbers are measured by the function that `focusvla inspect` uses, so that the two never disagree. `RUN/data.json` holds
what was found and a fingerprint of each part, by which the same command knows the data again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from focusvla.checkpoint import checkpoint_folder, checkpoint_steps, open_checkpoint
from focusvla.data.episodes import EpisodeSource
from focusvla.data.fingerprint import Fingerprint, fingerprint_of
from focusvla.data.inspection.number_problems import Problem, find_training_problems
from focusvla.data.inspection.numbers import measured_parts
from focusvla.data.mixture import parts_of, statistics_by_part
from focusvla.data.normalization import StatisticsByPart
from focusvla.errors import CheckpointError, ConfigurationError, DataError
from focusvla.storage import replace_json
from focusvla_client import Spec

DATA_FILE = "data.json"

Remark = Callable[[str], None]
"""Called with a sentence that the user should know."""


@dataclass(frozen=True)
class PartRecord:
    """One part of a run's data."""

    fingerprint: Fingerprint
    weight: float
    cameras: Mapping[str, str]
    """The mixture's camera names to its own, where they differ."""

    def differences(self, here: "PartRecord") -> list[str]:
        """What is otherwise here, in words."""
        found = self.fingerprint.differences(here.fingerprint)
        for field in ("weight", "cameras"):
            mine, theirs = getattr(self, field), getattr(here, field)
            if mine != theirs:
                found.append(f"{field} ({mine} there, {theirs} here)")
        return found


@dataclass(frozen=True)
class CheckedData:
    """What a training learns from, after it has been looked at."""

    spec: Spec
    stored: StatisticsByPart
    """As the data holds them."""
    statistics: StatisticsByPart
    """As training uses them: computed anew where the stored ones are of other data."""
    parts: Mapping[str, PartRecord]
    """By name, in the order of their episodes; one of no name if it is no mixture."""
    problems: Mapping[str, tuple[Problem, ...]]
    """Of each part, or of a mixture that is normalized as one."""

    def record(self, run: Path) -> None:
        """Write `data.json`.

        Raises:
            StorageError: it cannot be written.
        """
        described = {
            "parts": [{"name": name, **asdict(part)} for name, part in self.parts.items()],
            "problems": [
                {"part": name, **asdict(each)} for name, found in self.problems.items() for each in found
            ],
        }
        replace_json(run / DATA_FILE, described)


def check_data(source: EpisodeSource, on_remark: Remark = lambda text: None) -> CheckedData:
    """Measure the data of a training and tell each problem in a line.

    Raises:
        DataError: it does not hold statistics that fit, or no policy could do what it holds.
    """
    stored = statistics_by_part(source)
    stored.require_fitting(source.spec)
    statistics, problems = {}, {}
    for name, numbers in measured_parts(source, stored).items():
        statistics[name] = numbers.training_statistics
        problems[name] = tuple(find_training_problems(numbers))
    told = [
        (f"data set {name!r}, " if name else "data, ", each)
        for name, found in problems.items()
        for each in found
    ]
    errors = [f"{where}{each.finding}. {each.advice}" for where, each in told if each.severity == "error"]
    if errors:
        raise DataError(" ".join(errors))
    for where, each in told:
        on_remark(f"{each.severity}: {where}{each.finding}. {each.advice}")
    return CheckedData(
        spec=source.spec,
        stored=stored,
        statistics=StatisticsByPart(statistics),
        parts={
            part.name: PartRecord(fingerprint_of(part.source), part.weight, dict(part.cameras))
            for part in parts_of(source)
        },
        problems=problems,
    )


def statistics_of_run(
    run: Path, data: CheckedData, on_remark: Remark = lambda text: None
) -> StatisticsByPart:
    """The statistics with which a run begins, or goes on if it has a checkpoint: it must be on the data it began with.

    A run of before fingerprints were written is compared by the ranges that normalize it, which is told.

    Raises:
        ConfigurationError: it is other data, or it has changed since.
        CheckpointError: what the run says of its data cannot be read.
    """
    steps = checkpoint_steps(run)
    if not steps:
        return data.statistics
    newest = open_checkpoint(checkpoint_folder(run, steps[-1]))
    spec, statistics = newest.spec, newest.statistics
    recorded = _read_record(run)
    differing = spec.differences(data.spec)
    if statistics.parts.keys() != data.statistics.parts.keys():
        differing.append(f"statistics of {_named(statistics)} there, of {_named(data.statistics)} here")
    elif recorded is None:
        differing += _differing_ranges(statistics, data)
    if recorded is not None:
        differing += _differing_parts(recorded, data.parts)
    if differing:
        raise ConfigurationError(
            f"data: expected what run={run} was begun with, got other data ({'; '.join(differing)}). Continue it with "
            "its own, unchanged, or choose another folder."
        )
    if recorded is None:
        on_remark(
            f"{run} holds no fingerprint of its data, being older than those: its ranges are the same, but whether "
            "numbers, instructions or pictures have changed since cannot be told"
        )
    return statistics


def _differing_ranges(statistics: StatisticsByPart, data: CheckedData) -> list[str]:
    found = statistics.to_dict()
    mine = [each.to_dict() for each in (data.stored, data.statistics)]
    return [f"ranges of {name}" for name in sorted(found) if all(found[name] != each[name] for each in mine)]


def _differing_parts(there: Mapping[str, PartRecord], here: Mapping[str, PartRecord]) -> list[str]:
    if list(there) != list(here):
        return [f"parts {', '.join(map(repr, there))} there, {', '.join(map(repr, here))} here"]
    return [
        f"{difference} of {name!r}" if name else difference
        for name in here
        for difference in there[name].differences(here[name])
    ]


def _read_record(run: Path) -> dict[str, PartRecord] | None:
    file = run / DATA_FILE
    if not file.exists():
        return None
    try:
        parts: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["parts"]
        return {
            part["name"]: PartRecord(
                Fingerprint.from_dict(part["fingerprint"]),
                **{
                    field.name: part[field.name]
                    for field in fields(PartRecord)
                    if field.name != "fingerprint"
                },
            )
            for part in parts
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file}: cannot be read ({error!r}). Remove it, and the run's data is compared by its ranges."
        ) from error


def _named(statistics: StatisticsByPart) -> str:
    return ", ".join(name and f"part {name!r}" for name in statistics.parts) or "all data together"
