"""The one episode loop.

Evaluation is `rollout` with a model, demonstration is `rollout` with an expert and a recording observer,
replay is `rollout` with a recorded policy. Where the policy is in another process, `episode` is the same loop
turned inside out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generator, List, Optional, Sequence, Tuple

import numpy as np

from focusvla_client.chunks import ChunkPlayer, OpenLoopPlayer
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
    actions_per_inference: Optional[int] = None,
    player: Optional[ChunkPlayer] = None,
    latency_steps: int = 0,
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
        player=player,
        latency_steps=latency_steps,
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
    actions_per_inference: Optional[int] = None,
    player: Optional[ChunkPlayer] = None,
    latency_steps: int = 0,
    stop_on_success: bool = True,
    observers: Sequence[Observer] = (),
) -> Generator[Observation, np.ndarray, Rollout]:
    """One episode from `start` that yields each observation, with images of `cameras`, and is sent a chunk of
    actions for it.

    The first `actions_per_inference` actions of each chunk are applied before the next observation; or else `player`
    chooses each step's action. What is sent is played `latency_steps` control steps later, but for the first answer, for
    which the robot waits; meanwhile it does what is left of earlier answers or, where nothing is, holds still. The
    episode ends at success (unless `stop_on_success` is false), after `max_steps` actions, holding included, or when it
    is sent an empty chunk; success is what the environment says at that moment.

    Raises:
        ValueError: both `actions_per_inference` and a player are given, or neither.
    """
    if (actions_per_inference is None) == (player is None):
        raise ValueError(f"actions_per_inference={actions_per_inference}: expected either that or a player.")
    if player is None:
        player = OpenLoopPlayer(actions_per_inference or 0)
    environment.reset(start)
    player.reset()
    steps = inferences = 0
    success = False
    answers: List[
        Tuple[int, int, np.ndarray]
    ] = []  # at most one: when it is there, when it was asked for, and itself
    last: Optional[np.ndarray] = None
    while steps < max_steps:
        if not answers and player.wants_chunk(steps):
            observation = environment.observe(cameras)
            chunk = yield observation
            if len(chunk) == 0:
                success = environment.success()
                break
            inferences += 1
            for observer in observers:
                observer.on_inference(observation, chunk)
            answers.append((steps + latency_steps if last is not None else steps, steps, chunk))
        if answers and answers[0][0] <= steps:
            _, asked_at, chunk = answers.pop()
            player.add(chunk, asked_at)
        action = player.action(steps)
        if action is None:
            assert last is not None
            action = environment.spec.holding(last)
        for observer in observers:
            observer.on_action(environment, action)
        environment.apply(action)
        last = action
        steps += 1
        success = environment.success()
        if success and stop_on_success:
            break
    for observer in observers:
        observer.on_end(environment, success)
    return Rollout(success=success, steps=steps, inferences=inferences)
