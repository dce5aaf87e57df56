"""What the experts of two arms are made of: skills, each a generator that moves commands by one control step at a time.

A skill reads the live scene, so it corrects itself when an arm or an object is pushed off its path. Skills of both
arms run side by side in `actions`.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from focusvla.demonstrations.arms import SIDES, Arm, Pose, Side
from focusvla.simulation.aloha import AlohaEnvironment

Steps = Iterator[None]
"""Moves the commands of an arm, then waits for a control step."""
Actions = Iterator[Float[np.ndarray, "14"]]
Goal = Callable[[], Pose]
"""Where fingertips or an object should be, asked for at every step."""

OPEN, CLOSED = 1.0, 0.0

_FULL_SPEED, _FULL_TURN = 0.01, 0.05
"""Meters and radians a step along a line."""
_FULL_SWING = 0.05
"""Radians a step of a joint."""
_PITCH = 1.2
"""Radians below the horizontal of a hand that picks something up. Less steep, the fingers lie along what they hold and
touch it far from its middle, so that it turns."""
_CLEARANCE = 0.06
"""Meters from which objects are approached."""
_ON_COURSE, _RETREAT = 0.006, 4.0
"""Whoever is farther than this beside the line of approach goes back along it, by so much for each meter more."""
_HELD = 0.05
"""Meters between fingertips and the middle of what they hold at most."""
_PATIENCE = 60
"""Steps after which tolerances are twice what they were: a disturbed arm may never stand."""


class AlohaScene:
    """Both arms and where the objects really are."""

    def __init__(self, environment: AlohaEnvironment):
        """Bind to `environment` as it is now; the arms' commands are to stay."""
        self._environment = environment
        self.arms: Mapping[Side, Arm] = {side: Arm(environment, side) for side in SIDES}

    def object_pose(self, name: str) -> Pose:
        """Where the body `name` is."""
        body = self._environment.data.body(name)
        return Pose(body.xpos.copy(), body.xmat.reshape(3, 3).copy())

    def holds(self, arm: Arm, name: str) -> bool:
        """Whether the object is between the fingers and off the table."""
        position = self.object_pose(name).position
        return bool(np.linalg.norm(position - arm.pose.position) < _HELD and position[2] > 0.03)

    @property
    def accomplished(self) -> bool:
        """Whether the task is, at this moment."""
        return self._environment.success()


def actions(scene: AlohaScene, *skills: Steps) -> Actions:
    """The actions of skills that run side by side, until all have ended."""
    running = list(skills)
    while True:
        running = [skill for skill in running if next(skill, skill) is None]
        if not running:
            return
        yield np.concatenate([[*arm.angles, arm.gripper] for arm in (scene.arms[side] for side in SIDES)])


def hand_rotation(side: Side, pitch: float, yaw: float = 0.0, roll: float = 0.0) -> Float[np.ndarray, "3 3"]:
    """A hand that points to the other arm, `pitch` radians below the horizontal, its fingers apart along the table's
    short side; turned about the vertical by `yaw` and about where it points by `roll` radians."""
    facing = yaw + (np.pi if side == "right" else 0.0)
    return Rotation.from_euler("ZYX", [facing, pitch, roll]).as_matrix()


def reach(
    arm: Arm,
    goal: Goal,
    *,
    tolerance: float = 0.004,
    angle_tolerance: float = 0.03,
    speed: float = 1.0,
    max_steps: int = 150,
    while_true: Callable[[], bool] = lambda: True,
) -> Steps:
    """Bring the fingertips straight to `goal` until within the tolerances (meters, radians), or in vain."""
    arm.begin()
    for step in range(max_steps):
        if not while_true():
            return
        meters, radians = arm.distance_to(goal())
        if max(meters / tolerance, radians / angle_tolerance) < 1 + step / _PATIENCE:
            return
        arm.lead(goal(), speed * _FULL_SPEED, speed * _FULL_TURN)
        yield


def swing(arm: Arm, goal: Goal, *, tolerance: float = 0.02, angle_tolerance: float = 0.1) -> Steps:
    """Bring the fingertips near `goal` with nothing in the way, by the shortest way of the joints."""
    arm.begin()
    for step in range(100):
        meters, radians = arm.distance_to(goal())
        if max(meters / tolerance, radians / angle_tolerance) < 1 + step / _PATIENCE:
            return
        arm.swing(goal(), _FULL_SWING)
        yield


def move_fingers(arm: Arm, opening: float, max_steps: int = 25) -> Steps:
    """Open or close a gripper until its fingers stand, at their end or at what they hold."""
    arm.gripper = opening
    before = np.inf
    for _ in range(max_steps):
        yield
        now = arm.finger_position
        if abs(now - before) < 0.0003:
            return
        before = now


def approach(here: Goal, goal: Goal, direction: Float[np.ndarray, "3"]) -> Goal:
    """`goal`, but back from it against `direction` for as long as what is `here` is beside its way there."""

    def corrected() -> Pose:
        end = goal()
        offset = end.position - here().position
        beside = float(np.linalg.norm(offset - (offset @ direction) * direction))
        back = min(_CLEARANCE, max(0.0, beside - _ON_COURSE) * _RETREAT)
        return Pose(end.position - back * direction, end.rotation)

    return corrected


def held_at(scene: AlohaScene, arm: Arm, name: str, goal: Goal) -> Goal:
    """Where the fingertips must be for the object that they hold to be at `goal`."""

    def fingertips() -> Pose:
        held = arm.pose.inverse() @ scene.object_pose(name)
        return goal() @ held.inverse()

    return fingertips


def pick(scene: AlohaScene, arm: Arm, name: str, quarter_turns: int, attempts: int = 3) -> Steps:
    """Grasp an object from above and lift it, again when it stayed behind; not at all when it is held.

    It looks the same after `quarter_turns`, so the hand never turns farther than half of that.
    """
    period = quarter_turns * np.pi / 2

    def around() -> Pose:
        pose = scene.object_pose(name)
        yaw = np.arctan2(pose.rotation[1, 0], pose.rotation[0, 0])
        folded = (yaw + period / 2) % period - period / 2
        return Pose(pose.position, hand_rotation(arm.side, _PITCH, folded))

    for _ in range(attempts):
        if scene.holds(arm, name):
            return
        arm.gripper = OPEN
        yield from swing(arm, lambda: around().shifted(z=_CLEARANCE))
        yield from reach(arm, approach(lambda: arm.pose, around, np.array([0.0, 0.0, -1.0])))
        yield from move_fingers(arm, CLOSED)
        lifted = arm.pose.shifted(z=0.05)
        yield from reach(
            arm, lambda up=lifted: up, tolerance=0.015, angle_tolerance=0.1, speed=0.6, max_steps=40
        )


def hand_over(scene: AlohaScene, name: str, giver: Arm, taker: Arm) -> Steps:
    """Grip from the side what the other hand holds, fingers above and below; then that hand lets go and withdraws.

    It ends early when what should be handed over is held no more.
    """
    level = hand_rotation(taker.side, 0.0, roll=np.pi / 2)
    forward = level[:, 0]
    around = approach(lambda: taker.pose, lambda: Pose(scene.object_pose(name).position, level), forward)
    yield from reach(taker, around, while_true=lambda: scene.holds(giver, name))
    yield from move_fingers(taker, CLOSED)
    if not scene.holds(taker, name):
        return
    yield from move_fingers(giver, OPEN)
    away = giver.pose.shifted(*(0.08 * forward[:2]), z=0.05)
    yield from reach(giver, lambda: away, tolerance=0.015, angle_tolerance=0.2, max_steps=40)


def insert(scene: AlohaScene, arm: Arm, name: str, into: str, depth: float) -> Steps:
    """Bring what the hand holds in line with the opening of `into`, and push until the task is accomplished.

    `depth` is how far apart the middles of the two are when one is all the way in, in meters.
    """

    def in_line(meters: float) -> Goal:
        return lambda: scene.object_pose(into) @ Pose(np.array([meters, 0.0, 0.0]), np.eye(3))

    yield from reach(arm, held_at(scene, arm, name, in_line(depth + 0.03)), speed=0.5)
    inside = approach(
        lambda: scene.object_pose(name), in_line(depth - 0.01), -scene.object_pose(into).rotation[:, 0]
    )
    yield from press(scene, arm, held_at(scene, arm, name, inside))


def press(scene: AlohaScene, arm: Arm, goal: Goal, steps: int = 5, max_steps: int = 60) -> Steps:
    """Bring fingertips toward `goal`, which something stops, until the task has been accomplished for `steps`."""
    arm.begin()
    for _ in range(max_steps):
        if steps == 0:
            return
        arm.lead(goal(), 0.4 * _FULL_SPEED, 0.4 * _FULL_TURN)
        yield
        steps -= scene.accomplished


def stand(scene: AlohaScene, max_steps: int = 20) -> Steps:
    """Stay until the task is accomplished: contacts come and go for single steps."""
    for _ in range(max_steps):
        if scene.accomplished:
            return
        yield
