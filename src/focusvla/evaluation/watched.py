"""What a player notes of an environment while it plays: where its time goes, and the pictures that it draws."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from focusvla_client import Observation

Activity = Literal["building", "simulating", "drawing", "answering"]
"""What an episode waits for: its environment, physics, pictures, or the policy and those before it in its queue."""


@dataclass
class Stopwatch:
    """Seconds by activity."""

    seconds: dict[Activity, float] = field(default_factory=dict)

    @contextmanager
    def times(self, activity: Activity) -> Generator[None]:
        """Add what the block takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(activity, time.perf_counter() - began)

    def add(self, activity: Activity, seconds: float) -> None:
        """Add to one activity."""
        self.seconds[activity] = self.seconds.get(activity, 0.0) + seconds


class Watched:
    """An environment of which a stopwatch is kept."""

    def __init__(self, environment: Any, stopwatch: Stopwatch):
        self._environment = environment
        self._stopwatch = stopwatch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def reset(self, start: Any) -> None:
        """As the environment's."""
        with self._stopwatch.times("simulating"):
            self._environment.reset(start)

    def apply(self, action: np.ndarray) -> None:
        """As the environment's."""
        with self._stopwatch.times("simulating"):
            self._environment.apply(action)

    def observe(self, cameras: Sequence[str]) -> Observation:
        """As the environment's."""
        with self._stopwatch.times("drawing" if cameras else "simulating"):
            return self._environment.observe(cameras)


Pictures = dict[str, np.ndarray]
"""By camera, (height, width, 3) uint8."""


class KeptPictures:
    """Pictures of the episodes of one task that may be shown: of the earliest success and of the earliest failure."""

    def __init__(self):
        self._task: Any = None
        self._kept: dict[bool, tuple[int, dict[int, Pictures]]] = {}

    def keep(self, task: Any, trial: int, success: bool, pictures: dict[int, Pictures]) -> None:
        """`pictures` of a trial by the number of actions before them. Those of another task are forgotten."""
        if task != self._task:
            self._task, self._kept = task, {}
        if success not in self._kept or trial < self._kept[success][0]:
            self._kept[success] = trial, pictures

    def shown(
        self, task: Any, trial: int, steps: Sequence[int], draw: Callable[[int], Pictures]
    ) -> list[Pictures]:
        """Those of a trial after so many actions each; what was not kept is drawn."""
        found: dict[int, Pictures] = {}
        if task == self._task:
            found = next((kept for number, kept in self._kept.values() if number == trial), {})
        return [found[step] if step in found else draw(step) for step in steps]
