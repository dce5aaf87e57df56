"""What acts and what is acted on.

Everything that acts is a `Policy`: a trained model, a websocket client, a scripted expert, a replay.
Everything that is acted on is an `Environment`: a simulator or a robot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Protocol, Sequence, runtime_checkable

import numpy as np

from focusvla_client.spec import Spec


@dataclass(frozen=True)
class Observation:
    """What a policy sees at one moment."""

    images: Mapping[str, np.ndarray]
    """Camera name to (height, width, 3) uint8 RGB, oriented as the spec's `image_orientation` says."""
    state: np.ndarray
    """(state,) float32 proprioception in physical units, laid out as the spec's `state` names it."""
    instruction: str
    """The task in words."""


@runtime_checkable
class Policy(Protocol):
    """Anything that turns observations into actions."""

    @property
    def cameras(self) -> Sequence[str]:
        """The cameras it looks through. An environment renders these and no others, so blind policies cost
        nothing."""
        ...

    def reset(self) -> None:
        """Forget the previous episode."""
        ...

    def infer(self, observation: Observation) -> np.ndarray:
        """The next actions, (steps, action) float32 in physical units. An empty chunk ends the episode."""
        ...


@runtime_checkable
class Environment(Protocol):
    """Anything a policy can act in. Images are made in `observe` only, never in `apply`."""

    @property
    def spec(self) -> Spec:
        """The conventions of its observations and actions."""
        ...

    def reset(self, start: Any) -> None:
        """Begin an episode at `start`, a value whose type the environment defines."""
        ...

    def observe(self, cameras: Sequence[str]) -> Observation:
        """The present observation, with images of `cameras` only."""
        ...

    def apply(self, action: np.ndarray) -> None:
        """Carry out one action, (action,) in physical units, for one control period."""
        ...

    def success(self) -> bool:
        """Whether the task is accomplished at this moment."""
        ...
