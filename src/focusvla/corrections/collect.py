"""Recording corrections of a policy on all cores, so that any process may be killed at any time.

Each task is attempted as often as was asked: attempts that the policy solves itself before the expert takes over, and
those that the expert does not, give no episode and are counted. The first attempts, at all tasks, are played on by the
policy to their end as well, so that a policy with nothing to correct, or nothing to build on, is told before the rest.

`data/growing_dataset.py` says where the shards wait for the rest; beside them `rejected.jsonl` has a line per attempt
without an episode, with the reason.
"""

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from focusvla.config import CorrectionConfig, EvaluationConfig
from focusvla.corrections.attempt import Correction, Player, attempt, kept_before
from focusvla.data.growing_dataset import GrowingDataset
from focusvla.demonstrations.recording import completed, note_rejected, read_rejected
from focusvla.demonstrations.scripted import require_scripted
from focusvla.errors import ConfigurationError
from focusvla.evaluation.evaluate import actions_per_inference, require_evaluable
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.parts import identity_in_suite
from focusvla.evaluation.policies import source_of
from focusvla.simulation.environment import suite_task
from focusvla.simulation.workers import Call, simulate
from focusvla.suites import protocol_of, suite_of

_FEWEST_FIRST, _FIRST_PER_TASK = 20, 2
_NOT_CONTENT: dict[str, Any] = {"workers": 0, "device": "", "regardless": False}
"""What does not decide the data set, with what its record says of it."""

Progress = Callable[[int, int, str], None]
"""Called with attempts ended, attempts in all, and a line about the latest one."""


@dataclass
class Attempts:
    """Which attempts there are, which is next, and what became of the others.

    Of 3 tasks with 9 attempts each the first are 0 to 6 of each task, 21 in all, then come 7 and 8 of each.
    """

    tasks: Sequence[int]
    per_task: int
    ended: dict[tuple[int, int], Correction] = field(default_factory=dict)
    """By task and number."""
    _begun: set[tuple[int, int]] = field(default_factory=set)

    @property
    def num_first(self) -> int:
        """How many of each task are the first."""
        return max(_FIRST_PER_TASK, math.ceil(_FEWEST_FIRST / len(self.tasks)))

    @property
    def is_judged(self) -> bool:
        """Whether there are enough to say something of the policy."""
        return self.per_task >= self.num_first

    def plays_on(self, number: int) -> bool:
        """Whether the policy plays that attempt to its end as well."""
        return self.is_judged and number < self.num_first

    def order(self) -> list[tuple[int, int]]:
        """Task and number of all, the first ones first; within that a task's are together, which costs fewer scenes."""
        rounds = range(min(self.num_first, self.per_task)), range(self.num_first, self.per_task)
        return [(task, number) for numbers in rounds for task in self.tasks for number in numbers]

    def begin(self) -> tuple[int, int] | None:
        """The next attempt, or None if all have begun."""
        known = self._begun | self.ended.keys()
        chosen = next((each for each in self.order() if each not in known), None)
        if chosen:
            self._begun.add(chosen)
        return chosen

    def successes_alone(self) -> tuple[int, int] | None:
        """How many of the first attempts the policy solves alone, of how many that had a start; None before all of them
        have ended, or where there are too few."""
        first = [each for each in self.order() if self.plays_on(each[1])]
        if not first or any(each not in self.ended for each in first):
            return None
        outcomes = [self.ended[each].solves for each in first]
        return outcomes.count(True), len(outcomes) - outcomes.count(None)

    def counts(self, task: int) -> dict[str, Any]:
        """What became of a task's attempts; JSON-ready."""
        ended = [each for each in self.ended.values() if each.task == task]
        return {
            "attempts": len(ended),
            "solved": sum(each.outcome == "solved" for each in ended),
            "kept": sum(each.outcome == "kept" for each in ended),
            "failed": dict(sorted(Counter(each.reason for each in ended if each.reason).items())),
        }


def collect_corrections(
    checkpoint: Path,
    config: CorrectionConfig,
    output: Path,
    on_progress: Progress = lambda done, total, line: None,
) -> dict[str, Any]:
    """Record corrections of the policy in `checkpoint`, or of a training run's newest, as a LeRobot v3.0 data set at
    `output`; continue where an interrupted run stopped.

    Returns the summary that is also written to `meta/corrections.json`: what became of each task's attempts.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        StorageError: `output` is made of something else, or cannot be written.
        ConfigurationError: unknown suite, task or protocol, an unfinished recording of another configuration or policy;
            or there is nothing to record, or the policy solves all of its first attempts or none, and nothing is left.
        SpecMismatchError: the policy was trained for another environment.
        WorkerError: a recording process was killed again and again.
    """
    require_scripted(config.suite)
    return record_corrections(_player(checkpoint, config), config, output, on_progress)


def record_corrections(
    player: Player, config: CorrectionConfig, output: Path, on_progress: Progress
) -> dict[str, Any]:
    """`collect_corrections` of a policy that plays as `player` says."""
    config = completed(config)
    made_of = json.loads(json.dumps(asdict(config) | _NOT_CONTENT)) | {
        "protocol": player.rules.name,
        "protocol_revision": player.rules.revision,
        "actions_per_inference": player.actions_per_inference,
        "policy": player.identity,
    }
    growing = GrowingDataset(output, made_of, "corrections.json")
    if summary := growing.finished():
        return summary
    instructions = {task: suite_task(config.suite, task).instruction for task in config.tasks}
    growing.open()
    attempts = _read(growing, config)
    useless = _record_missing(config, player, attempts, growing, on_progress)
    tasks = {
        str(task): {"instruction": instruction, **attempts.counts(task)}
        for task, instruction in instructions.items()
    }
    if not any(counts["kept"] for counts in tasks.values()):
        useless = useless or f"output={output}: there is nothing to record. {_without_any(tasks)}"
    if useless:
        shutil.rmtree(growing.staging)
        raise ConfigurationError(useless)
    alone = attempts.successes_alone()
    summary = {
        "checkpoint": player.source.description,
        "tasks": tasks,
        "policy_alone": alone and {"solved": alone[0], "attempts": alone[1]},
        "rejected": read_rejected(growing.staging),
    }
    suite = suite_of(config.suite)
    return growing.publish(summary, suite.spec(config.image_size), suite.robot, config.steps_per_picture)


def _player(checkpoint: Path, config: CorrectionConfig) -> Player:
    """The policy as an evaluation would play it."""
    from focusvla.checkpoint import open_checkpoint  # with torch

    suites = (config.suite,)
    evaluation = EvaluationConfig(
        suites=suites,
        tasks=config.tasks,
        protocol=config.protocol,
        actions_per_inference=config.actions_per_inference,
        statistics=(config.statistics,) if config.statistics else (),
        pictures=config.pictures,
        device=config.device,
    )
    found = open_checkpoint(checkpoint)
    source = source_of(found.folder, evaluation)
    chunk_length, rules = found.experiment.model.chunk_length, protocol_of(suites, config.protocol)
    require_evaluable(found.spec, chunk_length, evaluation)
    pictures = config.pictures.over(found.experiment.model.pictures, is_stated=found.states_pictures)
    identity = PolicyIdentity(weights=found.digest, pictures=pictures)
    return Player(
        source,
        str(identity_in_suite(identity, source.parts, config.suite)),
        rules,
        actions_per_inference(evaluation, rules, chunk_length),
    )


def _read(growing: GrowingDataset, config: CorrectionConfig) -> Attempts:
    """What earlier runs left."""
    found = [kept_before(dict(shard.metadata), shard.length) for shard in growing.shards()]
    found += [Correction(**record) for record in read_rejected(growing.staging)]
    ended = {(each.task, each.number): each for each in found}
    return Attempts(config.tasks, config.attempts_per_task, ended)


def _record_missing(
    config: CorrectionConfig,
    player: Player,
    attempts: Attempts,
    growing: GrowingDataset,
    on_progress: Progress,
) -> str:
    """Make the attempts that have not ended. Stops where `_objection` has one, and returns it."""
    total = len(attempts.order())
    on_progress(len(attempts.ended), total, "")
    objection = _objection(config, player, attempts)

    def next_attempt() -> Call | None:
        if objection or (chosen := attempts.begin()) is None:
            return None
        return Call(attempt, (config, player, *chosen, growing.episodes, attempts.plays_on(chosen[1])))

    with closing(simulate(next_attempt, config.workers)) as simulated:  # its processes write no more after it
        for ended in simulated:
            attempts.ended[ended.task, ended.number] = ended
            if ended.outcome != "kept":
                note_rejected(growing.staging, asdict(ended))
            on_progress(len(attempts.ended), total, _describe(ended))
            if objection := _objection(config, player, attempts):
                break
    return objection


def _objection(config: CorrectionConfig, player: Player, attempts: Attempts) -> str:
    """What speaks against recording, if the policy solved all of the first attempts or none; else empty."""
    alone = attempts.successes_alone()
    if alone is None or config.regardless or not alone[1] or 0 < alone[0] < alone[1]:
        return ""
    where = f"checkpoint={player.source.description}: the policy"
    if alone[0]:
        return (
            f"{where} solved all of its first {alone[1]} attempts by itself, so there is nothing to correct. Choose "
            "other --tasks or harder starts (--displacement-meters), or insist with --regardless."
        )
    return (
        f"{where} solved none of its first {alone[1]} attempts, so what would be recorded are demonstrations from odd "
        "places rather than corrections. Train it longer or on more demonstrations (`focusvla demonstrate`), or insist "
        "with --regardless."
    )


def _without_any(tasks: dict[str, dict[str, Any]]) -> str:
    """Why no attempt gave an episode."""
    failed = sum((Counter(counts["failed"]) for counts in tasks.values()), Counter[str]())
    said = [f"{number} {reason}" for reason, number in sorted(failed.items())]
    solved, attempts = (sum(counts[name] for counts in tasks.values()) for name in ("solved", "attempts"))
    return (
        f"Of {attempts} attempts the policy solved {solved} before the expert took over; the others: "
        f"{', '.join(said) or 'none'}. Make more attempts, or let the expert take over sooner (--policy-steps)."
    )


def _describe(ended: Correction) -> str:
    outcome = {
        "kept": f"corrected after {ended.takeover} steps in {ended.steps}",
        "solved": f"solved by the policy in {ended.takeover} steps",
        "failed": f"{ended.reason} after {ended.takeover} steps of the policy",
    }[ended.outcome]
    return f"task {ended.task}, attempt {ended.number}: {outcome}"
