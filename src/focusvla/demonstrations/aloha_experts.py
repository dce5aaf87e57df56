"""Scripted experts for ALOHA's tasks: policies that know where everything is."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from focusvla.demonstrations.aloha_skills import (
    OPEN,
    Actions,
    AlohaScene,
    actions,
    hand_over,
    hand_rotation,
    held_at,
    insert,
    pick,
    reach,
    stand,
)
from focusvla.demonstrations.arms import Pose
from focusvla.simulation.aloha import AlohaEnvironment
from focusvla_client.policy import Observation

_MEETING_PLACE = np.array([0.0, 0.5, 0.2])
"""Halfway between the arms, in meters."""
_ATTEMPTS = 3
_INSERTED = 0.1
"""Meters between the middles of peg and socket when the peg, 12 cm long, touches the pin, which is 8 cm long."""


def _transfer_cube(environment: AlohaEnvironment) -> Actions:
    scene = AlohaScene(environment)
    left, right = scene.arms["left"], scene.arms["right"]
    meeting = held_at(scene, right, "box", lambda: Pose(_MEETING_PLACE, np.eye(3)))
    beside = Pose(_MEETING_PLACE, hand_rotation("left", 0.0, roll=np.pi / 2)).shifted(x=-0.1)
    for _ in range(_ATTEMPTS):
        left.gripper = OPEN
        yield from actions(scene, pick(scene, right, "box", quarter_turns=1))
        yield from actions(
            scene, reach(right, meeting, tolerance=0.01), reach(left, lambda: beside, tolerance=0.01)
        )
        yield from actions(scene, hand_over(scene, "box", giver=right, taker=left))
        if scene.holds(left, "box"):
            break
    yield from actions(scene, stand(scene))


def _insert(environment: AlohaEnvironment) -> Actions:
    scene = AlohaScene(environment)
    left, right = scene.arms["left"], scene.arms["right"]
    socket = Pose(_MEETING_PLACE, np.eye(3)).shifted(x=-0.06)
    peg = socket.shifted(x=_INSERTED + 0.06)
    for _ in range(_ATTEMPTS):
        yield from actions(
            scene,
            pick(scene, left, "socket", quarter_turns=2),
            pick(scene, right, "peg", quarter_turns=2),
        )
        yield from actions(
            scene,
            reach(left, held_at(scene, left, "socket", lambda: socket), tolerance=0.01, speed=0.8),
            reach(right, held_at(scene, right, "peg", lambda: peg), tolerance=0.01, speed=0.8),
        )
        yield from actions(scene, insert(scene, right, "peg", into="socket", depth=_INSERTED))
        yield from actions(scene, stand(scene))
        if scene.accomplished:
            return


_SCRIPTS: dict[str, Callable[[AlohaEnvironment], Actions]] = {
    "transfer_cube": _transfer_cube,
    "insertion": _insert,
}


class AlohaExpert:
    """A policy that plays a script on the environment it was made for; it looks through no camera."""

    cameras: tuple[str, ...] = ()

    def __init__(self, environment: AlohaEnvironment):
        """Choose the script for the environment's task."""
        self._environment = environment
        self._write_script = _SCRIPTS[environment.task.name]
        self.reset()

    def reset(self) -> None:
        """Begin the script anew, at the next action: the environment may be reset in between."""
        self._script = self._write_script(self._environment)

    def infer(self, observation: Observation) -> Float32[np.ndarray, "steps 14"]:
        """The script's next action as a chunk of one, or an empty chunk at its end."""
        action = next(self._script, None)
        if action is None:
            return np.zeros((0, 14), np.float32)
        return action.astype(np.float32)[None]
