"""An episode as it is written down, for tests of what is made of many."""

from typing import Any

from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.results import EpisodeResult


def episode_result(**changes: Any) -> EpisodeResult:
    """A success of nobody's policy, with `changes`."""
    usual: dict[str, Any] = {
        "suite": "libero_object",
        "task": 0,
        "instruction": "pick",
        "trial": 0,
        "condition": "",
        "seed": 0,
        "success": True,
        "steps": 1,
        "inferences": 1,
        "seconds": 1.0,
        "protocol": "libero_openvla",
        "policy": PolicyIdentity(weights="nobody"),
        "actions_per_inference": 8,
        "error": "",
        "versions": {},
    }
    return EpisodeResult(**usual | changes)
