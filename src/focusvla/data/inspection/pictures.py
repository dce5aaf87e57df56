"""What is on the pictures of a few episodes: nothing, one color, the same for long, or another camera's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, pairwise

import numpy as np
from jaxtyping import Float64, UInt8

from focusvla.data.episodes import EpisodeSource
from focusvla.data.inspection.lag import (
    LagCount,
    LagFinding,
    action_lags,
    picture_grid,
    picture_lags,
)
from focusvla.errors import DataError

BLACK_LEVEL = 16
"""A picture without a brighter value, of 255, is black; video stores black as up to this."""
UNIFORM_RANGE = 8
"""A picture whose values differ by no more, in each color, is of one color; a codec adds a few levels."""
SAME_DIFFERENCE = 0.1
"""Mean difference of gray levels up to which pictures are the same. A moving wrist camera has 10, a fixed one 1."""


@dataclass(frozen=True)
class CameraFinding:
    """One camera in the pictures that were looked at."""

    camera: str
    num_pictures: int
    mean_level: float
    """Of 0 to 255."""
    black_share: float
    """Of the pictures."""
    uniform_share: float
    """Of the pictures, those of one color, black ones included."""
    longest_still_share: float
    """The longest run of pictures that do not differ from the one before, as a share of its episode's."""
    longest_still_episode: int
    """Where that is."""
    same_as: str
    """Another camera whose pictures are all the same as this one's; empty if there is none."""


class _CameraCount:
    """What has been counted of one camera so far."""

    def __init__(self, name: str):
        self.name = name
        self.num_pictures = self.black = self.uniform = 0
        self.levels = 0.0
        self.longest_still = (0.0, 0)
        self._last: UInt8[np.ndarray, "height width 3"] | None = None
        self._grids: list[np.ndarray] = []
        self._run = self._longest_run = self._in_episode = 0

    def add(self, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Look at the next picture of the episode."""
        darkest, brightest = picture.min((0, 1)), picture.max((0, 1))
        self.num_pictures += 1
        self.levels += float(picture.mean())
        self.black += bool(brightest.max() <= BLACK_LEVEL)
        self.uniform += bool((brightest.astype(int) - darkest <= UNIFORM_RANGE).all())
        self._run = self._run + 1 if self._last is not None and is_same(self._last, picture) else 0
        self._longest_run = max(self._longest_run, self._run)
        self._in_episode += 1
        self._last = picture.copy()
        self._grids.append(picture_grid(picture))

    def changes(self) -> Float64[np.ndarray, " intervals"]:
        """How much each picture of the episode differs from the one before it."""
        return np.array([np.abs(b - a).mean() for a, b in pairwise(self._grids)])

    def end_episode(self, episode: int) -> None:
        """Begin anew with the next one."""
        still = self._longest_run / max(self._in_episode - 1, 1)
        self.longest_still = max(self.longest_still, (still, episode), key=lambda found: found[0])
        self._last = None
        self._grids = []
        self._run = self._longest_run = self._in_episode = 0

    def finding(self, same_as: str) -> CameraFinding:
        """What it comes to."""
        pictures = max(self.num_pictures, 1)
        return CameraFinding(
            camera=self.name,
            num_pictures=self.num_pictures,
            mean_level=self.levels / pictures,
            black_share=self.black / pictures,
            uniform_share=self.uniform / pictures,
            longest_still_share=self.longest_still[0],
            longest_still_episode=self.longest_still[1],
            same_as=same_as,
        )


def inspect_pictures(
    source: EpisodeSource, episodes: Sequence[int], on_progress: Callable[[int], None] = lambda done: None
) -> tuple[tuple[CameraFinding, ...], tuple[LagFinding, ...], tuple[str, ...]]:
    """Findings for each camera over every new picture of `episodes`, the lags of cameras and actions that are clear, and
    what kept pictures from being read.

    `on_progress` is told how many episodes have been looked at.
    """
    cameras = [camera.name for camera in source.spec.cameras]
    counts = [_CameraCount(name) for name in cameras]
    lags = [LagCount(name, source.steps_per_picture) for name in cameras]
    actions = LagCount("action")
    same = set(combinations(range(len(cameras)), 2))
    errors = []
    for done, episode in enumerate(episodes):
        numbers = source.episode(episode)
        wanted, found = len(range(0, len(numbers), source.steps_per_picture)), 0
        actions.add(action_lags(numbers.state, numbers.action, source.spec))
        try:
            streams = [source.frames(episode, name) for name in cameras]
            for pictures in islice(zip(*streams, strict=False), 0, None, source.steps_per_picture):
                for count, picture in zip(counts, pictures, strict=True):
                    count.add(picture)
                same = {(i, k) for i, k in same if is_same(pictures[i], pictures[k])}
                found += 1
            if found < wanted:
                errors.append(
                    f"episode {episode}: expected {wanted} pictures of each camera, got {found}. "
                    "Restore the data set from its source."
                )
        except DataError as error:
            errors.append(str(error))
        seen = numbers.state[:: source.steps_per_picture]
        for count, lag in zip(counts, lags, strict=True):
            lag.add(picture_lags(seen, source.spec, count.changes()))
            count.end_episode(episode)
        on_progress(done + 1)
    if not counts[0].num_pictures:
        same.clear()
    twins = {index: cameras[other] for pair in sorted(same) for index, other in (pair, pair[::-1])}
    return (
        tuple(count.finding(twins.get(index, "")) for index, count in enumerate(counts)),
        tuple(clear for lag in (*lags, actions) if (clear := lag.finding())),
        tuple(errors),
    )


def is_same(first: UInt8[np.ndarray, "..."], second: UInt8[np.ndarray, "..."]) -> bool:
    """Whether two pictures show the same, up to what a codec changes."""
    if first.shape != second.shape:
        return False
    return float(np.abs(first.astype(np.int16) - second).mean()) <= SAME_DIFFERENCE
