"""Results as JSON lines, one episode a line, and what they say.

A line is appended when its episode ends, so a killed evaluation loses the running episodes only, and the same
command goes on with the rest. Lines of earlier versions are read, and stay as they are when a file is gone on with.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.parts import identity_in_suite
from focusvla.storage import append_line, complete_lines, explained_storage_errors, replace_text
from focusvla.suites import clean_suite

LANGUAGE_BLIND = "language_blind"
"""Condition: the policy reads another task's instruction."""
VISION_BLIND = "vision_blind"
"""Condition: the policy sees the pictures of another episode of the same task."""
PARAPHRASED = "paraphrased"
"""Condition: the policy reads the task's instruction in other words."""
PERTURBED = "perturbed"
"""Condition: something about the scene, its pictures or the words is changed, as a task of LIBERO-Plus has it."""
VISION_SILENCED = "vision_silenced"
"""Condition: what the policy's layers attend to in the pictures adds nothing; its language model still sees them."""
ACTION_QUERIES_SILENCED = "action_queries_silenced"
"""Condition: what the policy's layers attend to in the action queries and the proprioception token adds nothing."""


FORMAT = 2
"""Of a line, as it says; one that does not is of the first format, which did not."""
_ADDED: Mapping[str, Any] = {
    "condition": "",
    "protocol_revision": 1,
    "disturbance": "",
    "disturbed_at": None,
    "closings_after": None,
    "chunks": "",
    "mean_jerk": None,
    "words": "",
    "perturbation": "",
    "seconds_by_activity": {},
}
"""Fields that results have not had from their beginning, with what was true of lines without them."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One evaluated episode."""

    suite: str
    task: int
    instruction: str
    trial: int
    """Number of the start: the benchmark's init state, where it has them."""
    condition: str
    """What the policy was kept from, a control such as `VISION_BLIND`; empty for nothing."""
    seed: int
    success: bool
    steps: int
    """Policy steps."""
    inferences: int
    seconds: float
    """Wall time, resets and drawing included."""
    protocol: str
    protocol_revision: int = 1
    """Which of the rules that this name has had; those of other revisions are not compared."""
    policy: PolicyIdentity
    actions_per_inference: int
    error: str
    """Traceback of an episode that broke, which is no failure of the policy and is played again; empty otherwise."""
    versions: dict[str, Any]
    disturbance: str = ""
    """What went wrong in the scene by the protocol, `dropped` or `moved`; empty if nothing did."""
    disturbed_at: int | None = None
    """Policy steps before that."""
    closings_after: int | None = None
    """How often the policy then closed the gripper anew: 1 where it grasped again once."""
    chunks: str = ""
    """How chunks were played and how late they came, as `ChunkConfig` says; empty: open loop, and at once."""
    mean_jerk: float | None = None
    """Of the arm, see `focusvla.evaluation.motion`; None where it is not known."""
    words: str = ""
    """What the policy read in the instruction's place under `PARAPHRASED` and `PERTURBED`; empty for the
    instruction itself."""
    perturbation: str = ""
    """Name of the task of LIBERO-Plus under `PERTURBED`; empty otherwise."""
    seconds_by_activity: dict[str, float] = field(default_factory=dict)
    """What `seconds` went into: building the environment, simulating, drawing, and waiting for the policy's answers."""


@dataclass(frozen=True)
class SuccessRate:
    """Successes among episodes, with the Wilson 95 % interval."""

    successes: int
    episodes: int
    broken: int = 0
    """Episodes besides that came to no end of their own, and say nothing of the policy."""

    @property
    def rate(self) -> float:
        """Share of successes, 0 without episodes."""
        return self.successes / self.episodes if self.episodes else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson score interval: 9 of 10 gives 0.596 to 0.982."""
        from scipy.stats import binomtest  # a second to import

        if self.episodes == 0:
            return 0.0, 1.0
        bounds = binomtest(self.successes, self.episodes).proportion_ci(method="wilson")
        return float(bounds.low), float(bounds.high)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        low, high = self.interval
        return {
            "successes": self.successes,
            "episodes": self.episodes,
            "rate": self.rate,
            "interval_95": [low, high],
            **({"broken": self.broken} if self.broken else {}),
        }

    def __str__(self) -> str:
        low, high = self.interval
        shown = f"{self.successes}/{self.episodes} = {100 * self.rate:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        return f"{shown}, {self.broken} broken" if self.broken else shown


def success_rate(results: Iterable[EpisodeResult]) -> SuccessRate:
    """Over those of `results` that did not break, which are counted apart."""
    results = list(results)
    outcomes = [result.success for result in results if not result.error]
    return SuccessRate(sum(outcomes), len(outcomes), len(results) - len(outcomes))


def success_rate_by_task(results: Sequence[EpisodeResult]) -> dict[tuple[str, int], SuccessRate]:
    """Per suite and task number, in order."""
    return {
        (suite, task): success_rate(r for r in results if (r.suite, r.task) == (suite, task))
        for suite, task in sorted({(result.suite, result.task) for result in results})
    }


def clean_results(results: Iterable[EpisodeResult]) -> list[EpisodeResult]:
    """Without controls, and without LIBERO-PRO's variants of suites that are there themselves."""
    results = [result for result in results if not result.condition]
    suites = {result.suite for result in results}
    return [r for r in results if clean_suite(r.suite) == r.suite or clean_suite(r.suite) not in suites]


def summarize(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """What an evaluation came to, over its clean episodes; JSON-ready."""
    clean = clean_results(results)
    instructions = {(result.suite, result.task): result.instruction for result in clean}
    disturbed: dict[str, Any] = {kind: rate.to_dict() for kind, rate in disturbed_rates(clean).items()}
    if disturbed:
        disturbed["closings_after"] = mean_closings(clean)
    return {
        "protocol": results[0].protocol,
        "success": success_rate(clean).to_dict(),
        "tasks": [
            {
                "suite": suite,
                "task": task,
                "instruction": instructions[suite, task],
                "success": rate.to_dict(),
            }
            for (suite, task), rate in success_rate_by_task(clean).items()
        ],
        "broken": sum(bool(result.error) for result in results),
        **({"disturbed": disturbed} if disturbed else {}),
    }


def disturbed_rates(results: Iterable[EpisodeResult]) -> dict[str, SuccessRate]:
    """By what went wrong in the scene, how the episodes ended in which it did."""
    disturbed = [result for result in results if result.disturbance and not result.error]
    kinds = sorted({result.disturbance for result in disturbed})
    return {kind: success_rate(r for r in disturbed if r.disturbance == kind) for kind in kinds}


def mean_closings(results: Iterable[EpisodeResult]) -> float:
    """How often a disturbed episode's gripper closed anew."""
    closings = [result.closings_after or 0 for result in results if result.disturbance and not result.error]
    return sum(closings) / len(closings) if closings else 0.0


def describe_disturbed(results: Sequence[EpisodeResult]) -> str:
    """A line about the episodes in which something went wrong; empty without any."""
    rates = [f"{kind} {rate}" for kind, rate in disturbed_rates(results).items()]
    if not rates:
        return ""
    return f"disturbed: {'; '.join(rates)}; the gripper closed anew {mean_closings(results):.1f} times an episode"


def worth_drawing(results: Sequence[EpisodeResult], num_first: int) -> list[EpisodeResult]:
    """The first `num_first` of a task's trials, its first success and its first failure."""
    first: dict[bool, EpisodeResult] = {}
    for result in results:
        first.setdefault(result.success, result)
    return [result for index, result in enumerate(results) if index < num_first or result in first.values()]


class ResultsFile:
    """Appends episodes to a JSON-lines file and knows which it holds."""

    def __init__(
        self,
        path: Path,
        *,
        protocol: str,
        protocol_revision: int,
        policy: PolicyIdentity,
        actions_per_inference: int,
        chunks: str = "",
        parts: Mapping[str, str] = MappingProxyType({}),
    ):
        """Open or create `path`; a last line cut off by a kill is removed, and `num_repaired_bytes` says so. Broken
        episodes are moved to `broken.jsonl` beside it, and `num_broken` says how many. `policy` is called as
        `identity_in_suite` does with `parts`.

        Raises:
            ConfigurationError: it holds results of another policy or protocol.
            DataError: a line within is damaged.
            StorageError: it cannot be written.
        """
        self._path = path
        expected = {
            "protocol": protocol,
            "protocol_revision": protocol_revision,
            "actions_per_inference": actions_per_inference,
            "chunks": chunks,
        }
        with explained_storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = _read_lines(path) if path.exists() else []
            self.results = [result for _, result in lines]
            self.num_repaired_bytes = len(_cut_off(path)) if path.exists() else 0
            """Length of an incomplete last line that was removed: that episode is played again."""
            for result in self.results:
                identity = identity_in_suite(policy, parts, result.suite)
                for field, value in {**expected, "policy": identity}.items():
                    if getattr(result, field) != value:
                        raise ConfigurationError(
                            f"{path} holds results with {field}={getattr(result, field)}, this evaluation has {value}. "
                            "Choose another output folder."
                        )
            broken = [line for line, result in lines if result.error]
            self.num_broken = len(broken)
            self.results = [result for result in self.results if not result.error]
            with (
                (path.parent / "broken.jsonl").open("a", encoding="utf-8")
                if broken
                else nullcontext() as file
            ):
                if file is not None:
                    file.writelines(broken)
            replace_text(path, "".join(line for line, result in lines if not result.error))

    def append(self, result: EpisodeResult) -> None:
        """Add one episode, on the disk when this returns."""
        self.results.append(result)
        append_line(self._path, result_line(result))


def result_line(result: EpisodeResult) -> str:
    """What a results file holds of an episode, its line break included."""
    return json.dumps({"format": FORMAT, **asdict(result), "policy": str(result.policy)}) + "\n"


def _cut_off(path: Path) -> bytes:
    """What stands behind the last line break."""
    return path.read_bytes().rpartition(b"\n")[2]


def read_results(path: Path) -> list[EpisodeResult]:
    """All episodes of a results file; an incomplete last line is not read. Fields that no version has had are left out,
    of which a warning is logged.

    Raises:
        DataError: there is no such file, or a line is not a result, or one of a newer version.
    """
    return [result for _, result in _read_lines(path)]


def _read_lines(path: Path) -> list[tuple[str, EpisodeResult]]:
    """Each line as it stands in the file, with what it says."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DataError(
            f"{path}: expected a results file, got {error.strerror}. Run `focusvla evaluate`."
        ) from error
    names = {field.name for field in fields(EpisodeResult)}
    found = []
    unknown: dict[str, int] = {}
    for number, line in enumerate(complete_lines(text), start=1):
        try:
            values = json.loads(line)
            stated = values.pop("format", 1)
            if stated not in range(1, FORMAT + 1):
                raise ValueError(f"one of format {stated!r}, where this version reads 1 to {FORMAT}")
            if missing := sorted(names - set(values) - set(_ADDED)):
                raise ValueError(f"one without {', '.join(missing)}")
            for name in set(values) - names:
                unknown.setdefault(name, number)
            known = {name: value for name, value in values.items() if name in names}
            known["policy"] = PolicyIdentity.parse(values["policy"])
            found.append((f"{line}\n", EpisodeResult(**{**_ADDED, **known})))
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number}: expected an episode's result, got {error}. Evaluate again, or read it with the "
                "version that wrote it."
            ) from error
    if unknown:
        listed = ", ".join(f"{name!r} (first in line {number})" for name, number in sorted(unknown.items()))
        _log.warning("%s: fields that no version has had are left out: %s", path, listed)
    return found


def unfinished(folder: Path, results: Iterable[EpisodeResult]) -> str:
    """How many episodes of how many there are in an evaluation's folder, `results` being what was read of it, in words;
    empty if it is complete or does not say."""
    there = sum(not result.error for result in results)
    try:
        planned = json.loads((folder / "protocol.json").read_text("utf-8")).get("planned", there)
    except (OSError, ValueError, AttributeError):
        return ""
    if there >= planned:
        return ""
    return f"{folder}: {there} of {planned} episodes are there; the command that began it plays the rest."


def join_results(parts: Sequence[Sequence[EpisodeResult]]) -> list[EpisodeResult]:
    """The episodes of several evaluations, each once. Suites may have been played by a policy each, but each by one.

    Raises:
        ConfigurationError: a suite was played by several policies, or an episode came out differently in two parts, so
            that neither can be believed.
    """
    found: dict[tuple[Any, ...], EpisodeResult] = {}
    policies: dict[str, PolicyIdentity] = {}
    # An episode that broke in one part may have been played in another.
    for result in sorted((result for part in parts for result in part), key=lambda each: bool(each.error)):
        suite = clean_suite(result.suite)
        if policies.setdefault(suite, result.policy) != result.policy:
            raise ConfigurationError(
                f"results: expected one policy in {suite}, got {policies[suite]} and {result.policy}. Give each "
                "its own NAME=FOLDER."
            )
        first = found.setdefault(_identity(result), result)
        if not result.error and (first.success, first.steps) != (result.success, result.steps):
            raise ConfigurationError(
                f"results: {result.suite} task {result.task}, trial {result.trial} is there twice and came out "
                f"differently ({_outcome(first)}, {_outcome(result)}). Leave one of the folders out."
            )
    return list(found.values())


def _identity(result: EpisodeResult) -> tuple[Any, ...]:
    return (
        *(
            result.suite,
            result.condition,
            result.words,
            result.perturbation,
            result.task,
            result.trial,
            result.seed,
        ),
        *(result.protocol, result.protocol_revision, result.actions_per_inference, result.chunks),
    )


def _outcome(result: EpisodeResult) -> str:
    return f"{'success' if result.success else 'failure'} after {result.steps} steps"
