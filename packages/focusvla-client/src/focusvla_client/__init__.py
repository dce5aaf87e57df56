"""Policies, conventions and the episode loop, for any Python from 3.8 up and without torch."""

from focusvla_client.policy import Environment, Observation, Policy
from focusvla_client.rollout import Observer, Rollout, episode, rollout
from focusvla_client.spec import Camera, Spec, SpecMismatchError

__all__ = [
    "Camera",
    "Environment",
    "Observation",
    "Observer",
    "Policy",
    "Rollout",
    "Spec",
    "SpecMismatchError",
    "episode",
    "rollout",
]
