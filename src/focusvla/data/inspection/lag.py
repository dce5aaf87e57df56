"""Whether pictures show the moment whose numbers stand beside them: the lag between motion in pictures and in states.

How much a picture differs from the one before it follows how far the hand moved. Both are compared as changes of their
logarithms, in which a slow drift and the size of a motion count little and its beginnings and ends much. On scripted
demonstrations in LIBERO each episode alone gives the right lag for both cameras (correlation 0.6, at any other lag
below 0.1); a camera that sees little of the hand gives none. Of actions it is known only that they come before the
motion: states that move earlier were stored too late.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, UInt8

from focusvla_client import Spec

MAX_LAG = 4
"""Pictures in either direction."""
CLEAR_CORRELATION = 0.3
CLEAR_MARGIN = 0.1
"""By which the correlation is above that of every other lag."""
_AGREEING_SHARE = 0.7
"""Of the episodes, that many have the same lag on their own."""
_FEWEST_EPISODES = 3
_FEWEST_PICTURES = 5 * MAX_LAG
_GRID = 16
"""Blocks along each side whose means are compared, so that a codec's noise does not count."""
_REST = 0.02
"""Of a usual motion: less is rest, whatever its logarithm."""


@dataclass(frozen=True)
class LagFinding:
    """Motion that comes later, or earlier, than the same motion in the states."""

    name: str
    """A camera, or `action`."""
    steps: int
    """By which the pictures show a motion after the states have it, or the states have it after its action; negative if
    before."""
    correlation: float
    """Mean over the episodes, at that lag."""
    correlation_at_zero: float
    episodes: int
    """How many were compared."""


class LagCount:
    """Collects the lags of episodes, each the correlations that `picture_lags` or `action_lags` found of it."""

    def __init__(self, name: str, steps_per_picture: int = 1):
        self._name = name
        self._steps_per_picture = steps_per_picture
        self._found: list[Float64[np.ndarray, " lags"]] = []

    def add(self, correlations: Float64[np.ndarray, " lags"] | None) -> None:
        """Count an episode in, unless it tells nothing."""
        if correlations is not None:
            self._found.append(correlations)

    def finding(self) -> LagFinding | None:
        """The lag, or None where it is not clear."""
        if len(self._found) < _FEWEST_EPISODES:
            return None
        table = np.array(self._found)
        mean, best = table.mean(0), int(table.mean(0).argmax())
        # A hand follows its action within some steps, so that only motion before its action has to stand out.
        rivals = mean[MAX_LAG:] if self._name == "action" else np.delete(mean, best)
        is_alone = mean[best] - rivals.max() >= CLEAR_MARGIN or (self._name == "action" and best >= MAX_LAG)
        if (
            not is_alone
            or mean[best] < CLEAR_CORRELATION
            or (table.argmax(1) == best).mean() < _AGREEING_SHARE
        ):
            return None
        return LagFinding(
            name=self._name,
            steps=(best - MAX_LAG) * self._steps_per_picture,
            correlation=float(mean[best]),
            correlation_at_zero=float(mean[MAX_LAG]),
            episodes=len(table),
        )


def picture_lags(
    state: Float[np.ndarray, "pictures state"], spec: Spec, changes: Float64[np.ndarray, " intervals"]
) -> Float64[np.ndarray, " lags"] | None:
    """How the motion of the states that belong to pictures goes with how much each picture differs from the one before.

    The hand's motion is that of its position, where the state has one, since an angle around an axis can turn over while
    the hand stands still; otherwise that of all numbers, each in units of its usual change.
    """
    places = _positions(spec.state) or list(range(len(spec.state)))
    moved = _log_changes(_speed(np.diff(state[: len(changes) + 1, places].astype(np.float64), axis=0)))
    seen = _log_changes(changes)
    return None if moved is None or seen is None else correlations(moved, seen)


def action_lags(
    state: Float[np.ndarray, "steps state"], action: Float[np.ndarray, "steps action"], spec: Spec
) -> Float64[np.ndarray, " lags"] | None:
    """How changes of the actions go with changes of the velocity of what they command, where both have the same numbers:
    the hand's position, or the angles of joints."""
    if spec.commands_joints:
        grippers = {spec.action[place] for place in spec.gripper_places}
        shared = [name for name in spec.action if name in spec.state and name not in grippers]
        columns = [[names.index(name) for name in shared] for names in (spec.state, spec.action)]
        asked = np.diff(action[:, columns[1]].astype(np.float64), axis=0)
    else:
        columns = [_positions(names) for names in (spec.state, spec.action)]
        asked = action[:-1, columns[1]].astype(np.float64)
    if not columns[0] or len(columns[0]) != len(columns[1]) or len(state) < _FEWEST_PICTURES:
        return None
    moved = np.diff(state[:, columns[0]].astype(np.float64), axis=0)
    return correlations(*(_scaled(np.diff(values, axis=0)) for values in (asked, moved)))


def correlations(
    first: Float64[np.ndarray, "intervals numbers"], second: Float64[np.ndarray, "intervals numbers"]
) -> Float64[np.ndarray, " lags"]:
    """Pearson's correlation at each lag from `-MAX_LAG` to `MAX_LAG`, over all numbers together.

    With `second` one interval later than `first`, 0 5 0 0 0 and 0 0 5 0 0, that of lag 1 is the greatest.
    """
    count, found = len(first), []
    here = first[
        MAX_LAG : count - MAX_LAG
    ]  # the same ones at each lag, so that no outlier leaves with the ends
    here = here - here.mean(0)
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        there = second[MAX_LAG + lag : count - MAX_LAG + lag]
        there = there - there.mean(0)
        size = np.sqrt((here**2).sum() * (there**2).sum())
        found.append((here * there).sum() / size if size else 0.0)
    return np.array(found)


def _log_changes(values: Float64[np.ndarray, " intervals"]) -> Float64[np.ndarray, "changes 1"] | None:
    """None for what never changes or is too short to tell."""
    if len(values) < _FEWEST_PICTURES:
        return None
    usual = np.quantile(values, 0.9)
    if usual <= 0 or np.ptp(values) < 1e-3 * usual:
        return None
    return np.diff(np.log(values / usual + _REST))[:, None]


def picture_grid(picture: UInt8[np.ndarray, "height width 3"]) -> Float64[np.ndarray, "rows columns 3"]:
    """Mean colors of blocks."""
    height, width = (max(side // _GRID, 1) for side in picture.shape[:2])
    rows, columns = picture.shape[0] // height, picture.shape[1] // width
    blocks = picture[: rows * height, : columns * width].reshape(rows, height, columns, width, 3)
    return blocks.mean((1, 3))


def _positions(names: Sequence[str]) -> list[int]:
    return [index for index, name in enumerate(names) if name.removeprefix("d") in ("x", "y", "z")]


def _speed(changes: Float64[np.ndarray, "intervals numbers"]) -> Float64[np.ndarray, " intervals"]:
    return np.sqrt((_scaled(changes) ** 2).mean(1)) if len(changes) else np.zeros(0)


def _scaled(values: Float64[np.ndarray, "intervals numbers"]) -> Float64[np.ndarray, "intervals numbers"]:
    """In units of a usual value, and no more than a few of them: a jump is one step, not all of an episode's motion."""
    usual = np.quantile(np.abs(values), 0.9, axis=0)
    return np.clip(np.divide(values, usual, out=np.zeros_like(values), where=usual > 1e-9), -3, 3)
