"""Where fixtures stand in trial k, against the benchmark's own environment in the loop of published evaluations."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from focusvla.demonstrations.experts import ScriptedExpert
from focusvla.simulation.environment import suite_task
from focusvla.simulation.libero import CAMERAS, HOLD_ACTION, LiberoEnvironment
from focusvla.simulation.libero_tasks import bddl_file, benchmark_of, quietly
from focusvla.simulation.rendering import select_rendering_back_end
from focusvla.suites import Start, protocol
from focusvla_client import Observer, rollout

pytestmark = [pytest.mark.simulator, pytest.mark.slow]

LAST_PLACES = {
    ("libero_goal", 0): {
        "wooden_cabinet_1": [
            0.03928400838909563,
            -0.23937011443337386,
            0.905,
            6.123233995736766e-17,
            0,
            0,
            1,
        ],
        "flat_stove_1": [-0.4125117203224052, 0.2070763806514528, 0.905, 1, 0, 0, 0],
        "wine_rack_1": [
            *(-0.25684275732547146, -0.262810936979567, 0.9199999999999999),
            *(6.123233995736766e-17, 0, 0, 1),
        ],
    },
    ("libero_spatial", 4): {
        "wooden_cabinet_1": [
            *(0.026706068196191094, -0.2779001852138909, 0.905),
            *(0.22580631159848483, 0, 0, 0.9741722176506),
        ],
        "flat_stove_1": [-0.4089686007847765, -0.1475396648164701, 0.905, 1, 0, 0, 0],
    },
    ("libero_10", 3): {
        "white_cabinet_1": [0.004567579926537365, 0.30033477429636096, 0.905, 1, 0, 0, 0],
        "wine_rack_1": [
            *(-0.10753640702290992, -0.30071019293558315, 0.9199999999999999),
            *(6.123233995736766e-17, 0, 0, 1),
        ],
    },
}
"""Of trial 49, where the published loop puts each fixture: `python tests/simulation/test_libero_resets.py` makes it."""


class PublishedLoop:
    """The benchmark's own wrapper: seeded once, reset and set to init state k for each trial, in order. It draws when
    asked, and not at each step."""

    def __init__(self, suite: str, task: int):
        select_rendering_back_end()
        with quietly():
            from libero.libero.envs import OffScreenRenderEnv

            self.environment = OffScreenRenderEnv(
                bddl_file_name=bddl_file(suite_task(suite, task)), use_camera_obs=False
            )
            self.environment.seed(0)
        self._init_states = benchmark_of(suite).get_task_init_states(task)
        self._num_resets = 0

    def begin(self, trial: int) -> None:
        """Play no trial up to this one, but reset for each."""
        with quietly():
            while self._num_resets <= trial:
                self.environment.reset()
                self._num_resets += 1
            self.environment.set_init_state(self._init_states[trial])

    def step(self, action) -> bool:
        with quietly():
            return bool(self.environment.step(np.asarray(action, np.float64).tolist())[2])

    def picture(self, camera: str) -> np.ndarray:
        return self.environment.sim.render(camera_name=camera, height=64, width=64)[::-1, ::-1]

    def close(self) -> None:
        with quietly():
            self.environment.close()


def places(environment) -> dict[str, list[float]]:
    """Position and orientation of each fixture, of robosuite's environment."""
    model = environment.sim.model
    bodies = {name: model.body_name2id(f.root_body) for name, f in environment.fixtures_dict.items()}
    return {name: [*model.body_pos[body], *model.body_quat[body]] for name, body in bodies.items()}


class Actions(Observer):
    def __init__(self):
        self.actions = []

    def on_action(self, environment, action):
        self.actions.append(action)


def solved(environment: LiberoEnvironment, start: Start) -> list[np.ndarray]:
    """What the scripted expert does from `start`, up to its success."""
    kept = Actions()
    expert = ScriptedExpert(environment)
    played = rollout(environment, expert, start, max_steps=600, actions_per_inference=1, observers=[kept])
    assert played.success
    return kept.actions


@dataclass
class Played:
    """A trial: fixtures, the pictures at its init state, and joint positions and success after each action."""

    places: dict[str, list[float]]
    pictures: Mapping[str, np.ndarray]
    states: list[np.ndarray]
    successes: list[bool]


def play_published(loop: PublishedLoop, trial: int, actions: list[np.ndarray]) -> Played:
    loop.begin(trial)
    pictures = {camera: loop.picture(name) for camera, name in CAMERAS.items()}
    played = Played(places(loop.environment.env), pictures, [], [])
    for action in actions:
        played.successes.append(loop.step(action))
        played.states.append(loop.environment.sim.data.qpos.copy())
    return played


def play_ours(environment: LiberoEnvironment, start: Start, actions: list[np.ndarray]) -> Played:
    environment.reset(replace(start, settle_steps=0))
    played = Played(places(environment._environment), environment.observe(list(CAMERAS)).images, [], [])
    for action in actions:
        environment.apply(action)
        played.successes.append(environment.success())
        played.states.append(environment.scene.data.qpos.copy())
    return played


@pytest.mark.long
@pytest.mark.parametrize(("suite", "task"), LAST_PLACES)
def test_trial_k_is_that_of_the_published_loop_whatever_was_played_before(suite, task):
    rules = protocol("libero_openvla")
    ours = LiberoEnvironment(suite_task(suite, task), image_size=64)
    actions = {
        trial: [HOLD_ACTION] * 10 + [np.array([0.3, -0.2, -0.5, 0, 0, 0.1, 1.0])] * 5 for trial in (0, 7)
    }
    actions[1] = [HOLD_ACTION] * 10 + solved(ours, rules.start(suite, 1))
    loop = PublishedLoop(suite, task)
    published = {trial: play_published(loop, trial, actions[trial]) for trial in (0, 1, 7)}
    loop.close()  # before we draw: a rendering context that robosuite frees takes those of others with it
    ours.reset(rules.start(suite, 49))
    last = places(ours._environment)
    for trial in (7, 0, 1):  # another order
        played = play_ours(ours, rules.start(suite, trial), actions[trial])
        assert played.places == published[trial].places, trial
        for camera, picture in played.pictures.items():
            np.testing.assert_array_equal(picture, published[trial].pictures[camera], f"{trial}, {camera}")
        np.testing.assert_array_equal(played.states, published[trial].states)
        assert played.successes == published[trial].successes
        assert played.successes[-1] == (trial == 1)
        assert not any(played.successes[:-1])
    ours.close()
    assert last == LAST_PLACES[suite, task]
    assert published[0].places != published[1].places != published[7].places


if __name__ == "__main__":
    for suite, task in LAST_PLACES:
        loop = PublishedLoop(suite, task)
        loop.begin(49)
        print(suite, task, places(loop.environment.env))  # noqa: T201
        loop.close()
