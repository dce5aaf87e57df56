"""What others reached, as a paper prints it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["multi-weights", "single-weight"]
"""Whether each suite has a policy of its own, or all have one."""


@dataclass(frozen=True)
class PublishedRow:
    """A method's row of a table by suite."""

    parameters: str
    percent: tuple[float, ...]
    """In the order of `PublishedScores.titles`."""
    average: float
    """As printed, which need not be the mean of the others."""


@dataclass(frozen=True, kw_only=True)
class PublishedScores:
    """The tables of a benchmark, in percent."""

    protocol: str
    """The protocol of these numbers; no other is set beside them."""
    titles: Mapping[str, str]
    """What a table calls each suite, in its order."""
    by_preset: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By suite, each with a policy of its own (FocusVLA's Table 2)."""
    by_method: Mapping[Kind, Mapping[str, PublishedRow]] = field(default_factory=dict)
    """By suite (FocusVLA's Table 1)."""
    methods: Mapping[str, str] = field(default_factory=dict)
    """The rows of `by_method` that presets are."""
    by_task: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    """By method and suite, of a policy a suite, task by task (FocusVLA's Table 4)."""
