"""Scripted experts: policies that know where everything is.

A script is a generator of actions written as skills (`move_to`, `hold`, `pick`, `place_in_basket`) that read
the live scene, so it corrects itself when noise pushes it off its path. The numbers (speeds, heights, waits)
were measured; see docs/log.md.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

from focusvla.demonstrations.grasping import plan_grasp
from focusvla.errors import ConfigurationError
from focusvla.simulation.libero import LiberoEnvironment
from focusvla.simulation.libero_scene import LiberoScene
from focusvla_client.policy import Observation

OPEN, CLOSE = -1.0, 1.0
_FULL_TRANSLATION, _FULL_ROTATION = 0.05, 0.5
"""Meters and radians that an action of 1 asks for."""
_POINTING_DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])

Actions = Iterator[Float[np.ndarray, "7"]]


def pointing_down(yaw: float) -> Float[np.ndarray, "3 3"]:
    """The grip site's rotation for a grasp from above at `yaw` radians."""
    return Rotation.from_euler("z", yaw).as_matrix() @ _POINTING_DOWN


def move_to(
    scene: LiberoScene,
    position: Float[np.ndarray, "3"],
    yaw: float,
    gripper: float,
    *,
    tolerance: float = 0.008,
    angle_tolerance: float = 0.06,
    max_steps: int = 80,
    speed: float = 1.0,
) -> Actions:
    """Go straight to `position` (meters) and `yaw`, at most `speed` of full command, until within the
    tolerances."""
    rotation = pointing_down(yaw)
    for _ in range(max_steps):
        offset = position - scene.gripper_position
        turn = Rotation.from_matrix(rotation @ scene.gripper_rotation.T).as_rotvec()
        if np.linalg.norm(offset) < tolerance and np.linalg.norm(turn) < angle_tolerance:
            return
        yield np.concatenate(
            [
                _limit(offset * 2.0 / _FULL_TRANSLATION, speed),
                _limit(turn * 2.0 / _FULL_ROTATION, 0.6),
                [gripper],
            ]
        )


def hold(scene: LiberoScene, yaw: float, gripper: float, steps: int) -> Actions:
    """Stay here for `steps` while the fingers move."""
    position, rotation = scene.gripper_position, pointing_down(yaw)
    for _ in range(steps):
        offset = (position - scene.gripper_position) / _FULL_TRANSLATION
        turn = Rotation.from_matrix(rotation @ scene.gripper_rotation.T).as_rotvec() / _FULL_ROTATION
        yield np.concatenate([np.clip(offset, -0.5, 0.5), np.clip(turn, -0.3, 0.3), [gripper]])


def pick(scene: LiberoScene, name: str, lift_height: float, attempts: int = 3) -> Iterator:
    """Grasp object `name` from above and lift it, trying again when it stayed behind. Returns the grasp's
    yaw."""
    yaw = 0.0
    for _ in range(attempts):
        before = scene.object_position(name)[2]
        grasp = plan_grasp(scene, name)
        yaw, xy = grasp.yaw, grasp.position[:2]
        yield from move_to(
            scene, np.array([*xy, grasp.top + 0.10]), yaw, OPEN, tolerance=0.02, angle_tolerance=0.1
        )
        yield from move_to(scene, np.array([*xy, grasp.top + 0.03]), yaw, OPEN, tolerance=0.012)
        yield from move_to(scene, grasp.position, yaw, OPEN, tolerance=0.006, max_steps=40, speed=0.7)
        yield from hold(scene, yaw, CLOSE, 10)
        yield from move_to(
            scene, np.array([*xy, lift_height]), yaw, CLOSE, tolerance=0.03, angle_tolerance=0.2, max_steps=50
        )
        if scene.object_position(name)[2] > before + 0.04:
            break
        yield from hold(scene, yaw, OPEN, 6)
    return yaw


def place_in_basket(scene: LiberoScene, name: str, basket: str, region: str, yaw: float) -> Actions:
    """Carry the held object over the basket, lower it to the rim, let go, and retreat."""
    rim = scene.surface_points(basket)[:, 2].max()
    middle = scene.site_position(region)

    def site_goal(above_rim: float) -> Float[np.ndarray, "3"]:
        held = scene.object_position(name) - scene.gripper_position
        hanging = scene.gripper_position[2] - scene.surface_points(name)[:, 2].min()
        return np.array([*(middle - held)[:2], rim + above_rim + hanging])

    yield from move_to(scene, site_goal(0.04), yaw, CLOSE, tolerance=0.02, angle_tolerance=0.2)
    yield from move_to(
        scene, site_goal(0.0), yaw, CLOSE, tolerance=0.015, angle_tolerance=0.2, max_steps=30, speed=0.6
    )
    yield from hold(scene, yaw, OPEN, 8)
    retreat = scene.gripper_position + np.array([0.0, 0.0, 0.08])
    yield from move_to(scene, retreat, yaw, OPEN, tolerance=0.02, angle_tolerance=0.3, max_steps=20)


def _put_into_basket(scene: LiberoScene) -> Actions:
    _, target, region = scene.goal[0]
    yaw = yield from pick(scene, target, lift_height=0.25)
    yield from place_in_basket(scene, target, "basket_1", region, yaw)


_SCRIPTS: dict[str, Callable[[LiberoScene], Actions]] = {"libero_object": _put_into_basket}


class ScriptedExpert:
    """A policy that plays a script on the environment it was made for; it looks through no camera."""

    cameras: tuple[str, ...] = ()

    def __init__(self, environment: LiberoEnvironment):
        """
        Raises:
            ConfigurationError: no script for the environment's suite.
        """
        suite = environment.task.suite
        if suite not in _SCRIPTS:
            raise ConfigurationError(
                f"suite={suite!r} has no scripted expert; suites that have one: {', '.join(_SCRIPTS)}."
            )
        self._scene = environment.scene
        self._write_script = _SCRIPTS[suite]
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


def _limit(vector: Float[np.ndarray, "3"], length: float) -> Float[np.ndarray, "3"]:
    norm = float(np.linalg.norm(vector))
    return vector * (length / norm) if norm > length else vector
