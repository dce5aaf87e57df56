"""Experts begin anywhere: with something in the hand, low among the objects, after something has fallen or was opened."""

import itertools
from typing import Any

import numpy as np
import pytest

from focusvla_client import Rollout, rollout

pytestmark = [pytest.mark.simulator, pytest.mark.slow]

BOWL, BOTTLE, PLATE = "akita_black_bowl_1", "wine_bottle_1", "plate_1"
TOP, MIDDLE = "wooden_cabinet_1_top_region", "wooden_cabinet_1_middle_region"


class Going:
    """An environment whose episode begins where it is; what its gripper was told, where, and whether the bottle stood."""

    def __init__(self, environment):
        self._environment = environment
        self.commands, self.places, self.bottle_stood = [], [], []

    def __getattr__(self, name):
        return getattr(self._environment, name)

    def reset(self, start) -> None:
        pass

    def apply(self, action) -> None:
        scene = self._environment.scene
        self.commands.append(action[-1])
        self.places.append(scene.gripper_position)
        self.bottle_stood.append(scene.is_supported(BOTTLE))
        self._environment.apply(action)


def goal_environment(task: int):
    """A LIBERO-Goal task at a fresh start; all of them have one scene."""
    from focusvla.simulation.environment import only_environment
    from focusvla.simulation.libero import LiberoEnvironment
    from focusvla.suites import Start

    environment = only_environment("libero_goal", task, 64, mesh_cell_meters=0.008)
    assert isinstance(environment, LiberoEnvironment)
    environment.reset(Start(init_state=None, seed=1000))
    return environment


def take_over(environment) -> tuple[Rollout, Any]:
    from focusvla.demonstrations.scripted import scripted_expert

    going: Any = Going(environment)
    played = rollout(
        going,
        scripted_expert(environment),
        None,
        max_steps=400,
        actions_per_inference=1,
        stop_on_success=False,
    )
    return played, going


def play(environment, actions, steps: int = 400) -> None:
    for action in itertools.islice(actions, steps):
        environment.apply(np.clip(action, -1, 1))


def open_by(environment, region: str, meters: float) -> None:
    from focusvla.simulation.rendering import load_mujoco

    scene = environment.scene
    joint = scene.model.body_jntadr[scene._drawer(region)]
    scene.data.qpos[scene.model.jnt_qposadr[joint]] = -meters
    load_mujoco().mj_forward(scene.model, scene.data)


def tip_over(environment, name: str) -> None:
    """Lay an object on its side, and let it come to rest."""
    from scipy.spatial.transform import Rotation

    from focusvla.simulation.libero import HOLD_ACTION

    qpos = environment.scene.data.joint(f"{name}_joint0").qpos
    lying = Rotation.from_euler("x", -90, degrees=True) * Rotation.from_quat(qpos[[4, 5, 6, 3]])
    qpos[3:] = lying.as_quat()[[3, 0, 1, 2]]
    qpos[2] += 0.05
    for _ in range(20):
        environment.apply(HOLD_ACTION)


def test_what_is_to_be_carried_and_is_in_the_hand_already_stays_there():
    from focusvla.demonstrations.skills import pick_by_rim

    environment = goal_environment(8)  # the bowl onto the plate
    scene = environment.scene
    assert scene.held_object is None
    play(environment, pick_by_rim(scene, BOWL, scene.object_position(PLATE)[:2]))
    assert scene.held_object == BOWL
    played, going = take_over(environment)
    assert played.success
    assert going.commands.index(-1.0) > 20  # it is let go over the plate, not before
    assert played.steps < 90


def test_what_is_not_needed_is_put_down_and_stands():
    from focusvla.demonstrations.skills import pick

    environment = goal_environment(8)
    scene = environment.scene
    play(environment, pick(scene, BOTTLE, depth=0.034))
    assert scene.held_object == BOTTLE
    assert not scene.is_supported(BOTTLE)
    played, going = take_over(environment)
    assert played.success
    assert going.bottle_stood[going.commands.index(-1.0)]
    assert scene.object_rotation(BOTTLE)[2, 2] > 0.99


@pytest.mark.parametrize("beside", [(0.0, 0.09), (0.0, 0.0)], ids=["beside it", "in it"])
def test_a_hand_that_closed_on_nothing_low_at_the_object_withdraws_first(beside):
    from focusvla.demonstrations.motions import CLOSE, move_to

    environment = goal_environment(8)
    scene = environment.scene
    low = scene.object_position(BOWL) + np.array([*beside, 0.03])
    for goal in (low + np.array([0.0, 0.0, 0.2]), low):
        play(environment, move_to(scene, goal, 0.0, CLOSE))
    began = scene.gripper_position
    assert began[2] < 0.96
    played, going = take_over(environment)
    assert played.success
    over = next(step for step, place in enumerate(going.places) if place[2] > began[2] + 0.04)
    assert set(going.commands[:over]) == {-1.0}
    assert np.linalg.norm((going.places[over] - began)[:2]) < 0.015  # straight up


def test_a_fallen_bottle_is_raised_and_laid_on_the_rack():
    environment = goal_environment(9)
    tip_over(environment, BOTTLE)
    assert abs(environment.scene.object_rotation(BOTTLE)[2, 2]) < 0.3
    played, _ = take_over(environment)
    assert played.success


@pytest.mark.parametrize("meters", [0.04, 0.10, 0.14])
def test_a_drawer_that_stands_half_open_is_opened(meters):
    environment = goal_environment(0)
    open_by(environment, MIDDLE, meters)
    assert not environment.success()
    assert take_over(environment)[0].success


def test_a_bowl_is_put_into_a_drawer_that_hangs_over_it():
    environment = goal_environment(3)
    open_by(environment, TOP, 0.15)
    played, _ = take_over(environment)
    assert played.success
    assert played.steps < 200  # it was not opened again


def test_a_bowl_in_the_hand_is_put_down_to_open_the_drawer():
    from focusvla.demonstrations.skills import pick_by_rim

    environment = goal_environment(3)
    scene = environment.scene
    play(environment, pick_by_rim(scene, BOWL, scene.object_position(BOWL)[:2]))
    assert scene.held_object == BOWL
    assert take_over(environment)[0].success
