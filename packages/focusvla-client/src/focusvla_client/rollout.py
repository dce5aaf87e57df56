"""The one episode loop.

Evaluation is `rollout` with a model, demonstration is `rollout` with an expert and a recording observer,
replay is `rollout` with a recorded policy. Where the policy is in another process, `episode` is the same loop
turned inside out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generator, Sequence

import numpy as np

from focusvla_client.policy import Environment, Observation, Policy


class Observer:
    """Watches an episode; every method may be left out."""

    def on_inference(self, observation: Observation, chunk: np.ndarray) -> None:
        """The policy answered `observation` with `chunk`, (steps, action)."""

    def on_action(self, environment: Environment, action: np.ndarray) -> None:
        """`action` is about to be applied; the environment still is in the state it was chosen for."""

    def on_end(self, environment: Environment, success: bool) -> None:
        """The episode is over."""


@dataclass(frozen=True)
class Rollout:
    """How an episode went."""

    success: bool
    steps: int
    """Actions applied."""
    inferences: int
    """Times the policy was asked."""


def rollout(
    environment: Environment,
    policy: Policy,
    start: Any,
    *,
    max_steps: int,
    actions_per_inference: int,
    stop_on_success: bool = True,
    observers: Sequence[Observer] = (),
) -> Rollout:
    """Play one episode from `start` with `policy`; see `episode`."""
    policy.reset()
    playing = episode(
        environment,
        policy.cameras,
        start,
        max_steps=max_steps,
        actions_per_inference=actions_per_inference,
        stop_on_success=stop_on_success,
        observers=observers,
    )
    try:
        observation = next(playing)
        while True:
            observation = playing.send(policy.infer(observation))
    except StopIteration as end:
        return end.value


def episode(
    environment: Environment,
    cameras: Sequence[str],
    start: Any,
    *,
    max_steps: int,
    actions_per_inference: int,
    stop_on_success: bool = True,
    observers: Sequence[Observer] = (),
) -> Generator[Observation, np.ndarray, Rollout]:
    """One episode from `start` that yields each observation, with images of `cameras`, and is sent a chunk of
    actions for it.

    The first `actions_per_inference` actions of each chunk are applied before the next observation. The
    episode ends at success (unless `stop_on_success` is false), after `max_steps` actions, or when it is sent
    an empty chunk; success is what the environment says at that moment.
    """
    environment.reset(start)
    steps = inferences = 0
    success = False
    while steps < max_steps:
        observation = environment.observe(cameras)
        chunk = yield observation
        if len(chunk) == 0:
            success = environment.success()
            break
        inferences += 1
        for observer in observers:
            observer.on_inference(observation, chunk)
        for action in chunk[: min(actions_per_inference, max_steps - steps)]:
            for observer in observers:
                observer.on_action(environment, action)
            environment.apply(action)
            steps += 1
            success = environment.success()
            if success and stop_on_success:
                break
        if success and stop_on_success:
            break
    for observer in observers:
        observer.on_end(environment, success)
    return Rollout(success=success, steps=steps, inferences=inferences)
