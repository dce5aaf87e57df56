"""Experts solve fresh resets of the tasks they are written for, and the resets are the benchmark's."""

import numpy as np
import pytest

from focusvla_client import rollout

pytestmark = [pytest.mark.simulator, pytest.mark.slow]


@pytest.fixture(scope="module")
def on_the_stove():
    """Spatial task 7: the bowl stands on the stove, which each reset places anew."""
    from focusvla.simulation.environment import suite_task
    from focusvla.simulation.libero import LiberoEnvironment

    environment = LiberoEnvironment(suite_task("libero_spatial", 7), 64, mesh_cell_meters=0.008)
    yield environment
    environment.close()


def test_what_stands_on_a_fixture_is_placed_on_it_at_every_reset(on_the_stove):
    from focusvla.suites import Start

    scene, offsets, places = on_the_stove.scene, [], []
    for seed in range(3):
        on_the_stove.reset(Start(init_state=None, seed=seed))
        places.append(scene.object_position("flat_stove_1"))
        offsets.append(scene.object_position(scene.named_objects[0]) - places[-1])
    assert np.ptp(places, axis=0)[:2].max() > 0.003  # the stove was moved, and the bowl with it
    np.testing.assert_allclose(offsets, np.tile([0.14, 0.0, 0.021], (3, 1)), atol=0.02)


def test_the_expert_pinches_the_bowls_rim_and_sets_it_on_the_plate(on_the_stove):
    from focusvla.demonstrations.experts import ScriptedExpert
    from focusvla.suites import Start

    for seed in range(3):
        played = rollout(
            on_the_stove,
            ScriptedExpert(on_the_stove),
            Start(init_state=None, seed=seed),
            max_steps=220,
            actions_per_inference=1,
            stop_on_success=False,
        )
        assert played.success, seed
        assert on_the_stove.scene.gripper_position[2] > 1.0  # let go and withdrawn


@pytest.mark.parametrize(
    ("suite", "task", "seed"),
    [
        pytest.param("libero_goal", 0, 1000, id="opens a drawer"),
        pytest.param("libero_goal", 3, 1001, id="puts a bowl into it"),
        pytest.param("libero_goal", 5, 1002, id="pulls a plate"),
        pytest.param("libero_goal", 6, 1002, id="puts one thing into another"),
        pytest.param("libero_goal", 7, 1003, id="turns a knob"),
        pytest.param("libero_10", 3, 1000, id="closes a drawer on a bowl"),
        pytest.param("libero_10", 5, 1000, id="stands a book in a caddy"),
        pytest.param("libero_10", 9, 1000, id="closes a microwave on a mug"),
    ],
)
def test_the_expert_makes_each_kind_of_goal_true(suite, task, seed):
    from focusvla.demonstrations.scripted import scripted_expert
    from focusvla.simulation.environment import only_environment
    from focusvla.suites import Start

    environment = only_environment(suite, task, 64, mesh_cell_meters=0.008)
    played = rollout(
        environment,
        scripted_expert(environment),
        Start(init_state=None, seed=seed),
        max_steps=400,
        actions_per_inference=1,
        stop_on_success=False,
    )
    assert played.success
    assert played.steps < 400


def test_the_wine_bottle_stays_on_its_rack():
    from focusvla.demonstrations.scripted import scripted_expert
    from focusvla.simulation.environment import only_environment
    from focusvla.simulation.libero import HOLD_ACTION
    from focusvla.suites import Start

    environment = only_environment("libero_goal", 9, 64, mesh_cell_meters=0.008)
    played = rollout(
        environment,
        scripted_expert(environment),
        Start(init_state=None, seed=1003),
        max_steps=300,
        actions_per_inference=1,
        stop_on_success=False,
    )
    assert played.success
    for _ in range(40):
        environment.apply(HOLD_ACTION)
        assert environment.success()


def test_variants_of_a_scripted_suite_are_scripted_and_other_suites_are_not():
    from focusvla.demonstrations.scripted import require_scripted
    from focusvla.errors import ConfigurationError

    require_scripted("libero_object_swap")
    require_scripted("aloha")
    with pytest.raises(ConfigurationError, match="suites that have one: libero_spatial, libero_object"):
        require_scripted("libero_90")


def test_a_blocked_hand_gives_up_its_move_before_the_step_limit():
    """The goal lies under the table, so the hand stands on it."""
    from focusvla.demonstrations.motions import OPEN, move_to
    from focusvla.simulation.environment import only_environment
    from focusvla.simulation.libero import LiberoEnvironment
    from focusvla.suites import Start

    environment = only_environment("libero_goal", 9, 64, mesh_cell_meters=0.008)
    assert isinstance(environment, LiberoEnvironment)
    environment.reset(Start(init_state=None, seed=1003))
    below = environment.scene.gripper_position * np.array([1.0, 1.0, 0.7])
    steps = 0
    for action in move_to(environment.scene, below, 0.0, OPEN, max_steps=200):
        environment.apply(np.clip(action, -1.0, 1.0))
        steps += 1
    assert environment.scene.gripper_position[2] > below[2] + 0.02
    assert steps < 100


def test_what_stands_on_a_fixture_is_displaced_on_it():
    from focusvla.simulation.environment import only_environment
    from focusvla.simulation.libero import LiberoEnvironment
    from focusvla.suites import Start

    environment = only_environment("libero_spatial", 5, 64, mesh_cell_meters=0.008)  # the bowl on the ramekin
    assert isinstance(environment, LiberoEnvironment)
    bowl = environment.scene.named_objects[0]

    def place(displacement):
        environment.reset(Start(init_state=0, seed=2, displacement_meters=displacement))
        return environment.scene.object_position(bowl)

    standard, displaced = place(0.0), place(0.04)
    assert 0.005 < np.linalg.norm((displaced - standard)[:2]) < 0.06
    assert abs(displaced[2] - standard[2]) < 0.01


def test_a_task_about_no_movable_object_has_nothing_to_displace():
    from focusvla.simulation.environment import only_environment
    from focusvla.simulation.libero import LiberoEnvironment
    from focusvla.suites import Start

    environment = only_environment("libero_goal", 7, 64, mesh_cell_meters=0.008)
    assert isinstance(environment, LiberoEnvironment)
    assert environment.scene.named_objects == []
    environment.reset(Start(init_state=0, displacement_meters=0.05))


@pytest.mark.parametrize(("suite", "task"), [("libero_object", 2), ("libero_spatial", 7)])
def test_simplified_pictures_differ_from_the_benchmarks_by_little_everywhere(suite, task):
    """Fixtures stand where they stand, and no marker of the simulator's own shows in one and not in the other."""
    from focusvla.simulation.environment import only_environment
    from focusvla.suites import Start

    pictures = []
    for cell in (0.0, 0.004):
        environment = only_environment(suite, task, 128, cell)
        environment.reset(Start(init_state=None, seed=5))
        pictures.append(environment.observe(("image", "image2")).images)
    for camera in ("image", "image2"):
        difference = np.abs(pictures[0][camera].astype(int) - pictures[1][camera])
        assert difference.mean() < 2.0
        blocks = difference.reshape(16, 8, 16, 8, 3).mean(axis=(1, 3, 4))
        assert blocks.max() < 25.0
