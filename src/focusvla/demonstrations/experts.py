"""Scripted experts: policies that know where everything is.

A script strings skills together for every task of a suite; it reads from the task's goal what goes where.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from focusvla.demonstrations.skills import (
    OPEN,
    Actions,
    drag_by_rim,
    move_to,
    open_drawer,
    pick,
    pick_by_rim,
    place_at,
    place_in_basket,
    turn_knob,
)
from focusvla.errors import ConfigurationError
from focusvla.simulation.libero import LiberoEnvironment
from focusvla.simulation.libero_scene import LiberoScene
from focusvla_client.policy import Observation


def _put_into_basket(scene: LiberoScene) -> Actions:
    _, target, region = scene.goal[0]
    yaw = yield from pick(scene, target, lift_height=0.25)
    yield from place_in_basket(scene, target, "basket_1", region, yaw)


def _fulfill_goals(scene: LiberoScene) -> Actions:
    """Make the predicates of the goal true, one after the other."""
    for predicate, *arguments in scene.goal:
        if predicate == "open":
            yield from open_drawer(scene, arguments[0])
        elif predicate == "turnon":
            yield from turn_knob(scene, arguments[0])
        elif predicate == "in" and "cabinet" in arguments[1]:
            yield from _put_into_drawer(scene, *arguments)
        elif arguments[0].startswith("plate"):
            yield from drag_by_rim(scene, arguments[0], scene.site_position(arguments[1])[:2])
        else:
            yield from _put(scene, *arguments)


def _put(scene: LiberoScene, name: str, place: str) -> Actions:
    """Pick `name` up in the way it can be and put it on an object, or on a named region of a fixture."""
    on_object = place in scene.object_names
    position = scene.object_position(place) if on_object else scene.site_position(place)
    position = position + np.array([0.0, 0.0, _ABOVE.get(place.split("_1")[0] if on_object else place, 0.0)])
    if "bowl" in name:
        yaw = yield from pick_by_rim(scene, name, position[:2])
        yield from place_at(scene, name, position, yaw)
    else:
        tall = "bottle" in name
        yaw = yield from pick(scene, name, lift_height=1.25 if tall else 1.1, depth=0.045 if tall else 0.03)
        yield from place_at(scene, name, position, yaw, drop=0.002 if tall else 0.01)


def _put_into_drawer(scene: LiberoScene, name: str, region: str) -> Actions:
    """Open the drawer and put a bowl into it."""
    yield from open_drawer(scene, region)
    yield from move_to(
        scene, np.array([-0.2, 0.1, 1.2]), 0.0, OPEN, tolerance=0.04, angle_tolerance=0.3, max_steps=60
    )
    inside = scene.site_position(region)
    yaw = yield from pick_by_rim(scene, name, inside[:2], aside=_BESIDE_DRAWER)
    yield from place_at(scene, name, np.array([*inside[:2], 1.075]), yaw, clearance=0.085)


_BESIDE_DRAWER = np.array([-0.09, 0.04])
"""Meters from a bowl to where the hand passes an open drawer."""
_ABOVE = {"plate": 0.006, "akita_black_bowl": 0.03, "flat_stove_1_cook_region": 0.025}
"""Meters from the origin of what something is put on up to where it stands; 0 for the others."""


_SCRIPTS: dict[str, Callable[[LiberoScene], Actions]] = {
    "libero_object": _put_into_basket,
    "libero_spatial": _fulfill_goals,
    "libero_goal": _fulfill_goals,
}


def require_scripted(suite: str) -> None:
    """
    Raises:
        ConfigurationError: no script for that suite.
    """
    if suite not in _SCRIPTS:
        raise ConfigurationError(
            f"suite={suite!r} has no scripted expert; suites that have one: {', '.join(_SCRIPTS)}."
        )


class ScriptedExpert:
    """A policy that plays a script on the environment it was made for; it looks through no camera."""

    cameras: tuple[str, ...] = ()

    def __init__(self, environment: LiberoEnvironment):
        """
        Raises:
            ConfigurationError: no script for the environment's suite.
        """
        require_scripted(environment.task.suite)
        self._scene = environment.scene
        self._write_script = _SCRIPTS[environment.task.suite]
        self.reset()

    def reset(self) -> None:
        """Begin the script anew."""
        self._script = self._write_script(self._scene)

    def infer(self, observation: Observation) -> Float32[np.ndarray, "steps 7"]:
        """The script's next action as a chunk of one, or an empty chunk at its end."""
        action = next(self._script, None)
        if action is None:
            return np.zeros((0, 7), np.float32)
        return np.clip(action, -1.0, 1.0).astype(np.float32)[None]
