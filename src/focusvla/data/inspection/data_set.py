"""What a data set holds, measured: numbers, episodes, pictures. `problems.py` judges it.

Numbers and words are of every step, by the measuring that training does as well; pictures are of a few episodes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from focusvla.data.episodes import EpisodeSource
from focusvla.data.fingerprint import Fingerprint, fingerprint_of
from focusvla.data.inspection.lag import LagFinding
from focusvla.data.inspection.numbers import Numbers, measure_numbers
from focusvla.data.inspection.pictures import CameraFinding, inspect_pictures
from focusvla.data.normalization import Statistics, untouched_dimensions
from focusvla.data.samples import split_parts
from focusvla.data.verification import require_pictures
from focusvla.errors import ConfigurationError, DataError

_Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Lengths:
    """Control steps of episodes."""

    shortest: int
    shortest_episode: int
    median: float
    longest: int
    longest_episode: int
    too_short: tuple[int, ...]
    """Episodes with fewer steps than a chunk."""


@dataclass(frozen=True)
class Inspection(Numbers):
    """Everything that was measured."""

    steps_per_picture: int
    fingerprint: Fingerprint
    """By which two people can tell whether they have the same data."""
    training_errors: tuple[str, ...]
    """Why it cannot be trained on: its statistics, its spec's gripper, or too few episodes; empty if it can."""
    chunk_length: int
    lengths: Lengths
    pictured_episodes: tuple[int, ...]
    """Those whose pictures were looked at."""
    cameras: tuple[CameraFinding, ...]
    lags: tuple[LagFinding, ...]
    """Between motion in the pictures and in the numbers, of each camera that tells."""
    picture_errors: tuple[str, ...]
    """What kept pictures from being read."""


def inspect_source(
    source: EpisodeSource,
    *,
    chunk_length: int,
    validation_share: float = 0.0,
    num_pictured: int = 4,
    on_progress: _Progress = lambda done, total: None,
) -> Inspection:
    """Measure a data set for a training with these chunks that holds out that share of the episodes.

    Pictures are those of `num_pictured` episodes, evenly spread. `on_progress` is told finished and all readings of an
    episode.

    Raises:
        DataError: an episode's numbers are damaged or not finite.
    """
    pictured = spread(source.num_episodes, num_pictured)
    total = 2 * source.num_episodes + len(pictured)
    statistics, errors = _training_inputs(source, validation_share)
    numbers = measure_numbers(source, statistics, lambda done: on_progress(done, total))
    lengths = np.array([len(source.episode(index)) for index in range(source.num_episodes)])
    cameras, lags, picture_errors = inspect_pictures(
        source, pictured, lambda done: on_progress(2 * source.num_episodes + done, total)
    )
    try:
        require_pictures(source)
    except DataError as error:
        picture_errors = tuple(dict.fromkeys([*picture_errors, str(error)]))
    return Inspection(
        **vars(numbers),
        steps_per_picture=source.steps_per_picture,
        fingerprint=fingerprint_of(source),
        training_errors=tuple(errors),
        chunk_length=chunk_length,
        lengths=_lengths(lengths, chunk_length),
        pictured_episodes=tuple(pictured),
        cameras=cameras,
        lags=lags,
        picture_errors=picture_errors,
    )


def spread(total: int, wanted: int) -> list[int]:
    """At most `wanted` of 0 .. total - 1, evenly spread from the first to the last: of 9, three are 0, 4 and 8."""
    return np.unique(np.linspace(0, total - 1, wanted).round().astype(int)).tolist()


def _training_inputs(source: EpisodeSource, validation_share: float) -> tuple[Statistics | None, list[str]]:
    """The statistics that the data set gives to training, and why a training could not begin: those, the gripper, the
    division into episodes to learn from and held out ones."""
    statistics, errors = None, []
    try:
        statistics = source.statistics()
        statistics.require_fitting(source.spec)
    except DataError as error:
        statistics = None
        errors.append(str(error))
    for requirement in (
        lambda: untouched_dimensions(source.spec),
        lambda: split_parts(source, validation_share, seed=0),
    ):
        try:
            requirement()
        except (ConfigurationError, DataError) as error:
            errors.append(str(error))
    return statistics, errors


def _lengths(lengths: np.ndarray, chunk_length: int) -> Lengths:
    return Lengths(
        shortest=int(lengths.min()),
        shortest_episode=int(lengths.argmin()),
        median=float(np.median(lengths)),
        longest=int(lengths.max()),
        longest_episode=int(lengths.argmax()),
        too_short=tuple(np.flatnonzero(lengths < chunk_length).tolist()),
    )
