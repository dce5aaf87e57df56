"""How chunks of actions become one action for each control step.

A policy answers an observation made at step `asked_at` with a chunk whose action `i` is meant for step `asked_at + i`,
and the answer comes some steps later. Open loop, overlapped and temporally ensembled playing are three ways to live with
that, and blended playing rounds the seams of overlapped; each is a `ChunkPlayer`. They do not ask: whoever counts the
steps does, so a player needs no thread and no clock.
"""

from __future__ import annotations

import math
from typing import List, Optional, Protocol, Sequence, Tuple, runtime_checkable

import numpy as np


@runtime_checkable
class ChunkPlayer(Protocol):
    """Chooses the action of each control step from the chunks that have come."""

    def reset(self) -> None:
        """Forget all chunks."""
        ...

    def wants_chunk(self, step: int) -> bool:
        """Whether the policy should be asked at `step`, if no answer of it is outstanding."""
        ...

    def add(self, chunk: np.ndarray, asked_at: int) -> None:
        """Take a chunk, (steps, action), that answers the observation of step `asked_at`."""
        ...

    def action(self, step: int) -> Optional[np.ndarray]:
        """The action, (action,), for `step`, or None if there is none. Asked once a step, with growing steps."""
        ...


class OpenLoopPlayer:
    """Plays `num_actions` of a chunk from its first on, then asks, and has no action until the answer is there.

    Nothing is skipped, however late an answer comes. With `num_actions=2`, A asked at step 0 and B at step 4, each
    answered two steps later:

        step     0   1   2   3   4   5   6   7
        asks     A               B
        plays            A0  A1          B0  B1
    """

    def __init__(self, num_actions: int):
        self._num_actions = _positive("num_actions", num_actions)
        self.reset()

    def reset(self) -> None:
        """Forget the chunk that is played."""
        self._left: List[np.ndarray] = []

    def wants_chunk(self, step: int) -> bool:
        """Whether all is played."""
        return not self._left

    def add(self, chunk: np.ndarray, asked_at: int) -> None:
        """Play the first `num_actions` of `chunk` next."""
        self._left = list(chunk[: self._num_actions])

    def action(self, step: int) -> Optional[np.ndarray]:
        """The next action that was not played."""
        return self._left.pop(0) if self._left else None


class OverlappedPlayer:
    """Asks for the next chunk while one is played, `num_steps` after it asked for that one.

    When the answer comes, its actions for steps already past are dropped, so that the robot does not do again what it has
    done; until it comes the old chunk goes on, as long as it has actions. With `num_steps=3`, chunks of 6 and answers two
    steps after the question:

        step     0   1   2   3   4   5   6   7   8
        asks     A           B           C
        plays            A2  A3  A4  B2  B3  B4  C2
    """

    def __init__(self, num_steps: int):
        self._num_steps = _positive("num_steps", num_steps)
        self.reset()

    def reset(self) -> None:
        """Forget the chunk that is played."""
        self._chunk: Optional[np.ndarray] = None
        self._asked_at = 0

    def wants_chunk(self, step: int) -> bool:
        """Whether the chunk that is played was asked for `num_steps` ago or more."""
        return self._chunk is None or step - self._asked_at >= self._num_steps

    def add(self, chunk: np.ndarray, asked_at: int) -> None:
        """Go over to `chunk`."""
        self._chunk, self._asked_at = chunk, asked_at

    def action(self, step: int) -> Optional[np.ndarray]:
        """The newest chunk's action for `step`."""
        if self._chunk is None or step >= self._asked_at + len(self._chunk):
            return None
        return self._chunk[step - self._asked_at]


class BlendedPlayer(OverlappedPlayer):
    """As `OverlappedPlayer`, but goes over to a new chunk in `blend_steps` steps: the old one's share falls evenly.

    With `num_steps=3`, `blend_steps=2`, chunks of 8 and answers two steps after the question:

        step     0   1   2   3   4   5                6                7   8
        asks     A           B                        C
        plays            A2  A3  A4  (2 A5 + B5) / 3  (A6 + 2 B6) / 3  B7  (2 B8 + C8) / 3

    Where the old chunk ends sooner, so does the blending. A mean of two plans is no plan: where they pass an obstacle on
    either side, it does not. Real-time chunking (Black et al. 2025, arXiv:2506.07339) has a diffusion policy draw a chunk
    that agrees with what is played while it thinks; a policy that answers one chunk to one observation cannot.

    Args:
        num_steps: steps from one question to the next, 1 or more.
        blend_steps: steps in which both chunks have a say, 0 or more; 0 is an `OverlappedPlayer`.
        never_averaged: places in an action that the newest chunk alone decides, such as `Spec.gripper_places`.
    """

    def __init__(self, num_steps: int, blend_steps: int, never_averaged: Sequence[int] = ()):
        if blend_steps < 0:
            raise ValueError(f"blend_steps={blend_steps}: expected 0 or more.")
        self._blend_steps = blend_steps
        self._never_averaged = list(never_averaged)
        super().__init__(num_steps)

    def reset(self) -> None:
        """Forget all chunks."""
        super().reset()
        self._old: Optional[Tuple[int, np.ndarray]] = None

    def add(self, chunk: np.ndarray, asked_at: int) -> None:
        """Go over to `chunk` from the next step on."""
        if self._chunk is not None and self._old is None:  # of two that come in one step the later counts
            self._old = self._asked_at, self._chunk
        super().add(chunk, asked_at)

    def action(self, step: int) -> Optional[np.ndarray]:
        """The chunks' action for `step`."""
        if self._old is not None and self._chunk is not None:
            self._chunk = self._blended(step, self._chunk, *self._old)
            self._old = None
        return super().action(step)

    def _blended(self, step: int, new: np.ndarray, old_asked_at: int, old: np.ndarray) -> np.ndarray:
        """`new` with a share of `old` from `step` on."""
        ends = min(self._asked_at + len(new), old_asked_at + len(old), step + self._blend_steps)
        if ends <= step:
            return new
        share = np.arange(1, ends - step + 1, dtype=new.dtype)[:, None] / (ends - step + 1)
        mine = slice(step - self._asked_at, ends - self._asked_at)
        blended = new.copy()
        blended[mine] = share * new[mine] + (1 - share) * old[step - old_asked_at : ends - old_asked_at]
        blended[:, self._never_averaged] = new[:, self._never_averaged]
        return blended


class EnsemblingPlayer:
    """Averages what all chunks say about a step: temporal ensembling, as in ACT (Zhao et al. 2023).

    The oldest prediction has weight 1, the i-th after it `exp(-decay * i)`, and weights are divided by their sum: a
    larger `decay` trusts old predictions more. Here `decay` is the logarithm of 2 and no answer is late:

        step              0    1                  2
        chunk A says      A0   A1                 A2
        chunk B says           B0                 B1
        chunk C says                              C0
        plays             A0   (2 A1 + B0) / 3    (4 A2 + 2 B1 + C0) / 7

    Only numbers that may be averaged should be: half-open is what becomes of open and closed.

    Args:
        decay: ACT's m, 0 or more; 0 is the plain average.
        num_steps: steps from one question to the next, 1 or more.
        never_averaged: places in an action that the newest chunk alone decides, such as `Spec.gripper_places`.
    """

    def __init__(self, decay: float = 0.01, num_steps: int = 1, never_averaged: Sequence[int] = ()):
        if not 0 <= decay < math.inf:
            raise ValueError(f"decay={decay}: expected 0 or more.")
        self._decay = decay
        self._never_averaged = list(never_averaged)
        self._num_steps = _positive("num_steps", num_steps)
        self.reset()

    def reset(self) -> None:
        """Forget all chunks."""
        self._chunks: List[Tuple[int, np.ndarray]] = []

    def wants_chunk(self, step: int) -> bool:
        """Whether the newest chunk was asked for `num_steps` ago or more."""
        return not self._chunks or step - self._chunks[-1][0] >= self._num_steps

    def add(self, chunk: np.ndarray, asked_at: int) -> None:
        """Let `chunk` have its say."""
        self._chunks.append((asked_at, chunk))

    def action(self, step: int) -> Optional[np.ndarray]:
        """The weighted average of all predictions for `step`."""
        self._chunks = [(asked_at, chunk) for asked_at, chunk in self._chunks if step < asked_at + len(chunk)]
        if not self._chunks:
            return None
        predictions = np.stack([chunk[step - asked_at] for asked_at, chunk in self._chunks])
        weights = np.exp(-self._decay * np.arange(len(predictions)))
        averaged = (weights @ predictions / weights.sum()).astype(predictions.dtype)
        averaged[self._never_averaged] = predictions[-1, self._never_averaged]
        return averaged


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name}={value}: expected 1 or more.")
    return value
