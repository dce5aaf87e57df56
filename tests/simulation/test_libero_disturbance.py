"""What the hand holds falls, else what is to be grasped next is moved a little and stands there."""

import itertools

import numpy as np
import pytest

from focusvla.suites import Start

pytestmark = [pytest.mark.simulator, pytest.mark.slow]

BOWL, PLATE = "akita_black_bowl_1", "plate_1"


@pytest.fixture(scope="module")
def onto_the_plate():
    """Goal task 8: the bowl onto the plate."""
    from focusvla.simulation.environment import suite_task
    from focusvla.simulation.libero import LiberoEnvironment

    environment = LiberoEnvironment(suite_task("libero_goal", 8), 64)
    yield environment
    environment.close()


def wait(environment, steps: int, gripper: float = -1.0) -> None:
    for _ in range(steps):
        environment.apply(np.array([0, 0, 0, 0, 0, 0, gripper]))


def test_the_object_is_moved_by_three_to_eight_centimeters_and_stands_where_it_was_put(onto_the_plate):
    scene = onto_the_plate.scene
    places = []
    for seed in (0, 1, 0):
        onto_the_plate.reset(Start(init_state=0))
        before = {name: scene.object_position(name) for name in scene.object_names}
        assert onto_the_plate.disturb(np.random.default_rng(seed)) == "moved"
        wait(onto_the_plate, 20)
        offsets = {name: scene.object_position(name) - before[name] for name in before}
        places.append(offsets.pop(BOWL))
        assert 0.025 < np.linalg.norm(places[-1][:2]) < 0.085
        assert abs(places[-1][2]) < 0.005
        assert scene.object_rotation(BOWL)[2, 2] > 0.99
        assert max(np.abs(offset).max() for offset in offsets.values()) < 0.005
    np.testing.assert_array_equal(places[0], places[2])
    assert np.abs(places[0] - places[1]).max() > 0.01


def test_what_the_hand_holds_falls_though_it_is_told_to_hold_it(onto_the_plate):
    from focusvla.demonstrations.skills import pick_by_rim

    onto_the_plate.reset(Start(init_state=0))
    scene = onto_the_plate.scene
    for action in itertools.islice(pick_by_rim(scene, BOWL, scene.object_position(PLATE)[:2]), 200):
        onto_the_plate.apply(np.clip(action, -1, 1))
    assert scene.held_object == BOWL
    height = scene.object_position(BOWL)[2]
    assert onto_the_plate.disturb(np.random.default_rng(0)) == "dropped"
    wait(onto_the_plate, 15, gripper=1.0)
    assert scene.held_object is None
    assert scene.object_position(BOWL)[2] < height - 0.08
    assert onto_the_plate.observe(()).state[6] < 0.02  # the fingers obey again


def test_where_the_task_is_about_no_object_nothing_goes_wrong():
    from focusvla.simulation.environment import only_environment
    from focusvla.simulation.libero import LiberoEnvironment

    environment = only_environment("libero_goal", 7, 64)
    assert isinstance(environment, LiberoEnvironment)
    environment.reset(Start(init_state=0))
    assert environment.disturb(np.random.default_rng(0)) == ""
