"""Scripted experts: policies that know where everything is.

A script strings skills together for every task of a suite; it reads from the task's goal what goes where.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from focusvla.demonstrations.skills import Actions, pick, pick_by_rim, place_in_basket, place_on
from focusvla.errors import ConfigurationError
from focusvla.simulation.libero import LiberoEnvironment
from focusvla.simulation.libero_scene import LiberoScene
from focusvla_client.policy import Observation


def _put_into_basket(scene: LiberoScene) -> Actions:
    _, target, region = scene.goal[0]
    yaw = yield from pick(scene, target, lift_height=0.25)
    yield from place_in_basket(scene, target, "basket_1", region, yaw)


def _put_bowl_on_plate(scene: LiberoScene) -> Actions:
    _, bowl, plate = scene.goal[0]
    destination = scene.object_position(plate)[:2]
    yaw = yield from pick_by_rim(scene, bowl, destination)
    yield from place_on(scene, bowl, plate, yaw)


_SCRIPTS: dict[str, Callable[[LiberoScene], Actions]] = {
    "libero_object": _put_into_basket,
    "libero_spatial": _put_bowl_on_plate,
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
