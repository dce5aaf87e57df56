"""What the numbers and words of a data set are, measured: the one measuring that `inspect` shows and `train` checks.

Every step is read twice, since numbers are distributed by the ranges that the first pass finds. What is in memory is an
episode's numbers, and what `QuantileSketch` keeps.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from focusvla.data.episodes import EpisodeSource
from focusvla.data.inspection.episodes import (
    MAX_LISTED,
    GripperCount,
    GripperFinding,
    IdleCount,
    IdleSteps,
    Jump,
    find_jumps,
    idle_steps,
)
from focusvla.data.inspection.names import Contradiction, contradictions
from focusvla.data.inspection.vectors import Dimension, VectorCount
from focusvla.data.mixture import parts_of
from focusvla.data.normalization import ALONE, Statistics, StatisticsByPart, untouched_dimensions
from focusvla.errors import ConfigurationError
from focusvla_client import Spec


@dataclass(frozen=True)
class Numbers:
    """Everything that was measured of states, actions and instructions."""

    spec: Spec
    num_episodes: int
    num_steps: int
    instructions: tuple[tuple[str, int], ...]
    """With how many episodes each has, the most frequent first."""
    state: tuple[Dimension, ...]
    action: tuple[Dimension, ...]
    training_statistics: Statistics
    """By which training normalizes: those that the data set holds, computed where they are not of this data, and wide
    enough where motion would be lost."""
    contradictions: tuple[Contradiction, ...]
    """Dimensions that the data set calls otherwise than the spec."""
    grippers: tuple[GripperFinding, ...]
    idle: IdleSteps
    duplicates: tuple[tuple[int, ...], ...]
    """Groups of episodes with the same actions."""
    num_jumps: int
    jumps: tuple[Jump, ...]
    """The greatest."""

    @property
    def seconds(self) -> float:
        """Of all episodes at the control rate."""
        return self.num_steps / self.spec.control_rate_hz


def measured_parts(source: EpisodeSource, stored: StatisticsByPart) -> dict[str, Numbers]:
    """`measure_numbers` of whatever is normalized by statistics of its own.

    Raises:
        DataError: as `measure_numbers`.
    """
    if set(stored.parts) == {ALONE}:
        return {ALONE: measure_numbers(source, stored.parts[ALONE])}
    return {part.name: measure_numbers(part.source, stored.parts[part.name]) for part in parts_of(source)}


def measure_numbers(
    source: EpisodeSource, stored: Statistics | None, on_read: Callable[[int], None] = lambda done: None
) -> Numbers:
    """Measure a data set that stores these statistics, or none that can be used.

    `on_read` is told how many episodes have been read, each of which is twice.

    Raises:
        DataError: an episode's numbers are damaged or not finite.
    """
    spec = source.spec
    try:
        untouched = untouched_dimensions(spec)
    except (
        ConfigurationError
    ):  # no dimension is called after the gripper, which keeps a training from beginning
        untouched = ()
    states = VectorCount(spec.state, stored and stored.state)
    actions = VectorCount(spec.action, stored and stored.action, untouched)
    instructions: Counter[str] = Counter()
    hashes: dict[bytes, list[int]] = {}
    num_steps, idle = 0, IdleCount()
    for index in range(source.num_episodes):
        episode = source.episode(index)
        states.measure(episode.state)
        actions.measure(episode.action)
        instructions[episode.instruction] += 1
        hashes.setdefault(hashlib.sha256(episode.action.tobytes()).digest(), []).append(index)
        num_steps += len(episode)
        idle.add(idle_steps(episode.action, spec))
        on_read(index + 1)
    states.end_measuring()
    actions.end_measuring()
    grippers = [GripperCount(place, spec, actions.limits(place)) for place in untouched]
    num_jumps, jumps = 0, []
    for index in range(source.num_episodes):
        episode = source.episode(index)
        states.distribute(episode.state)
        actions.distribute(episode.action)
        for gripper in grippers:
            gripper.add(episode.state, episode.action)
        found = find_jumps(episode.state, episode=index, names=spec.state, ranges=states.ranges)
        num_jumps += len(found)
        jumps = heapq.nlargest(MAX_LISTED, [*jumps, *found], key=lambda jump: jump.ratio)
        on_read(source.num_episodes + index + 1)
    state, action = states.dimensions(), actions.dimensions()
    if stored is None or any(each.is_stale for each in (*state, *action)):
        used = Statistics(action=actions.computed_ranges(), state=states.computed_ranges())
    else:
        used = Statistics(
            action=actions.mended_ranges(stored.action), state=states.mended_ranges(stored.state)
        )
    return Numbers(
        spec=spec,
        num_episodes=source.num_episodes,
        num_steps=num_steps,
        instructions=tuple(instructions.most_common()),
        state=state,
        action=action,
        training_statistics=used,
        contradictions=contradictions(source),
        grippers=tuple(gripper.finding() for gripper in grippers),
        idle=idle.finding(),
        duplicates=tuple(tuple(group) for group in hashes.values() if len(group) > 1),
        num_jumps=num_jumps,
        jumps=tuple(jumps),
    )
