"""Data sets that are sound but for one thing, and what is found in them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from data_sets_to_inspect import STEPS, Change
from focusvla.data.episodes import Episode
from focusvla.data.memory import MemorySource
from focusvla_client import Spec


@pytest.fixture
def finger_spec(spec: Spec) -> Spec:
    """As `spec`, with how far the fingers are apart."""
    return replace(spec, state=("x", "y", "finger"))


@pytest.fixture
def make(finger_spec: Spec) -> Callable[..., MemorySource]:
    """Four sound episodes that circle at different speeds, close the gripper halfway and show noise, changed by
    `change(index, arrays)`."""

    def build(
        change: Change = lambda index, arrays: None,
        *,
        spec: Spec = finger_spec,
        kind: type[MemorySource] = MemorySource,
        instructions: Sequence[str] = ("push", "pull", "push", "push"),
    ) -> MemorySource:
        rng = np.random.default_rng(0)
        episodes, images = [], []
        for index in range(4):
            angle = np.arange(STEPS) / (8 + index)
            closed = np.arange(STEPS) >= STEPS // 2
            opening = 0.08 * np.clip(1.5 - np.arange(STEPS) / STEPS, 0, 1)
            arrays = {
                "state": np.stack([np.sin(angle), np.cos(angle), opening], 1).astype(np.float32),
                "action": np.stack(
                    [0.9 * np.cos(angle), -0.9 * np.sin(angle), np.where(closed, 1, -1)], 1
                ).astype(np.float32),
                **{
                    c.name: rng.integers(0, 256, (STEPS, c.height, c.width, 3), np.uint8)
                    for c in spec.cameras
                },
            }
            change(index, arrays)
            state, action = arrays.pop("state"), arrays.pop("action")
            images.append({name: frames[: len(action)] for name, frames in arrays.items()})
            episodes.append(Episode(index, state, action, instructions[index]))
        return kind(spec, episodes, images)

    return build
