"""Policies for the small world of `tests/reach` that need no training: they look for the disc's color."""

from collections.abc import Sequence

import numpy as np
from reach.environment import COLORS, FULL_COMMAND
from reach.suite import reach_spec

from focusvla.evaluation.episodes import PolicyTraits, Question
from focusvla.evaluation.identity import PolicyIdentity

PIXELS = 32


class SeeingPolicy:
    """Goes to the disc, one cautious step after the other, where `wanted` holds of it; elsewhere it stands still."""

    def __init__(self, wanted: str):
        """`wanted`: all, none, or left, which is of the discs on the left half of the table."""
        self._wanted = wanted

    def traits(self) -> PolicyTraits:
        return PolicyTraits(
            reach_spec(PIXELS), ("image",), 4, PolicyIdentity(weights=f"seeing-{self._wanted}")
        )

    def infer(self, questions: Sequence[Question]) -> list[np.ndarray]:
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> np.ndarray:
        image, hand = question.observation.images["image"], question.observation.state
        color = COLORS[question.observation.instruction.split()[-2]]
        rows, columns = np.nonzero((image == color).all(axis=-1))
        still = np.zeros((4, 2), np.float32)
        if self._wanted == "none" or not len(rows):
            return still
        disc = (np.array([columns.mean(), rows.mean()]) + 0.5) / PIXELS
        if self._wanted == "left" and disc[0] > 0.5:
            return still
        action = np.clip((disc - hand) / FULL_COMMAND / 4, -0.5, 0.5)
        return np.tile(action, (4, 1)).astype(np.float32)
