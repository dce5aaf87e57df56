"""How much a policy really uses what it is given: its errors and its successes when something is kept from it.

The same controls on both sides: on a data set's held-out episodes by the mean absolute error of the actions, which needs
no simulator, and in the simulator by success. A policy that does as well without its vision stream takes a shortcut.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from focusvla.data.episodes import EpisodeSource
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.inspection.numbers import measure_numbers
from focusvla.data.loader import BatchLoader
from focusvla.data.normalization import Statistics, StatisticsByPart
from focusvla.data.samples import Samples, build_samples, picture_stride, split_parts
from focusvla.data.selected_episodes import SelectedEpisodes
from focusvla.errors import DataError
from focusvla.evaluation.agenda import CONTROLS
from focusvla.evaluation.clustered import ClusteredMean, clustered_mean
from focusvla.evaluation.markdown import markdown_table
from focusvla.evaluation.policies import SILENCED
from focusvla.evaluation.results import LANGUAGE_BLIND, VISION_BLIND, EpisodeResult, SuccessRate, success_rate
from focusvla.evaluation.tables import Cell
from focusvla.model.focusvla import absolute_errors
from focusvla.model.taps import Stream, without_stream
from focusvla.policy import FocusVLAPolicy


@dataclass(frozen=True)
class ActionErrors:
    """Mean absolute error of a policy's normalized actions on held-out samples, by control; empty for none."""

    errors: dict[str, Float[np.ndarray, " samples"]]
    """Of each sample, over its steps within the episode; controls that the data set does not allow are left out."""
    steps: Float[np.ndarray, " samples"]
    """How many those are."""
    episodes: list[str]
    """Of each sample."""
    num_of_other_tasks: int = 0
    """Samples whose other pictures are of another task, since no other held-out episode is of theirs."""

    def mean(self, control: str) -> ClusteredMean:
        """Over all steps: what training calls the validation loss, if nothing is kept from the policy."""
        return clustered_mean(self.errors[control], self.episodes, self.steps)

    def difference(self, control: str) -> ClusteredMean:
        """What the control adds, sample by sample."""
        return clustered_mean(self.errors[control] - self.errors[""], self.episodes, self.steps)


def controls_of(policy: FocusVLAPolicy) -> tuple[str, ...]:
    """What can be kept from `policy`: streams only if its head attends."""
    attends = policy.model.policy_head.attends
    return tuple(control for control in CONTROLS if attends or control not in SILENCED)


def measure_action_errors(
    policy: FocusVLAPolicy,
    source: EpisodeSource,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ActionErrors:
    """Errors on the episodes of `source` that a training on it holds out, under every control that is possible.

    Another episode's pictures are those of the next held-out one with the same instruction or, if there is none, of the
    next at all, as many steps after its start; another instruction is the data set's next one.

    Raises:
        SpecMismatchError: the policy was trained under other conventions.
        DataError: the policy was trained on other data, training holds nothing out, or the data set is damaged.
    """
    policy.spec.require_equal(source.spec, "the policy", "the data set")
    training = policy.experiment.training
    _, held_out = split_parts(source, training.validation_share, training.seed)
    if not held_out:
        raise DataError(
            "validation_share=0: expected episodes that training held out, got none. Give other data."
        )
    _require_training_data(policy, source)
    selected = SelectedEpisodes(source, held_out)
    stride = picture_stride(selected, training.frame_stride)
    samples = build_samples(
        selected,
        statistics=policy.statistics,
        state_limit=training.state_limit,
        chunk_length=policy.experiment.model.chunk_length,
        stride=stride,
        last_frames=training.last_frames,
        normalization=policy.experiment.model.normalization,
    )
    owners = torch.unique(samples.end_steps, return_inverse=True)[1]
    shown = {"": samples, **dict.fromkeys(controls_of(policy), samples)}
    stand_ins = samples_of_others(samples, owners)
    shown[VISION_BLIND] = dataclasses.replace(samples, frame_rows=samples.frame_rows[stand_ins])
    num_of_other_tasks = int((samples.instruction_ids[stand_ins] != samples.instruction_ids).sum())
    others = (samples.instruction_ids + 1) % len(samples.instructions)
    shown[LANGUAGE_BLIND] = dataclasses.replace(samples, instruction_ids=others)
    if len(held_out) == 1:
        del shown[VISION_BLIND]
    if len(samples.instructions) == 1:
        del shown[LANGUAGE_BLIND]
    errors, steps = {}, np.zeros(0)
    with tempfile.TemporaryDirectory() as folder:
        images = None
        if policy.cameras:
            model = policy.experiment.model
            cache = open_frame_cache(
                selected,
                Path(folder),
                stride=stride,
                size=model.vision.image_size,
                pictures=model.pictures,
            )
            images = cache.images
        for done, (control, chosen) in enumerate(shown.items()):
            on_progress(done, len(shown))
            errors[control], steps = _errors(policy, chosen, images, SILENCED.get(control))
        on_progress(len(shown), len(shown))
    episodes = [str(held_out[owner]) for owner in owners.tolist()]
    return ActionErrors(errors, steps, episodes, num_of_other_tasks)


def part_of_data(statistics: StatisticsByPart, source: EpisodeSource) -> str | None:
    """The part of a policy's mixture that `source` is, by its statistics; None if there is no choice.

    Raises:
        DataError: it is none of them.
    """
    if len(statistics.parts) == 1:
        return None
    own = _own_statistics(source)
    for name, each in statistics.parts.items():
        if each in own:
            return name
    raise DataError(
        f"data: expected one of the parts that the policy was trained on ({', '.join(map(repr, statistics.parts))}), got "
        "one with other ranges, of which nothing was held out. Give one of them, unchanged."
    )


def _require_training_data(policy: FocusVLAPolicy, source: EpisodeSource) -> None:
    """Raise unless the data set has the statistics that the policy carries: of no other is it known what was held out."""
    carried = policy.statistics.to_dict()
    own = [statistics.to_dict() for statistics in _own_statistics(source)]
    differing = [name for name in carried if all(found[name] != carried[name] for found in own)]
    if differing:
        raise DataError(
            f"data: expected the data set that the policy was trained on, got one with other ranges of "
            f"{' and '.join(differing)}, of which nothing was held out. Give the first, unchanged; of a mixture one part "
            "or, if it has one set of statistics, all parts in their order."
        )


def _own_statistics(source: EpisodeSource) -> tuple[Statistics, Statistics]:
    """Those that a data set holds, and those that training uses in their place where they are not of its numbers."""
    stored = source.statistics()
    return stored, measure_numbers(source, stored).training_statistics


def samples_of_others(samples: Samples, owners: Int64[Tensor, " samples"]) -> Int64[Tensor, " samples"]:
    """For each sample another one: as many samples after the start, or the last, of the next episode with the same
    instruction, or of the next at all where no other has it. `owners` are the episodes' numbers.

    Episodes of 3 and 2 samples have [3, 4, 4, 0, 1].
    """
    count = int(owners.max()) + 1
    members = [torch.nonzero(owners == episode).flatten() for episode in range(count)]
    instructions = [int(samples.instruction_ids[own[0]]) for own in members]
    found = torch.empty_like(owners)
    for episode, own in enumerate(members):
        others = [(episode + ahead) % count for ahead in range(1, count)]
        alike = [other for other in others if instructions[other] == instructions[episode]]
        stand_in = members[next(iter(alike or others), episode)]
        found[own] = stand_in[torch.arange(len(own)).clamp(max=len(stand_in) - 1)]
    return found


def _errors(
    policy: FocusVLAPolicy, samples: Samples, images: np.ndarray | None, stream: Stream | None
) -> tuple[Float[np.ndarray, " samples"], Float[np.ndarray, " samples"]]:
    training, model = policy.experiment.training, policy.model
    data = BatchLoader(
        samples,
        batch_size=training.batch_size,
        seed=training.seed,
        tokenize=model.tokenize,
        images=images,  # after the policy's own steps
        device=model.feature_mean.device,
    )
    errors, steps = [], []
    with torch.inference_mode(), without_stream(model, stream) if stream else nullcontext():
        for batch in data.every_sample(training.batch_size):
            found = absolute_errors(model(batch.inputs), batch.actions, batch.action_mask)
            counts = batch.action_mask.sum(dim=1)
            errors.append((found.sum(dim=(1, 2)) / (counts * found.shape[2])).double().cpu().numpy())
            steps.append(counts.double().cpu().numpy())
    return np.concatenate(errors), np.concatenate(steps)


@dataclass(frozen=True)
class Diagnosis:
    """What was measured, of which either may be missing."""

    errors: ActionErrors | None = None
    results: Sequence[EpisodeResult] = ()

    @property
    def rates(self) -> Mapping[str, SuccessRate]:
        """Success by control."""
        found = dict.fromkeys(result.condition for result in self.results)
        return {control: success_rate(r for r in self.results if r.condition == control) for control in found}

    def to_dict(self) -> dict[str, Any]:
        """By control, as `results.jsonl` names it, JSON-ready."""
        numbers: dict[str, dict[str, Any]] = {control: {} for control in self._titles()}
        for control, measured in numbers.items():
            if self.errors is not None and control in self.errors.errors:
                measured["l1"] = self.errors.mean(control).to_dict()
                measured["l1_difference"] = self.errors.difference(control).to_dict()
            if control in self.rates:
                measured["success"] = self.rates[control].to_dict()
        return numbers

    def to_markdown(self) -> str:
        """A row per control."""
        columns = [
            *(("L1 of held-out actions", "added by it") if self.errors else ()),
            *(("success", "minus as it is, points") if self.rates else ()),
        ]
        table = markdown_table(
            ("what is kept from the policy", *columns),
            [
                (title, *self._error_cells(control), *self._success_cells(control))
                for control, title in self._titles().items()
            ],
        )
        notes = []
        if self.errors:
            samples, episodes = len(self.errors.steps), len(set(self.errors.episodes))
            notes.append(
                f"L1: {samples} samples of {episodes} held-out episode(s), in brackets 95 %, episodes drawn anew."
            )
            if self.errors.num_of_other_tasks:
                notes.append(
                    f"{self.errors.num_of_other_tasks} samples were shown another task's pictures, since no other "
                    "held-out episode is of theirs."
                )
        if self.rates:
            broken = sum(bool(result.error) for result in self.results)
            notes.append("Success: Wilson 95 %, differences Newcombe 95 %.")
            notes += [f"{broken} episode(s) broke and are not counted."] if broken else []
        return "\n".join([table, "", " ".join(notes)])

    def _titles(self) -> dict[str, str]:
        measured = {*(self.errors.errors if self.errors else ()), *self.rates}
        return {c: title for c, title in {"": "nothing", **CONTROLS}.items() if c in measured}

    def _error_cells(self, control: str) -> list[str]:
        if self.errors is None:
            return []
        if control not in self.errors.errors:
            return ["-", "-"]
        added = self.errors.difference(control).shown(4) if control else ""
        return [self.errors.mean(control).shown(4), added]

    def _success_cells(self, control: str) -> list[str]:
        if not self.rates:
            return []
        if control not in self.rates:
            return ["-", "-"]
        rate = self.rates[control]
        difference = Cell(rate, clean=self.rates.get("")).difference_percent if control else None
        if difference is None:
            return [str(rate), ""]
        return [str(rate), "{:+.1f} ({:+.1f} to {:+.1f})".format(*difference)]
