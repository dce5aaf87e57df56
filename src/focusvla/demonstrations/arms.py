"""Two arms commanded by where their fingertips should be, through the joint targets that bring them there."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from focusvla.simulation.aloha import AlohaEnvironment
from focusvla.simulation.rendering import load_mujoco

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")

_DAMPING = 0.03
_MOBILITY = np.array([1.0, 1.0, 1.0, 0.2, 1.0, 1.0])
"""How gladly each joint is used: with the wrist stretched the forearm's roll and the hand's do the same."""
_LIMIT_MARGIN = 0.02
_FASTEST_JOINT = 0.06
"""Radians a step; commands that jump make the simulation diverge."""
_ACCELERATION = 0.1
"""Share of full speed gained a step."""
_STANDS = 0.002
"""Meters a step below which fingertips stand."""
_CORRECTED_SHARE, _LARGEST_CORRECTION = 0.1, 0.01
"""Joints stop short by friction and load: the command of an arm that stands is moved on by this share of what is missing
at each step, and by so many meters at most."""
_BENT_DOWN = np.array([0.0, 0.0, 0.8, 0.0, 0.5, 0.0])
"""Joint angles near which those of a hand over the table are sought. There the hand is bent down from the forearm; bent
up, it could point down as well, but would have to roll over to get beside the middle of the table."""
_LONGEST_LEAD = 0.3
"""Radians by which a joint's command runs ahead of it at most: an arm that was pushed is led back from where it is."""


@dataclass(frozen=True)
class Pose:
    """Where something is and how it is turned."""

    position: Float[np.ndarray, "3"]
    """Meters."""
    rotation: Float[np.ndarray, "3 3"]

    def __matmul__(self, other: "Pose") -> "Pose":
        """`other`, given relative to this pose, in this pose's own frame of reference."""
        return Pose(self.position + self.rotation @ other.position, self.rotation @ other.rotation)

    def inverse(self) -> "Pose":
        """The pose that undoes this one: `pose @ pose.inverse()` is the origin."""
        return Pose(-self.rotation.T @ self.position, self.rotation.T)

    def shifted(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Pose":
        """Moved along the axes of the frame of reference, in meters."""
        return Pose(self.position + np.array([x, y, z]), self.rotation)

    def offset_to(self, goal: "Pose") -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Meters and rotation vector in radians from here to `goal`."""
        turn = Rotation.from_matrix(goal.rotation @ self.rotation.T).as_rotvec()
        return goal.position - self.position, turn

    def toward(self, goal: "Pose", fraction: float) -> "Pose":
        """The pose after `fraction` of the straight way to `goal`."""
        offset, turn = self.offset_to(goal)
        turned = Rotation.from_rotvec(fraction * turn).as_matrix() @ self.rotation
        return Pose(self.position + fraction * offset, turned)


class Arm:
    """One arm of the running simulation, and its command."""

    def __init__(self, environment: AlohaEnvironment, side: Side):
        """Bind to an arm of `environment`; the command is to stay."""
        self._mujoco = load_mujoco()
        self._model, self._data = environment.model, environment.data
        self._planned = self._mujoco.MjData(self._model)
        self._site = self._model.site(f"cali_{side}_site1").id
        first = 0 if side == "left" else 8
        self._joints = slice(first, first + 6)
        self._finger = first + 6
        low, high = self._model.jnt_range[self._joints].T
        self._low, self._high = low + _LIMIT_MARGIN, high - _LIMIT_MARGIN
        self.side: Side = side
        self.gripper = 0.0
        """Commanded opening, 0 to 1."""
        self._command(self._data.qpos[self._joints].copy())
        self.begin()

    @property
    def pose(self) -> Pose:
        """Where the fingertips are."""
        return self._fingertips(self._data)

    @property
    def finger_position(self) -> float:
        """Of one finger on its rail, in meters; larger is wider."""
        return float(self._data.qpos[self._finger])

    def lead(self, goal: Pose, meters: float, radians: float) -> None:
        """Move the command one step straight toward `goal`, by at most `meters` and `radians`."""
        self._return_to_the_arm()
        aim = Pose(goal.position + self._correction, goal.rotation)
        offset, turn = self.command.offset_to(aim)
        moved, self._was_at = self.pose.position - self._was_at, self.pose.position
        if max(np.linalg.norm(offset), np.linalg.norm(moved)) < _STANDS:
            correction = self._correction + _CORRECTED_SHARE * (goal.position - self.pose.position)
            self._correction = np.clip(correction, -_LARGEST_CORRECTION, _LARGEST_CORRECTION)
        fraction = self._fraction(
            max(float(np.linalg.norm(offset)) / meters, float(np.linalg.norm(turn)) / radians)
        )
        reachable = self.angles - _FASTEST_JOINT, self.angles + _FASTEST_JOINT
        self._command(self._solve(self.command.toward(aim, fraction), self.angles, reachable, 5))

    def swing(self, goal: Pose, radians: float) -> None:
        """Turn the commanded joints one step toward those that bring the fingertips to `goal`, by at most `radians`.

        The path is a curve, but no joint turns farther than it must.
        """
        self._return_to_the_arm()
        self._swing_end = self._solve(goal, self._swing_end, (self._low, self._high), 20)
        change = self._swing_end - self.angles
        self._command(self.angles + self._fraction(float(np.abs(change).max()) / radians) * change)

    def begin(self) -> None:
        """Start a movement from rest."""
        self._pace = 0.0
        self._correction = np.zeros(3)
        self._was_at = np.full(3, np.inf)
        self._swing_end = _BENT_DOWN

    def _fraction(self, steps_left: float) -> float:
        """The share of the rest of the way to go in this step: faster and faster at first, slower before the end."""
        self._pace = min(self._pace + _ACCELERATION, 1.0, max(0.08, np.sqrt(2 * _ACCELERATION * steps_left)))
        return 1.0 if steps_left <= self._pace else self._pace / steps_left

    def distance_to(self, goal: Pose) -> tuple[float, float]:
        """Meters and radians between the fingertips and `goal`."""
        offset, turn = self.pose.offset_to(goal)
        return float(np.linalg.norm(offset)), float(np.linalg.norm(turn))

    def _return_to_the_arm(self) -> None:
        lag = self._data.qpos[self._joints] - self.angles
        excess = lag - np.clip(lag, -_LONGEST_LEAD, _LONGEST_LEAD)
        if excess.any():
            self._command(self.angles + np.clip(excess, -_FASTEST_JOINT, _FASTEST_JOINT))

    def _solve(
        self,
        goal: Pose,
        angles: Float[np.ndarray, "6"],
        limits: tuple[Float[np.ndarray, "6"], Float[np.ndarray, "6"]],
        iterations: int,
    ) -> Float[np.ndarray, "6"]:
        """Joint angles from `angles` on that bring the fingertips to `goal`, or near it, by damped least squares."""
        low, high = np.maximum(limits[0], self._low), np.minimum(limits[1], self._high)
        jacobian = np.zeros((6, self._model.nv))
        for _ in range(iterations):
            offset = np.concatenate(self._fingertips_at(angles).offset_to(goal))
            if np.abs(offset).max() < 1e-4:
                break
            self._mujoco.mj_jacSite(self._model, self._planned, jacobian[:3], jacobian[3:], self._site)
            of_arm = jacobian[:, self._joints]
            square = (of_arm * _MOBILITY) @ of_arm.T + _DAMPING**2 * np.eye(6)
            angles = np.clip(angles + _MOBILITY * (of_arm.T @ np.linalg.solve(square, offset)), low, high)
        return angles

    def _command(self, angles: Float[np.ndarray, "6"]) -> None:
        self.angles = angles
        self.command = self._fingertips_at(angles)

    def _fingertips_at(self, angles: Float[np.ndarray, "6"]) -> Pose:
        self._planned.qpos[self._joints] = angles
        self._mujoco.mj_kinematics(self._model, self._planned)
        self._mujoco.mj_comPos(self._model, self._planned)
        return self._fingertips(self._planned)

    def _fingertips(self, data: Any) -> Pose:
        return Pose(data.site_xpos[self._site].copy(), data.site_xmat[self._site].reshape(3, 3).copy())
