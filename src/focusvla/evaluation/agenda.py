"""Which episodes an evaluation plays, and in which order.

With `robustness` each suite brings LIBERO-PRO's variants of it and two controls. The pictures that a vision-blind episode
shows come from another episode of its task, so it waits until those have been played.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass

from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError
from focusvla.evaluation.episodes import PlannedEpisode
from focusvla.evaluation.paraphrases import SUITE, read_paraphrases
from focusvla.evaluation.perturbations import plan_perturbations
from focusvla.evaluation.results import (
    ACTION_QUERIES_SILENCED,
    LANGUAGE_BLIND,
    PARAPHRASED,
    VISION_BLIND,
    VISION_SILENCED,
)
from focusvla.evaluation.scheduler import Job
from focusvla.simulation.environment import suite_task, suite_tasks
from focusvla.suites import Protocol, clean_suite, suites, task_in_variant

CONTROLS = {
    LANGUAGE_BLIND: "another task's instruction",
    VISION_BLIND: "another episode's pictures",
    VISION_SILENCED: "vision stream silenced",
    ACTION_QUERIES_SILENCED: "action-query stream silenced",
}
"""What a policy can be kept from, in words."""


def plan_episodes(config: EvaluationConfig, rules: Protocol) -> list[PlannedEpisode]:
    """All episodes of `config`, those of one task together and its controls last.

    Raises:
        ConfigurationError: an unknown suite or task, more trials than there are starts, more parts than tasks, or
            robustness of a suite that has no variants.
    """
    tasks: dict[tuple[str, int], list[PlannedEpisode]] = {}
    if not config.suites:
        raise ConfigurationError("suites: expected at least one, got none. Give --suites.")
    for suite in config.suites:
        all_tasks = suite_tasks(suite)
        rules.max_steps_of(suite)
        for task in config.tasks or range(len(all_tasks)):
            tasks[suite, task] = _episodes_of_task(config, rules, suite, task)
    if config.num_shards > len(tasks):
        raise ConfigurationError(
            f"num_shards={config.num_shards}: expected at most {len(tasks)}, the tasks to share out."
        )
    if config.paraphrases:
        _add_paraphrases(config, tasks)
    if "plus" in (config.robustness or ()):
        for planned in plan_perturbations(config, rules):
            tasks[planned.suite, planned.task].append(planned)
    mine = list(tasks.values())[config.shard :: config.num_shards]
    return [planned for episodes in mine for planned in episodes]


def _add_paraphrases(config: EvaluationConfig, tasks: dict[tuple[str, int], list[PlannedEpisode]]) -> None:
    if SUITE not in config.suites:
        raise ConfigurationError(
            f"paraphrases: expected {SUITE} among the suites, whose tasks they are of, got {', '.join(config.suites)}. "
            f"Add it to --suites."
        )
    assert config.paraphrases is not None
    rows = read_paraphrases(config.paraphrases, config.tasks, config.paraphrase_sample)
    for row in dict.fromkeys((row.task, row.trial, row.words) for row in rows):
        task, trial, words = row
        tasks[SUITE, task].append(PlannedEpisode(SUITE, task, trial, PARAPHRASED, words))


def _episodes_of_task(
    config: EvaluationConfig, rules: Protocol, suite: str, task: int
) -> list[PlannedEpisode]:
    trials = config.trials or rules.trials_per_task
    stored = suite_task(suite, task).num_init_states
    if rules.uses_init_states and trials > stored:
        raise ConfigurationError(
            f"trials={trials}: expected at most {stored}, the init states of {suite} task {task}."
        )
    planned = [PlannedEpisode(suite, task, trial) for trial in range(trials)]
    if "pro" in (config.robustness or ()):
        planned += _variants_of_task(suite, task, trials)
    of_robustness = (LANGUAGE_BLIND, VISION_BLIND) if "pro" in (config.robustness or ()) else ()
    controls = dict.fromkeys((*of_robustness, *config.controls))
    if VISION_BLIND in controls and trials < 2:
        raise ConfigurationError(
            f"trials={trials}: expected at least 2, since a vision-blind policy is shown another trial."
        )
    return planned + [PlannedEpisode(suite, task, trial, c) for c in controls for trial in range(trials)]


def _variants_of_task(suite: str, task: int, trials: int) -> list[PlannedEpisode]:
    variants = suites()[suite].variants if suite in suites() else {}
    if not variants:
        known = ", ".join(name for name, row in suites().items() if row.variants)
        raise ConfigurationError(f"robustness: expected suites among {known}, got {suite!r}.")
    planned: list[PlannedEpisode] = []
    for variant in (f"{suite}{end}" for end, variant in variants.items() if variant.is_complete):
        there = task_in_variant(variant, task)
        stored = suite_task(variant, there).num_init_states
        planned += [PlannedEpisode(variant, there, trial) for trial in range(min(trials, stored))]
    return planned


def axis_of(suite: str, condition: str) -> str:
    """What differs from the clean suite, in words; `clean` if nothing does."""
    if condition:
        return CONTROLS[condition]
    clean = clean_suite(suite)
    ending = suite.removeprefix(clean)
    variants = suites()[clean].variants if clean in suites() else {}
    return variants[ending].axis if ending in variants else ending or "clean"


def all_axes() -> list[str]:
    """Everything that `axis_of` answers for known variants and controls, in the order of tables."""
    axes = (variant.axis for suite in suites().values() for variant in suite.variants.values())
    return list(dict.fromkeys(("clean", *axes, *CONTROLS.values())))


class Agenda:
    """Hands out jobs so that players change their environment seldom. What a call takes does not grow with the number of
    jobs and groups."""

    def __init__(self):
        self._groups: dict[Hashable, deque[Job]] = {}
        self._largest: list[tuple[int, int, Hashable]] = []
        """A heap of groups, each under minus its number of jobs now or once, and its place in the order of groups."""
        self._places: dict[Hashable, int] = {}
        self._num_groups = 0
        self._awaited: dict[str, list[_Waiting]] = {}
        """By label, what waits for that job."""
        self._open: set[str] = set()

    def add(self, job: Job, urgent: bool = False) -> None:
        """Put `job` behind its group's others, or before them if `urgent`."""
        if job.group not in self._groups:
            self._groups[job.group] = deque()
            self._places[job.group] = self._num_groups
            self._num_groups += 1
        jobs = self._groups[job.group]
        (jobs.appendleft if urgent else jobs.append)(job)
        heapq.heappush(self._largest, self._rank(job.group))
        self._open.add(job.label)

    def add_after(self, labels: Iterable[str], make: Callable[[], Iterable[Job]]) -> None:
        """Put the jobs that `make` returns on the agenda once those with `labels`, as far as they are on it, have
        ended."""
        until = set(labels) & self._open
        waiting = _Waiting(len(until), make)
        for label in until:
            self._awaited.setdefault(label, []).append(waiting)
        if not until:
            self._release(waiting)

    def ended(self, label: str) -> None:
        """Tell that the job with this label has ended."""
        self._open.discard(label)
        for waiting in self._awaited.pop(label, ()):
            waiting.num_awaited -= 1
            if not waiting.num_awaited:
                self._release(waiting)

    def next_job(self, last_group: Hashable, at_work: Collection[Hashable]) -> Job | None:
        """One of the player's last group, else of the group with the most jobs per player `at_work` on it."""
        if last_group in self._groups:
            return self._take(last_group)
        working = Counter(group for group in at_work if group in self._groups)
        idle = self._largest_besides(working)
        candidates = [*working, *([] if idle is None else [idle])]
        if not candidates:
            return None
        return self._take(
            min(candidates, key=lambda g: (-len(self._groups[g]) / (1 + working[g]), self._places[g]))
        )

    def _largest_besides(self, working: Collection[Hashable]) -> Hashable | None:
        """The group with the most jobs of those that no player is at work on."""
        aside = []
        found = None
        while self._largest and found is None:
            rank = heapq.heappop(self._largest)
            group = rank[2]
            if group in self._groups and rank == self._rank(group):
                aside.append(rank)
                found = None if group in working else group
        for rank in aside:
            heapq.heappush(self._largest, rank)
        return found

    def _take(self, group: Hashable) -> Job:
        job = self._groups[group].popleft()
        if self._groups[group]:
            heapq.heappush(self._largest, self._rank(group))
        else:
            del self._groups[group], self._places[group]
        return job

    def _rank(self, group: Hashable) -> tuple[int, int, Hashable]:
        return -len(self._groups[group]), self._places[group], group

    def _release(self, waiting: "_Waiting") -> None:
        for job in waiting.make():
            self.add(job)


@dataclass
class _Waiting:
    num_awaited: int
    make: Callable[[], Iterable[Job]]
