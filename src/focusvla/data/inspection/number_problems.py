"""What is wrong with the numbers of a data set, each finding with what to do about it.

`find_training_problems` is what training tells as well, since it keeps a policy from doing what was recorded without any
sign of it; `find_range_problems` is what `inspect` alone says.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from focusvla.data.inspection.episodes import GripperFinding
from focusvla.data.inspection.numbers import Numbers
from focusvla.data.inspection.vectors import Dimension
from focusvla.data.normalization import SMALLEST_RANGE, TINY_RANGE
from focusvla_client.spec import ACTION_END_EFFECTOR_DELTA, ACTION_POSITION_DELTA

Severity = Literal["error", "warning", "note"]
_ORDER: tuple[Severity, ...] = ("error", "warning", "note")

EXPECTED_OUTSIDE_SHARE = 0.02
NOTED_DIFFERENCE = 0.05
"""Stored limits that are off by more of the range are worth a note."""
FLIPPED_RATIO = 1.25
"""Fingers that are this much farther apart when closed than when opened; those that work have less than half."""


@dataclass(frozen=True)
class Problem:
    """A finding and what to do about it. An error keeps a data set from being trained on, a warning lets training run and
    a policy fail, a note is worth knowing."""

    severity: Severity
    finding: str
    advice: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.severity}: {self.finding}. {self.advice}"


def by_severity(problems: Iterable[Problem]) -> list[Problem]:
    """The gravest first, otherwise in the order given."""
    return sorted(problems, key=lambda problem: _ORDER.index(problem.severity))


def find_training_problems(numbers: Numbers) -> list[Problem]:
    """Statistics of other data, motion that normalization would erase, grippers, and names that contradict the spec."""
    return by_severity(
        [
            *_stale("state", numbers.state),
            *_stale("action", numbers.action),
            *_erased("state", numbers.state),
            *_erased("action", numbers.action),
            *_scaled_actions(numbers),
            *(problem for gripper in numbers.grippers for problem in _gripper(gripper)),
            *_switches(numbers),
            *_contradictions(numbers),
        ]
    )


def find_range_problems(numbers: Numbers) -> list[Problem]:
    """Statistics that are a little off, and dimensions that do not move, or hardly."""
    return [*_ranges("state", numbers.state), *_ranges("action", numbers.action)]


def _stale(vector: str, dimensions: tuple[Dimension, ...]) -> Iterator[Problem]:
    stale = [each for each in dimensions if each.is_stale]
    if stale:
        yield Problem(
            "warning",
            f"{vector}: the stored statistics are not of this data in {_names(stale)}. "
            + "; ".join(_compared(each) for each in stale[:3]),
            "They are another data set's, or the mean of its episodes'. Training uses ranges computed from these "
            "numbers; `focusvla convert` stores them.",
        )


def _erased(vector: str, dimensions: tuple[Dimension, ...]) -> Iterator[Problem]:
    erased = [each for each in dimensions if each.is_erased and not each.is_stale]
    if erased:
        yield Problem(
            "warning",
            f"{vector}: q01 and q99 lie together although values vary in {_names(erased)}: "
            + "; ".join(f"{each.name} from {each.minimum:.3g} to {each.maximum:.3g}" for each in erased[:3]),
            "It moves in fewer than one step of a hundred. Training normalizes it by its least and greatest value, so "
            "that each can be answered.",
        )


def _ranges(vector: str, dimensions: tuple[Dimension, ...]) -> Iterator[Problem]:
    used = [each for each in dimensions if each.is_normalized]
    off = [each for each in used if not each.is_stale and each.difference > NOTED_DIFFERENCE]
    if off:
        yield Problem(
            "note",
            f"{vector}: the stored statistics differ a little from this data's in {_names(off)}. "
            + "; ".join(_compared(each) for each in off[:3]),
            "Harmless if they were averaged over episodes. If episodes were added or removed, `focusvla convert` "
            "computes them anew.",
        )
    constant = [each for each in dimensions if each.maximum - each.minimum < SMALLEST_RANGE]
    if constant:
        yield Problem(
            "warning" if vector == "action" else "note",
            f"{vector}: constant in {_names(constant)}",
            "A policy will always answer this value: check that the recording filled it in."
            if vector == "action"
            else "It tells a policy nothing: check that the recording filled it in.",
        )
    tiny = [
        each
        for each in used
        if each not in constant and not each.is_erased and each.q99 - each.q01 < TINY_RANGE
    ]
    if tiny:
        yield Problem(
            "warning",
            f"{vector}: from q01 to q99 is almost nothing in {_names(tiny)} "
            f"({', '.join(f'{each.q99 - each.q01:.2g}' for each in tiny)})",
            "Normalization blows such a range up, noise included. Check the unit, or that the dimension was "
            "recorded while it moved.",
        )


def _compared(dimension: Dimension) -> str:
    low, high = dimension.stored_range or (math.nan, math.nan)
    outside = 100 * (dimension.outside_share or 0.0)
    return (
        f"{dimension.name} is stored as {low:.3g} to {high:.3g}, is {dimension.q01:.3g} to {dimension.q99:.3g} "
        f"({outside:.0f} % outside, expected {100 * EXPECTED_OUTSIDE_SHARE:.0f})"
    )


def _scaled_actions(numbers: Numbers) -> Iterator[Problem]:
    if numbers.spec.action_space not in (ACTION_END_EFFECTOR_DELTA, ACTION_POSITION_DELTA):
        return
    far = [each for each in numbers.action if max(-each.minimum, each.maximum) > 1 + SMALLEST_RANGE]
    if far:
        yield Problem(
            "warning",
            f"action: beyond -1 to +1 in {_names(far)}, though the spec says scaled displacements",
            "Controllers clip there. Scale them as the environment does, or correct the spec's action_space.",
        )


def _gripper(gripper: GripperFinding) -> Iterator[Problem]:
    shown = ", ".join(f"{value:.3g}" for value in gripper.values[:4])
    if gripper.is_one_sided:
        yield Problem(
            "error",
            f"action {gripper.name}: from {gripper.least:.3g} to {gripper.greatest:.3g} ({shown}), of one sign, though "
            "the spec says that -1 opens and +1 closes: it looks like 0 to 1, and the hand would never "
            + ("open" if gripper.greatest > 0 else "close"),
            "Map the values to -1 and +1 in the recording, or correct the spec's gripper.",
        )
    elif gripper.other_share:
        yield Problem(
            "warning",
            f"action {gripper.name}: {100 * gripper.other_share:.0f} % of the values are neither -1 (open) nor "
            f"+1 (close), as the spec says, but {shown}",
            "The sign alone counts. Map them to -1 and +1 in the recording, or correct the spec's gripper.",
        )
    opened, closed = gripper.opening_when_opened, gripper.opening_when_closed
    if opened is not None and closed is not None and closed > FLIPPED_RATIO * opened:
        yield Problem(
            "warning",
            f"action {gripper.name}: the sign looks flipped. The fingers are {closed:.3g} apart after the larger values, "
            f"which should close them, and {opened:.3g} after the smaller",
            "Swap them in the recording, or the policy opens where it should close.",
        )


def _switches(numbers: Numbers) -> Iterator[Problem]:
    one_sided = [gripper.name for gripper in numbers.grippers if gripper.is_one_sided]
    for each in numbers.action:
        if each.on_switches_share and each.name not in one_sided:
            yield Problem(
                "warning",
                f"action {each.name}: {100 * each.on_switches_share:.1f} % of the values lie on {each.switches[0]:g}, "
                "where the robot switches: 0 holds the fingers still, the slightest other value opens or closes them",
                "A policy answers nearly 0 and never 0, so that it cannot repeat these steps. Record -1 or +1 there.",
            )


def _contradictions(numbers: Numbers) -> Iterator[Problem]:
    for vector in ("state", "action"):
        found = [each for each in numbers.contradictions if each.vector == vector]
        if found:
            named = ", ".join(
                f"{each.recorded!r} where the spec says {each.expected!r}" for each in found[:4]
            )
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            yield Problem(
                "warning",
                f"{vector}: the data set names its numbers otherwise than the spec, {named}{more}",
                "If the names are right, this is another robot's or another kind of data: give the spec that says "
                "what was recorded (--spec). If they are wrong, correct them in meta/info.json.",
            )


def _names(dimensions: Iterable[Dimension]) -> str:
    return ", ".join(each.name for each in dimensions)
