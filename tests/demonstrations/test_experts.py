"""Experts solve fresh resets of the tasks they are written for, and the resets are the benchmark's."""

import numpy as np
import pytest

from focusvla_client import rollout

pytestmark = [pytest.mark.simulator, pytest.mark.slow]


@pytest.fixture(scope="module")
def on_the_stove():
    """Spatial task 7: the bowl stands on the stove, which each reset places anew."""
    from focusvla.simulation.libero import LiberoEnvironment, libero_task

    environment = LiberoEnvironment(libero_task("libero_spatial", 7), 64, mesh_cell_meters=0.008)
    yield environment
    environment.close()


def test_what_stands_on_a_fixture_is_placed_on_it_at_every_reset(on_the_stove):
    from focusvla.simulation.environment import Start

    scene, offsets, places = on_the_stove.scene, [], []
    for seed in range(3):
        on_the_stove.reset(Start(init_state=None, seed=seed))
        places.append(scene.object_position("flat_stove_1"))
        offsets.append(scene.object_position(scene.named_objects[0]) - places[-1])
    assert np.ptp(places, axis=0)[:2].max() > 0.003  # the stove was moved, and the bowl with it
    np.testing.assert_allclose(offsets, np.tile([0.14, 0.0, 0.021], (3, 1)), atol=0.02)


def test_the_expert_pinches_the_bowls_rim_and_sets_it_on_the_plate(on_the_stove):
    from focusvla.demonstrations.experts import ScriptedExpert
    from focusvla.simulation.environment import Start

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
    ("task", "seed"),
    [(0, 1000), (3, 1001), (6, 1002), (7, 1003)],
    ids=["opens a drawer", "puts a bowl into it", "puts one thing into another", "turns a knob"],
)
def test_the_expert_makes_each_kind_of_goal_true(task, seed):
    from focusvla.demonstrations.scripted import scripted_expert
    from focusvla.simulation.environment import Start
    from focusvla.simulation.suites import only_environment

    environment = only_environment("libero_goal", task, 64, mesh_cell_meters=0.008)
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


def test_what_stands_on_a_fixture_is_displaced_on_it():
    from focusvla.simulation.environment import Start
    from focusvla.simulation.libero import LiberoEnvironment
    from focusvla.simulation.suites import only_environment

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
    from focusvla.simulation.environment import Start
    from focusvla.simulation.libero import LiberoEnvironment
    from focusvla.simulation.suites import only_environment

    environment = only_environment("libero_goal", 7, 64, mesh_cell_meters=0.008)
    assert isinstance(environment, LiberoEnvironment)
    assert environment.scene.named_objects == []
    environment.reset(Start(init_state=0, displacement_meters=0.05))


@pytest.mark.parametrize(("suite", "task"), [("libero_object", 2), ("libero_spatial", 7)])
def test_simplified_pictures_differ_from_the_benchmarks_by_little_everywhere(suite, task):
    """Fixtures stand where they stand, and no marker of the simulator's own shows in one and not in the other."""
    from focusvla.simulation.environment import Start
    from focusvla.simulation.suites import only_environment

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
