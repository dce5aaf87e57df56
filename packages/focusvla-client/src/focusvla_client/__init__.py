"""Policies, conventions and the loops that play them, for any Python from 3.8 up and without torch.

`WebsocketPolicy` is in `focusvla_client.websocket`, the one module that imports a network library.
"""

from focusvla_client.chunks import (
    BlendedPlayer,
    ChunkPlayer,
    EnsemblingPlayer,
    OpenLoopPlayer,
    OverlappedPlayer,
)
from focusvla_client.errors import PolicyServerError
from focusvla_client.policy import Environment, Observation, Policy
from focusvla_client.realtime import ControlStep, RealtimeObserver, RealtimeRollout, realtime_rollout
from focusvla_client.robot import DryRun, JointLimit, Robot
from focusvla_client.rollout import Observer, Rollout, episode, rollout
from focusvla_client.rollout_log import ReplayPolicy, RolloutLog
from focusvla_client.spec import Camera, Spec, SpecMismatchError

__all__ = [
    "BlendedPlayer",
    "Camera",
    "ChunkPlayer",
    "ControlStep",
    "DryRun",
    "EnsemblingPlayer",
    "Environment",
    "JointLimit",
    "Observation",
    "Observer",
    "OpenLoopPlayer",
    "OverlappedPlayer",
    "Policy",
    "PolicyServerError",
    "RealtimeObserver",
    "RealtimeRollout",
    "ReplayPolicy",
    "Robot",
    "Rollout",
    "RolloutLog",
    "Spec",
    "SpecMismatchError",
    "episode",
    "realtime_rollout",
    "rollout",
]
