"""Results as JSON lines, one episode a line, and what they say.

A line is appended when its episode ends, so a killed evaluation loses the running episodes only, and the same
command goes on with the rest.
"""

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from focusvla.data.storage import complete_lines, explained_storage_errors, partial_path
from focusvla.errors import ConfigurationError, DataError


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One evaluated episode."""

    suite: str
    task: int
    instruction: str
    trial: int
    """Index of the benchmark's init state."""
    seed: int
    success: bool
    steps: int
    """Policy steps."""
    inferences: int
    seconds: float
    """Wall time, resets and drawing included."""
    protocol: str
    policy: str
    """Identifies the policy: a digest of its weights, or its name."""
    actions_per_inference: int
    error: str
    """Traceback of an episode that broke, which counts as a failure; empty otherwise."""
    versions: dict[str, Any]


@dataclass(frozen=True)
class SuccessRate:
    """Successes among episodes, with the Wilson 95 % interval."""

    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        """Share of successes, 0 without episodes."""
        return self.successes / self.episodes if self.episodes else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson score interval: 9 of 10 gives 0.596 to 0.982."""
        if self.episodes == 0:
            return 0.0, 1.0
        z, n, p = 1.959963984540054, self.episodes, self.rate
        center = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, center - half), min(1.0, center + half)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        low, high = self.interval
        return {
            "successes": self.successes,
            "episodes": self.episodes,
            "rate": self.rate,
            "interval_95": [low, high],
        }

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.successes}/{self.episodes} = {100 * self.rate:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def success_rate(results: Iterable[EpisodeResult]) -> SuccessRate:
    """Over all `results`."""
    outcomes = [result.success for result in results]
    return SuccessRate(sum(outcomes), len(outcomes))


def success_rate_by_task(results: Sequence[EpisodeResult]) -> dict[int, SuccessRate]:
    """Per task number, in order."""
    return {
        task: success_rate(result for result in results if result.task == task)
        for task in sorted({result.task for result in results})
    }


class ResultsFile:
    """Appends episodes to a JSON-lines file and knows which it holds."""

    def __init__(self, path: Path, *, protocol: str, policy: str, actions_per_inference: int):
        """Open or create `path`; a last line cut off by a kill is removed.

        Raises:
            ConfigurationError: it holds results of another policy or protocol.
            DataError: a line within is damaged.
            StorageError: it cannot be written.
        """
        self._path = path
        expected = {
            "protocol": protocol,
            "policy": policy,
            "actions_per_inference": actions_per_inference,
        }
        with explained_storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.results = read_results(path) if path.exists() else []
            for result in self.results:
                for field, value in expected.items():
                    if getattr(result, field) != value:
                        raise ConfigurationError(
                            f"{path} holds results with {field}={getattr(result, field)!r}, this evaluation has "
                            f"{value!r}. Choose another output folder."
                        )
            partial = partial_path(path)
            partial.write_text("".join(json.dumps(asdict(r)) + "\n" for r in self.results), "utf-8")
            partial.replace(path)

    @property
    def finished(self) -> set[tuple[int, int]]:
        """Task and trial of every episode it holds."""
        return {(result.task, result.trial) for result in self.results}

    def append(self, result: EpisodeResult) -> None:
        """Add one episode, on the disk when this returns."""
        self.results.append(result)
        with explained_storage_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_results(path: Path) -> list[EpisodeResult]:
    """All episodes of a results file; an incomplete last line is not read.

    Raises:
        DataError: there is no such file, or a line is not a result.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DataError(
            f"{path}: expected a results file, got {error.strerror}. Run `focusvla evaluate`."
        ) from error
    names = {field.name for field in fields(EpisodeResult)}
    results = []
    for number, line in enumerate(complete_lines(text), start=1):
        try:
            values = json.loads(line)
            if set(values) != names:
                raise ValueError(f"fields {sorted(set(values) ^ names)} differ")
            results.append(EpisodeResult(**values))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}, line {number}: expected an episode's result, got {error}.") from error
    return results
