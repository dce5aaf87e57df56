"""Scripted experts: policies that know where everything is.

One script serves every task: it reads from the task's goal what has to become true, and strings skills together.
"""

import numpy as np
from jaxtyping import Float, Float32

from focusvla.demonstrations.fixture_skills import close_door, close_drawer, open_drawer, turn_knob
from focusvla.demonstrations.motions import OPEN, Actions, hold, pointing_down, turning
from focusvla.demonstrations.skills import (
    drag_by_rim,
    insert_upright,
    pick,
    pick_by_handle,
    pick_by_rim,
    place_at,
    place_in_basket,
    slide_in,
)
from focusvla.demonstrations.taking_over import begin_afresh
from focusvla.simulation.libero import LiberoEnvironment
from focusvla.simulation.libero_scene import LiberoScene
from focusvla_client.policy import Observation

_ORDER = ("open", "turnon", "in", "on", "close")
"""What is done first when a goal has several predicates: nothing goes into what is shut, or stands in the way of a
knob."""
_UP = np.array([0.0, 0.0, 1.0])
_STANDS = 0.7
"""Least vertical share of the axis of a bottle that stands."""
_BESIDE_DRAWER = np.array([-0.09, 0.04])
"""Meters from a bowl to where the hand passes an open drawer."""
_ABOVE = {"plate": 0.006, "bowl": 0.03, "cook_region": 0.025}
"""Meters from the origin of what something is put on, by its name's end, up to where it stands; 0 for the others."""
_HANGS_ABOVE = 0.08
"""Meters above an object from which on a drawer hangs over it; over the drawer that it lies in its cabinet is closer."""
_APART = 0.08
"""Meters between the middles of things that are put on the same place."""
_SETTLE_STEPS = 10
"""Standing still after the last skill, so that a goal is not called fulfilled by something that is falling."""


def _fulfill_goals(scene: LiberoScene) -> Actions:
    """Make the predicates of the goal true, and once more what did not become or stay true."""
    for _ in range(2):
        missing = sorted(
            (predicate for predicate in scene.goal if not scene.holds(predicate)),
            key=lambda predicate: _ORDER.index(predicate[0]) if predicate[0] in _ORDER else len(_ORDER),
        )
        if not missing:
            return
        yield from begin_afresh(scene, needed=missing[0][1] if len(missing[0]) > 2 else None)
        for done, predicate in enumerate(missing):
            if predicate[0] == "close" and not all(scene.holds(before) for before in missing[:done]):
                break
            yield from _fulfill(scene, *predicate)
        yield from hold(scene, scene.gripper_rotation, OPEN, _SETTLE_STEPS)


def _fulfill(scene: LiberoScene, predicate: str, *arguments: str) -> Actions:
    if predicate == "open":
        yield from open_drawer(scene, arguments[0])
    elif predicate == "turnon":
        yield from turn_knob(scene, arguments[0])
    elif predicate == "close" and arguments[0] in scene.fixture_names:
        yield from close_door(scene, arguments[0])
    elif predicate == "close":
        yield from close_drawer(scene, arguments[0])
    elif len(arguments) < 2:
        return  # no skill makes it true, so the attempt counts as failed
    elif "basket" in arguments[1]:
        yield from _put_into_basket(scene, *arguments)
    elif predicate == "in" and "cabinet" in arguments[1]:
        yield from _put_into_drawer(scene, *arguments)
    elif "heating_region" in arguments[1]:
        yield from _put_into_microwave(scene, *arguments)
    elif "contain_region" in arguments[1]:
        yield from _put_into_compartment(scene, *arguments)
    elif "plate" in arguments[0] and "_table_" in arguments[1]:
        yield from drag_by_rim(scene, arguments[0], scene.site_position(arguments[1])[:2])
    else:
        yield from _put(scene, *arguments)


def _put_into_basket(scene: LiberoScene, name: str, region: str) -> Actions:
    yaw = yield from pick(scene, name)
    yield from place_in_basket(scene, name, region.removesuffix("_contain_region"), region, yaw)


def _put(scene: LiberoScene, name: str, place: str) -> Actions:
    """Pick `name` up in the way it can be and put it on an object, or on a named region of a fixture or a table."""
    position = _surface(scene, name, place)
    if _has_rim(name):
        aside = _BESIDE_DRAWER if _is_overhung(scene, name) else None
        yaw = yield from pick_by_rim(scene, name, position[:2], aside=aside)
        yield from place_at(scene, name, position, yaw)
        return
    tall = "bottle" in name
    yaw = yield from pick(scene, name, depth=0.034 if tall else 0.022 if "pot" in name else 0.03)
    if "rack" in place:
        yield from _lay_on_rack(scene, name, place, yaw)
    else:
        final = _raised(scene, name, _UP) if tall and _lies(scene, name) else None
        yield from place_at(scene, name, position, yaw, drop=0.002 if tall else 0.006, final=final)


def _lies(scene: LiberoScene, name: str) -> bool:
    """Whether a bottle has fallen."""
    return bool(scene.object_rotation(name)[2, 2] < _STANDS)


def _raised(scene: LiberoScene, name: str, direction: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The hand's rotation with which a held bottle points along `direction`."""
    return turning(scene.object_rotation(name)[:, 2], direction) @ scene.gripper_rotation


def _lay_on_rack(scene: LiberoScene, name: str, region: str, yaw: float) -> Actions:
    """Lean a held bottle back along the board of the rack, its bottom against the board's edge."""
    slope = scene.site_rotation(region)[:, 2]
    slope = slope * np.sign(slope[2])
    leaning = slope + 0.35 * _UP
    final = turning(_UP, leaning) @ pointing_down(yaw)
    if _lies(scene, name):
        final = _raised(scene, name, leaning)
    position = scene.site_position(region) + 0.01 * slope
    yield from place_at(scene, name, position, yaw, drop=0.004, final=final)


def _put_into_drawer(scene: LiberoScene, name: str, region: str) -> Actions:
    """Open the drawer if it is not, and put a bowl into it: over the handles of the drawers above, or from under the
    drawer if it hangs over the bowl."""
    if scene.drawer_opening(region) < _OPEN_ENOUGH:
        yield from begin_afresh(scene, needed=None)
        yield from open_drawer(scene, region)
    inside = scene.site_position(region)
    floor = inside - np.array([0, 0, _DRAWER_DEPTH])
    if scene.surface_points(name)[:, 2].max() < floor[2]:
        yaw = yield from pick_by_rim(scene, name, inside[:2], aside=_BESIDE_DRAWER)
        yield from place_at(scene, name, floor, yaw, clearance=0.085)
        return
    outward = scene.drawer_direction(region)
    across = np.array([outward[1], -outward[0]])
    before_handles = _BEFORE_HANDLES * outward
    yaw = yield from pick_by_rim(scene, name, (inside + before_handles)[:2], side=-np.abs(across))
    yield from place_at(scene, name, floor + before_handles, yaw)


_OPEN_ENOUGH = 0.12
"""Meters of a drawer for a bowl to go in."""
_BEFORE_HANDLES = 0.022
"""Meters from the middle of a drawer outward to where a bowl passes the handles of the drawers above."""
_DRAWER_DEPTH = 0.022
"""Meters from the middle of a drawer's region down to its floor."""


def _put_into_microwave(scene: LiberoScene, name: str, region: str) -> Actions:
    """Carry a mug by its handle through the door, from where the hand need not go in."""
    inward = -scene.front(region.removesuffix("_heating_region"))
    floor = scene.site_position(region)[2] - scene.site_extent(region)[2] + 0.008
    rotation = yield from pick_by_handle(scene, name)
    yield from slide_in(scene, name, region, inward, floor, rotation, depth=-0.05)


def _put_into_compartment(scene: LiberoScene, name: str, region: str) -> Actions:
    yaw = yield from pick(scene, name, depth=0.02)
    yield from insert_upright(scene, name, region, yaw)


def _surface(scene: LiberoScene, name: str, place: str) -> Float[np.ndarray, "3"]:
    """Where the origin of `name` goes, and the height of what it will stand on."""
    on_object = place in scene.object_names
    position = scene.object_position(place) if on_object else scene.site_position(place)
    if "_table_" in place:
        position[2] = scene.surface_points(name)[:, 2].min()
    ending = next((ending for ending in _ABOVE if ending in place.split("_1_")[-1]), None)
    position[2] += _ABOVE[ending] if ending else 0.0
    sharing = [names[0] for _, *names in scene.goal if names[-1] == place and names[0] != place]
    position[0] += _APART * ((len(sharing) - 1) / 2 - sharing.index(name)) if name in sharing else 0.0
    return position


def _is_overhung(scene: LiberoScene, name: str) -> bool:
    """Whether a drawer that stands open hangs over what stands on the table."""
    points, above = scene.surface_points(name), scene.obstacle_points(name)
    above = above[above[:, 2] > points[:, 2].max() + _HANGS_ABOVE]
    distances = np.linalg.norm(above[:, :2] - scene.object_position(name)[:2], axis=1)
    return bool((distances < scene.object_radius(name)).any())


def _has_rim(name: str) -> bool:
    return "bowl" in name or "mug" in name


class ScriptedExpert:
    """A policy that plays a script on the environment it was made for; it looks through no camera."""

    cameras: tuple[str, ...] = ()

    def __init__(self, environment: LiberoEnvironment):
        self._scene = environment.scene
        self.reset()

    def reset(self) -> None:
        """Begin the script anew."""
        self._script = _fulfill_goals(self._scene)

    def infer(self, observation: Observation) -> Float32[np.ndarray, "steps 7"]:
        """The script's next action as a chunk of one, or an empty chunk at its end."""
        action = next(self._script, None)
        if action is None:
            return np.zeros((0, 7), np.float32)
        return np.clip(action, -1.0, 1.0).astype(np.float32)[None]
