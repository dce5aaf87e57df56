"""How fast an evaluation goes, and what it waits for."""

import time
from collections import Counter
from typing import Any

from focusvla.evaluation.results import EpisodeResult


class Pace:
    """Of the episodes that were played since it was made."""

    def __init__(self):
        self._began = time.monotonic()
        self._num_episodes = 0
        self._seconds: Counter[str] = Counter()

    def add(self, result: EpisodeResult) -> None:
        """Count an episode that has ended."""
        self._num_episodes += 1
        self._seconds.update(result.seconds_by_activity)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: `episodes_per_minute`, and the sums over episodes of `seconds_by_activity`."""
        minutes = (time.monotonic() - self._began) / 60
        return {
            "episodes_per_minute": round(self._num_episodes / max(minutes, 1e-9), 2),
            "seconds_by_activity": {name: round(value, 2) for name, value in self._seconds.most_common()},
        }

    def __str__(self) -> str:
        if not self._num_episodes:
            return ""
        total = sum(self._seconds.values()) or 1.0
        shares = ", ".join(
            f"{name} {100 * value / total:.0f} %" for name, value in self._seconds.most_common()
        )
        rate = self.to_dict()["episodes_per_minute"]
        return f"{rate:.1f} a minute" + (f": {shares}" if shares else "")
