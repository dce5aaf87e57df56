"""One attempt at a correction, in a worker process: a policy plays from a fresh start, then the scripted expert goes on.

The policy sees what it sees in evaluation. What is recorded is the expert's part alone, in the data set's own pictures.
"""

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from focusvla.config import CorrectionConfig
from focusvla.data.shards import read_shard
from focusvla.demonstrations.noise import NoisyEnvironment
from focusvla.demonstrations.recording import attempt_metadata, draw_attempt, episode_folder, write_recording
from focusvla.demonstrations.scripted import scripted_expert
from focusvla.errors import ConfigurationError
from focusvla.evaluation.episodes import PlannedEpisode, Question
from focusvla.evaluation.policies import PolicySource
from focusvla.evaluation.presentation import drawn_size, presented
from focusvla.simulation.environment import SimulatedEnvironment, environments_of
from focusvla.simulation.trajectory import TrajectoryRecorder
from focusvla.suites import Protocol, Start
from focusvla_client import Environment, Observation, Policy, Rollout, Spec, rollout

_STREAM = 7
"""Of random numbers, beside those that demonstrations draw: with the same seed their starts are others."""

NO_START, NO_PLAN, OUT_OF_STEPS, UNSOLVED = (
    "no free start",
    "could not plan from there",
    "ran out of steps",
    "ended unsolved",
)
"""Why an attempt gave no episode that the policy had left to the expert."""


@dataclass(frozen=True)
class Player:
    """The policy, and how it plays."""

    source: PolicySource
    identity: str
    rules: Protocol
    actions_per_inference: int


@dataclass(frozen=True)
class Correction:
    """What became of one attempt."""

    task: int
    number: int
    outcome: Literal["kept", "solved", "failed"]
    """`solved`: by the policy, before the expert took over."""
    takeover: int
    """Control steps that the policy played."""
    steps: int
    """Control steps that the expert played."""
    solves: bool | None
    """Whether the policy solves the task from this start when it plays on to the end; None if it was not let."""
    reason: str = ""
    """Why the expert's part was not kept."""
    detail: str = ""
    """What was raised."""
    seconds: float = 0.0


def kept_before(metadata: dict[str, Any], steps: int) -> Correction:
    """The attempt whose episode lies there already."""
    task, number, takeover = (metadata[name] for name in ("task", "attempt", "takeover"))
    return Correction(task, number, "kept", takeover, steps, metadata["policy_solves"])


def attempt(
    config: CorrectionConfig, player: Player, task: int, number: int, episodes: Path, plays_on: bool
) -> Correction:
    """Simulate one attempt with `config` that is complete and, if the expert succeeds, draw and publish its part. With
    `plays_on` it is also found out what the policy would have come to alone."""
    folder = episode_folder(episodes, config.suite, task, number)
    if folder.exists():  # by a process that was killed right after
        shard = read_shard(folder)
        return kept_before(dict(shard.metadata), shard.length)
    began = time.monotonic()
    made = _attempt(config, player, task, number, folder, plays_on)
    return replace(made, seconds=round(time.monotonic() - began, 3))


def _attempt(
    config: CorrectionConfig, player: Player, task: int, number: int, folder: Path, plays_on: bool
) -> Correction:
    policy = _Asked(player.source, PlannedEpisode(config.suite, task, number))
    looks = (drawn_size(player.rules, policy.spec), 0.0), (config.image_size, config.mesh_cell_meters)
    environment, drawing = environments_of(config.suite, task, looks)
    seen = _GoingOn(presented(environment, player.rules, policy.spec))
    rng = np.random.default_rng([config.seed, task, number, _STREAM])
    sigma, start = draw_attempt(config, number, rng)
    takeover = int(rng.integers(config.policy_steps[0], config.policy_steps[1] + 1))

    def play(steps: int) -> Rollout:
        environment.reset(start)
        return rollout(
            seen, policy, start, max_steps=steps, actions_per_inference=player.actions_per_inference
        )

    try:
        environment.reset(start)
    except ConfigurationError as error:  # no free place for the target from this seed
        return Correction(task, number, "failed", 0, 0, None, NO_START, str(error))
    solves = play(player.rules.max_steps_of(config.suite)).success if plays_on else None
    played = play(takeover)
    if played.success:
        return Correction(task, number, "solved", played.steps, 0, solves=True)

    expert, recorder = _Expert(environment), TrajectoryRecorder(environment)
    going_on = NoisyEnvironment(_GoingOn(environment), sigma, config.pushes, rng)
    result = rollout(
        going_on,
        expert,
        start,
        max_steps=config.max_steps,
        actions_per_inference=1,
        stop_on_success=False,
        observers=[recorder],
    )
    reason = _reason(expert, result, config.max_steps)
    if reason:
        return Correction(task, number, "failed", played.steps, result.steps, solves, reason, expert.failure)
    if drawing is not environment:
        drawing.reset(start)  # which places fixtures
    write_recording(
        folder,
        recorder,
        result.steps,
        drawing,
        config.steps_per_picture,
        metadata={
            **attempt_metadata(config, task, number, sigma, start),
            "policy": player.identity,
            "takeover": played.steps,
            "policy_solves": solves,
        },
    )
    return Correction(task, number, "kept", played.steps, result.steps, solves)


def _reason(expert: "_Expert", result: Rollout, max_steps: int) -> str:
    """Why the expert's part is not kept; empty if it is."""
    if expert.failure:
        return NO_PLAN
    if result.steps == max_steps:
        return OUT_OF_STEPS
    return "" if result.success and result.steps else UNSOLVED


_loaded: dict[str, Any] = {}
"""This process's one policy, by what it was made from."""


class _Asked:
    """A policy that answers the questions of one episode."""

    def __init__(self, source: PolicySource, episode: PlannedEpisode):
        made_from = repr(source)
        if made_from not in _loaded:
            _loaded.clear()
            _loaded[made_from] = source.factory(*source.arguments)
        self._policy, self._episode = _loaded[made_from], episode
        traits = self._policy.traits()
        self.spec: Spec = traits.spec
        self.cameras: Sequence[str] = traits.cameras
        self.num_questions = 0

    def reset(self) -> None:
        """Begin anew."""
        self.num_questions = 0

    def infer(self, observation: Observation) -> np.ndarray:
        """The next chunk."""
        question = Question(self._episode, self.num_questions, observation)
        self.num_questions += 1
        return self._policy.infer([question])[0]


class _GoingOn:
    """An environment whose episode begins where it is."""

    def __init__(self, environment: Environment):
        self._environment = environment

    @property
    def spec(self) -> Spec:
        return self._environment.spec

    def reset(self, start: Start) -> None:
        pass

    def observe(self, cameras: Sequence[str]) -> Observation:
        return self._environment.observe(cameras)

    def apply(self, action: np.ndarray) -> None:
        self._environment.apply(action)

    def success(self) -> bool:
        return self._environment.success()


class _Expert:
    """The scripted expert, which ends the episode where its script has nothing to say to what it finds."""

    cameras: Sequence[str] = ()

    def __init__(self, environment: SimulatedEnvironment):
        self._environment = environment
        self.failure = ""
        """Traceback of what the script raised."""

    def reset(self) -> None:
        """Read the scene anew."""
        self._script: Policy | None = None

    def infer(self, observation: Observation) -> np.ndarray:
        """The script's next action, or none at its end."""
        try:
            if self._script is None:
                self._script = scripted_expert(self._environment)
                self._script.reset()
            return self._script.infer(observation)
        except Exception:  # noqa: BLE001 - a state that no script was written for must not end a recording
            self.failure = traceback.format_exc()
            return np.zeros((0, len(self._environment.spec.action)), np.float32)
