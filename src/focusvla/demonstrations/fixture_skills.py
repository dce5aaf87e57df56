"""Skills with what stays where it is and moves in itself: drawers, doors and knobs."""

import numpy as np
from jaxtyping import Float

from focusvla.demonstrations.motions import CLOSE, OPEN, Actions, hold, move_to, pointing
from focusvla.simulation.libero_scene import LiberoScene

_DOWN = np.array([0.0, 0.0, -1.0])
_OPENED, _SHUT = 0.155, -0.001
"""Meters that a drawer is pulled out, at least and at most, for the benchmark to call it open or closed."""
_A_LITTLE_OPEN = 0.05
"""Meters that a drawer stands out from the others so that its handle can be taken slanting from above."""
_SLANT = 0.35
"""Meters down for each meter in."""
_DOOR_SHUT = 0.004
"""Radians at which the benchmark calls a door closed."""
_LEVER = 0.8
"""Where a door is pushed, as a share of its width from the hinge."""


def open_drawer(scene: LiberoScene, region: str) -> Actions:
    """Hook the handle of a cabinet's drawer from the front, pull it open, and retreat.

    The hand comes horizontally and open. Half closed it would touch no other handle, but only a gripper's command of
    exactly 0 keeps it so, which no policy can answer. To a drawer that stands open a little it comes slanting, where no
    other handle is above, so that it stays clear of what is on the table.
    """
    opening = scene.drawer_opening(region)
    handle, outward = scene.handle_position(region), scene.drawer_direction(region)
    level, halfway = pointing(-outward), pointing(_DOWN - outward)
    before = handle + 0.14 * outward + np.array([0.0, 0.0, 0.02])
    if opening > _A_LITTLE_OPEN:
        level = pointing(_SLANT * _DOWN - outward)
        before = handle + 0.14 * (outward - _SLANT * _DOWN)
    yield from move_to(
        scene,
        before + np.array([-0.05, 0, 0.08]),
        halfway,
        OPEN,
        tolerance=0.04,
        angle_tolerance=0.4,
        max_steps=60,
    )
    yield from move_to(scene, before, level, OPEN, tolerance=0.02, angle_tolerance=0.08, max_steps=120)
    near = handle + (before - handle) * (0.05 / 0.14) if opening > _A_LITTLE_OPEN else handle + 0.05 * outward
    yield from move_to(scene, near, level, OPEN, max_steps=60)
    yield from move_to(scene, handle - 0.002 * outward, level, OPEN, tolerance=0.006, max_steps=40, speed=0.5)
    yield from hold(scene, level, CLOSE, 8)
    for _ in range(60):
        if scene.drawer_opening(region) > _OPENED:
            break
        along = float((scene.gripper_position - handle) @ outward) + 0.04
        yield from move_to(scene, handle + along * outward, level, CLOSE, max_steps=1, speed=0.7)
    yield from hold(scene, level, OPEN, 8)
    yield from move_to(
        scene, scene.gripper_position + 0.06 * outward, level, OPEN, tolerance=0.02, max_steps=25
    )
    yield from move_to(
        scene,
        scene.gripper_position + 0.02 * outward + np.array([-0.05, 0.0, 0.15]),
        level,
        OPEN,
        tolerance=0.03,
        max_steps=25,
    )


def close_drawer(scene: LiberoScene, region: str) -> Actions:
    """Push a drawer's handle with the closed fingers until the drawer is shut, and retreat."""
    outward = scene.drawer_direction(region)
    tilted = pointing(1.7 * _DOWN - outward, np.pi / 2)
    front = scene.handle_position(region) + np.array([0.0, 0.0, -0.01])
    above = front + 0.13 * outward
    above[2] = max(front[2] + 0.15, scene.gripper_position[2])
    yield from move_to(scene, above, tilted, CLOSE, tolerance=0.04, angle_tolerance=0.3)
    yield from move_to(scene, front + 0.08 * outward, tilted, CLOSE, tolerance=0.02, angle_tolerance=0.15)
    for _ in range(90):
        if scene.drawer_opening(region) < _SHUT:
            break
        along = float((scene.gripper_position - front) @ outward) - 0.06
        yield from move_to(
            scene, front + along * outward, tilted, CLOSE, tolerance=0, angle_tolerance=0, max_steps=1
        )
    retreat = scene.gripper_position + 0.05 * outward + np.array([0.0, 0.0, 0.06])
    yield from move_to(scene, retreat, tilted, CLOSE, tolerance=0.03, angle_tolerance=0.3, max_steps=20)


def close_door(scene: LiberoScene, fixture: str) -> Actions:
    """Push a door that turns about the vertical shut, near its free edge and along its arc, and retreat."""
    hinge, length, height = scene.door(fixture)
    front = scene.front(fixture)
    shut = np.array([-front[1], front[0], 0.0])

    def beside(angle: float, off: float) -> Float[np.ndarray, "3"]:
        """Where the fingers are `off` meters before the face of the door that is outside when it is shut."""
        cosine, sine = np.cos(angle), np.sin(angle)
        along = np.array([cosine * shut[0] - sine * shut[1], sine * shut[0] + cosine * shut[1], 0.0])
        outside = np.array([along[1], -along[0], 0.0])
        return np.array([*(hinge + _LEVER * length * along + off * outside)[:2], height - 0.04])

    angle = scene.door_angle(fixture)
    above = beside(angle, 0.10) + np.array([0.0, 0.0, 0.12])
    yield from move_to(scene, above, 0.0, CLOSE, tolerance=0.04, angle_tolerance=0.3)
    yield from move_to(scene, beside(angle, 0.07), 0.0, CLOSE, tolerance=0.02, angle_tolerance=0.2)
    for _ in range(140):
        angle = scene.door_angle(fixture)
        if angle > -_DOOR_SHUT:
            break
        yield from move_to(
            scene,
            beside(angle + 0.15, -0.01),
            0.0,
            CLOSE,
            tolerance=0,
            angle_tolerance=0,
            max_steps=1,
        )
    away = scene.gripper_position + 0.06 * front + np.array([0.0, 0.0, 0.08])
    yield from move_to(scene, away, 0.0, CLOSE, tolerance=0.03, angle_tolerance=0.3, max_steps=20)


def turn_knob(scene: LiberoScene, stove: str, angle: float = 1.4) -> Actions:
    """Grip the fin of a stove's knob from above, turn it by `angle` radians, and let go."""
    axis, fin, top = scene.knob(stove)
    above = np.array([axis[0], fin[1], top])
    yield from move_to(scene, above + np.array([0, 0, 0.10]), 0.0, OPEN, tolerance=0.02, angle_tolerance=0.1)
    yield from move_to(scene, above + np.array([0, 0, 0.03]), 0.0, OPEN, tolerance=0.01)
    grip = above - np.array([0, 0, 0.018])
    yield from move_to(scene, grip, 0.0, OPEN, tolerance=0.006, max_steps=40, speed=0.7)
    yield from hold(scene, 0.0, CLOSE, 10)
    for step in range(40):
        yield from move_to(
            scene, grip, min(0.06 * (step + 1), angle), CLOSE, max_steps=1, tolerance=0, angle_tolerance=0
        )
    yield from hold(scene, angle, OPEN, 6)
    yield from move_to(
        scene, above + np.array([0, 0, 0.10]), angle, OPEN, tolerance=0.03, angle_tolerance=0.4, max_steps=20
    )
