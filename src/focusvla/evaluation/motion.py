"""How an episode's chunks are played, and how smooth the motion is that comes of it."""

import math

import numpy as np
from jaxtyping import Float

from focusvla.config.chunks import ChunkConfig
from focusvla_client import (
    BlendedPlayer,
    ChunkPlayer,
    EnsemblingPlayer,
    OpenLoopPlayer,
    OverlappedPlayer,
    Spec,
)

_AXES = ("x", "y", "z")


def make_player(chunks: ChunkConfig, actions_per_inference: int, spec: Spec) -> ChunkPlayer:
    """What chooses each control step's action. Grippers, which are open or closed, are never averaged."""
    if chunks.player == "open_loop":
        return OpenLoopPlayer(actions_per_inference)
    if chunks.player == "overlapped":
        return OverlappedPlayer(actions_per_inference)
    if chunks.player == "blended":
        return BlendedPlayer(actions_per_inference, chunks.blend_steps, spec.gripper_places)
    return EnsemblingPlayer(chunks.decay, actions_per_inference, spec.gripper_places)


def latency_steps(chunks: ChunkConfig, control_rate_hz: float) -> int:
    """Control steps from a question to its answer, the last begun one counted."""
    return math.ceil(round(chunks.latency_ms * control_rate_hz / 1000, 6))


def mean_jerk(states: Float[np.ndarray, "moments state"], spec: Spec) -> float | None:
    """Mean length of the third derivative of what moved, by differences of neighboring control steps: the hand's place in
    m/s^3 where the state tells x and y, otherwise all joints, in radians where the spec says so. None for less than four
    moments."""
    places = [place for place, name in enumerate(spec.state) if name in _AXES]
    if not places:
        places = [place for place in range(len(spec.state)) if place not in spec.finger_places]
    if len(states) < 4:
        return None
    jerk = np.diff(states[:, places].astype(np.float64), n=3, axis=0) * spec.control_rate_hz**3
    return float(np.linalg.norm(jerk, axis=1).mean())
