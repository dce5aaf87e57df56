"""Two policies on the same starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from focusvla.errors import ConfigurationError
from focusvla.evaluation.results import EpisodeResult
from focusvla.evaluation.tables import require_one_protocol


@dataclass(frozen=True)
class MatchedOutcomes:
    """Two policies on the same episodes."""

    both: int
    """Episodes that both solved."""
    only_first: int
    only_second: int
    neither: int

    @property
    def p_value(self) -> float:
        """Of the exact two-sided McNemar test: how often a fair coin would favor one policy as much as the episodes that
        only one of them solved. 1 against 6 gives 0.125."""
        from scipy.stats import binomtest

        discordant = self.only_first + self.only_second
        return float(binomtest(self.only_first, discordant).pvalue) if discordant else 1.0

    def __str__(self) -> str:
        episodes = self.both + self.only_first + self.only_second + self.neither
        verdict = "a difference" if self.p_value < 0.05 else "within chance: no difference can be claimed"
        return (
            f"{episodes} matched episodes: both {self.both}, only the first {self.only_first}, only the second "
            f"{self.only_second}, neither {self.neither}; exact McNemar p = {self.p_value:.3g}, {verdict}"
        )


def match_outcomes(first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]) -> MatchedOutcomes:
    """Match episodes by suite, task, trial and seed, and count who solved which.

    Raises:
        ConfigurationError: different protocols, or no episode in common.
    """
    require_one_protocol({"the first": first, "the second": second})
    outcomes = [
        {
            (r.suite, r.condition, r.words, r.perturbation, r.task, r.trial, r.seed): r.success
            for r in results
            if not r.error
        }
        for results in (first, second)
    ]
    shared = outcomes[0].keys() & outcomes[1].keys()
    if not shared:
        raise ConfigurationError(
            "results: expected unbroken episodes with the same suite, task, trial and seed, got none in common. "
            "Evaluate both policies on the same tasks."
        )
    pairs = [(outcomes[0][key], outcomes[1][key]) for key in shared]
    return MatchedOutcomes(
        both=pairs.count((True, True)),
        only_first=pairs.count((True, False)),
        only_second=pairs.count((False, True)),
        neither=pairs.count((False, False)),
    )
