"""Short episodes of LIBERO by focusvla's evaluation, to be held against the same of other harnesses."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from focusvla.evaluation.episodes import EpisodePlayer, PlannedEpisode, PlayedEpisode, PolicyTraits, Setting
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.simulation.environment import only_environment
from focusvla.simulation.libero import CAMERAS
from focusvla.suites import Protocol, Start
from focusvla.suites.libero import libero_spec
from focusvla_client import Observer, rollout

TASKS = [("libero_goal", 0), ("libero_spatial", 4), ("libero_10", 3), ("libero_object", 0)]
TRIALS = (3, 0, 1)
"""In the order in which focusvla is asked for them."""


@dataclass
class Episode:
    """What a policy saw whenever it was asked, and how it went."""

    success: bool = False
    steps: int = 0
    images: list[dict[str, np.ndarray]] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)
    fixtures: dict[str, list[float]] = field(default_factory=dict)
    """Position and orientation of each."""


def wild_actions(trial: int, steps: int) -> np.ndarray:
    """(steps, 7) float32 in which harnesses may differ: beyond 1, a gripper in between, and one at exactly 0."""
    actions = np.random.default_rng(trial).uniform(-1.2, 1.2, (steps, 7)).astype(np.float32)
    actions[:2, 6] = 0.3
    actions[2, 6] = 0.0
    return actions


def fixture_places(environment: Any) -> dict[str, list[float]]:
    """Where a reset put cabinets, stoves and racks in robosuite's environment."""
    model = environment.sim.model
    bodies = {name: model.body_name2id(f.root_body) for name, f in environment.fixtures_dict.items()}
    return {name: [*model.body_pos[body], *model.body_quat[body]] for name, body in bodies.items()}


def play(
    rules: Protocol,
    suite: str,
    task: int,
    trial: int,
    actions: np.ndarray,
    *,
    size: int,
    chunk: int = 1,
    max_steps: int = 0,
) -> Episode:
    """Trial `trial` as `focusvla evaluate` plays it, with a policy that answers with the next `chunk` actions and sees
    pictures of `size` pixels; `max_steps` in place of the protocol's."""
    if max_steps:
        rules = dataclasses.replace(rules, max_steps={suite: max_steps})
    name = PolicyIdentity(weights="recorded")
    setting = Setting(rules, chunk, PolicyTraits(libero_spec(size), tuple(CAMERAS), chunk, name))
    player, played = EpisodePlayer(), Episode()
    asked: Any = player.begin(setting, PlannedEpisode(suite, task, trial))
    while not isinstance(asked, PlayedEpisode):
        played.images.append(dict(asked.observation.images))
        played.states.append(asked.observation.state)
        asked = player.proceed(actions[asked.inference * chunk :][:chunk])
    assert not asked.result.error
    environment: Any = only_environment(suite, task, rules.drawn_size or size)  # as it was left
    played.fixtures = fixture_places(environment._environment)
    played.success, played.steps = asked.result.success, asked.result.steps
    return played


def require_equal(ours: Episode, theirs: Episode, *, atol: float = 0.0) -> None:
    """The same fixtures and pictures to the last bit, if `theirs` tells, states within `atol`, and the same end."""
    if theirs.fixtures:
        assert ours.fixtures == theirs.fixtures
    for step, (mine, other) in enumerate(zip(ours.states, theirs.states, strict=True)):
        np.testing.assert_allclose(mine, np.float32(other), rtol=0, atol=atol, err_msg=f"state {step}")
    for step, (mine, other) in enumerate(zip(ours.images, theirs.images, strict=bool(theirs.images))):
        for camera in CAMERAS:
            np.testing.assert_array_equal(mine[camera], other[camera], err_msg=f"{camera} {step}")
    assert (ours.success, ours.steps) == (theirs.success, theirs.steps)


def solving_actions(suite: str, task: int, start: Start) -> np.ndarray:
    """(steps, 7) float32: what the scripted expert does from `start`, and then standing still."""
    from focusvla.demonstrations.experts import ScriptedExpert

    class Actions(Observer):
        def __init__(self):
            self.actions = []

        def on_action(self, environment, action):
            self.actions.append(action)

    environment: Any = only_environment(suite, task, 64)
    kept = Actions()
    expert = ScriptedExpert(environment)
    played = rollout(environment, expert, start, max_steps=600, actions_per_inference=1, observers=[kept])
    assert played.success
    actions = np.stack(kept.actions)
    hold = np.repeat([[0.0] * 6 + [actions[-1, 6]]], 5, axis=0)
    return np.concatenate([actions, hold]).astype(np.float32)  # rounding may delay success by a step or two


def known_limits(rules: Protocol, limits: Mapping[str, int]) -> dict[str, int]:
    """Of a harness's `limits`, those of suites that the protocol covers."""
    return {suite: steps for suite, steps in limits.items() if suite in rules.max_steps}
