"""LIBERO-Plus as episodes, and what they came to by axis and by difficulty."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.episodes import PlannedEpisode
from focusvla.evaluation.markdown import markdown_table
from focusvla.evaluation.paraphrases import draw_evenly
from focusvla.evaluation.results import PERTURBED, EpisodeResult, SuccessRate
from focusvla.simulation.environment import suite_tasks
from focusvla.suites import Protocol
from focusvla.suites.libero_plus import AXES, PUBLISHED, PlusTask, plus_tasks, require_suite

_STATE_LIMIT = 10_000
"""Numbers in a simulator's state; a scene of LIBERO has about a hundred."""


def chosen_plus_tasks(config: EvaluationConfig) -> list[PlusTask]:
    """Those that `config` asks for, and, where they are all asked for, those that cannot be played.

    Raises:
        ConfigurationError: none of its suites is changed by LIBERO-Plus, or the sample is larger than what can be played.
        DataError: its files cannot be read.
    """
    require_suite(config.suites)
    numbers = {suite: _numbers(suite) for suite in config.suites}
    chosen = [
        task
        for task in plus_tasks(config.plus_folder)
        if task.suite in numbers and (not config.tasks or numbers[task.suite].get(task.task) in config.tasks)
    ]
    if not config.plus_sample:
        return chosen
    playable = [task for task in chosen if not task.missing]
    if config.plus_sample > len(playable):
        raise ConfigurationError(
            f"plus_sample={config.plus_sample}: expected at most {len(playable)}, the tasks of LIBERO-Plus that can be "
            "played."
        )
    return draw_evenly(playable, config.plus_sample)


def plan_perturbations(config: EvaluationConfig, rules: Protocol) -> list[PlannedEpisode]:
    """An episode for each task of LIBERO-Plus that is chosen and can be played, from LIBERO's first start.

    Raises:
        ConfigurationError: the protocol has starts or disturbances of its own, or LIBERO-Plus has a task that LIBERO has
            not; and as `chosen_plus_tasks`.
        DataError: a state to begin from cannot be read.
    """
    if not rules.uses_init_states or rules.displacement_meters or rules.disturbed_steps:
        raise ConfigurationError(
            f"robustness: LIBERO-Plus changes LIBERO's init states in one way each, and protocol {rules.name!r} does not "
            "play these as they are. Use libero_openvla or another published one."
        )
    numbers = {suite: _numbers(suite) for suite in config.suites}
    planned = []
    for task in chosen_plus_tasks(config):
        if task.missing:
            continue
        if task.task not in numbers[task.suite]:
            raise ConfigurationError(
                f"robustness: LIBERO-Plus changes {task.task!r}, which {task.suite} has not."
            )
        changed = task.perturbation
        if task.init_file:
            changed = replace(changed, simulator_state=_state(Path(task.init_file)))
        is_own = config.plus_words == "published" or task.axis == "language"
        planned.append(
            PlannedEpisode(
                suite=task.suite,
                task=numbers[task.suite][task.task],
                trial=0,
                condition=PERTURBED,
                words=task.words if is_own else "",
                perturbation=changed.name,
                changed=changed,
            )
        )
    return planned


def _numbers(suite: str) -> dict[str, int]:
    return {task.name: task.index for task in suite_tasks(suite)}


def _state(file: Path) -> tuple[float, ...]:
    """Read without running what is in it."""
    import pickle

    import torch

    reconstruct = np.zeros(0).__reduce__()[0]
    allowed: list[Any] = [np.ndarray, np.dtype, type(np.dtype(np.float64))]
    # Files of older numpy call it by another name.
    allowed += [reconstruct, (reconstruct, "numpy.core.multiarray._reconstruct")]
    try:
        with torch.serialization.safe_globals(allowed):
            state = np.asarray(torch.load(file, map_location="cpu", weights_only=True), np.float64).ravel()
    except (OSError, RuntimeError, EOFError, TypeError, ValueError, pickle.UnpicklingError) as error:
        reason = re.split(r"[.\n]", str(error).strip())[0]
        raise DataError(
            f"{file}: expected a simulator's state, got none ({reason}). Nothing in it was run."
        ) from error
    if not 0 < len(state) < _STATE_LIMIT or not np.isfinite(state).all():
        raise DataError(f"{file}: expected a simulator's state of finite numbers, got {len(state)}.")
    return tuple(state.tolist())


@dataclass(frozen=True)
class AxisScore:
    """What the tasks of one axis came to."""

    axis: str
    success: SuccessRate
    by_level: dict[int, SuccessRate]
    """By difficulty, where it is known."""
    num_chosen: int
    missing: dict[str, int]
    """What it would take to play others of them, and how many."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "axis": self.axis,
            "success": self.success.to_dict(),
            "levels": {str(level): rate.to_dict() for level, rate in self.by_level.items()},
            "chosen": self.num_chosen,
            "missing": self.missing,
        }


def score_perturbations(results: Iterable[EpisodeResult], tasks: Sequence[PlusTask]) -> list[AxisScore]:
    """By axis, of the tasks that were chosen; each task is one episode."""
    outcomes = {
        (result.suite, result.perturbation): result.success
        for result in results
        if result.condition == PERTURBED and not result.error
    }

    def rate(of: Iterable[PlusTask]) -> SuccessRate:
        played = [outcomes[key] for task in of if (key := (task.suite, task.perturbation.name)) in outcomes]
        return SuccessRate(sum(played), len(played))

    scores = []
    for axis in AXES:
        mine = [task for task in tasks if task.axis == axis]
        levels = sorted({task.level for task in mine if task.level})
        wanted = [task.missing for task in mine if task.missing]
        if mine:
            by_level = {level: rate(task for task in mine if task.level == level) for level in levels}
            missing = {what: wanted.count(what) for what in dict.fromkeys(wanted)}
            scores.append(AxisScore(axis, rate(mine), by_level, len(mine), missing))
    return scores


def render_perturbations(scores: Sequence[AxisScore]) -> str:
    """Markdown tables, of this policy and of published ones; and what is missing."""
    levels = sorted({level for score in scores for level in score.by_level})
    head = ("axis", "success (Wilson 95 %)", "tasks", *(f"level {level}" for level in levels))
    rows = []
    for score in scores:
        by_level = (score.by_level.get(level) for level in levels)
        rows.append(
            (
                AXES[score.axis],
                score.success if score.success.episodes else "not played",
                f"{score.success.episodes} of {score.num_chosen}",
                *(
                    f"{rate.successes}/{rate.episodes}" if rate and rate.episodes else "-"
                    for rate in by_level
                ),
            )
        )
    played = sum(score.success.episodes for score in scores)
    lines = [f"LIBERO-Plus, {played} of {sum(score.num_chosen for score in scores)} tasks", ""]
    lines.append(markdown_table(head, rows))
    for score in scores:
        for what, number in score.missing.items():
            lines.append(f"\nNot played: {number} of {AXES[score.axis]}, which need {what}.")
    published = [
        (name, *(f"{value:.1f}" for value in percent.values())) for name, percent in PUBLISHED.items()
    ]
    lines += ["", markdown_table(("published, all tasks", *AXES.values(), "Total"), published)]
    return "\n".join(lines)
