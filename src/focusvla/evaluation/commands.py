"""What may be carried out of a foreign policy's answer."""

import numpy as np
from jaxtyping import Float32

from focusvla.errors import ConfigurationError
from focusvla_client import Spec

_FAR_OUT = 10.0
"""Full commands, beyond which an action is in other units: policies overshoot -1 to 1 by little."""


def require_commands(
    actions: Float32[np.ndarray, "steps action"], chunk_length: int, spec: Spec, where: str
) -> Float32[np.ndarray, "steps action"]:
    """`actions`, if they are as many as always and can be meant as `spec` says; `where` names the policy.

    Raises:
        ConfigurationError: they are more or fewer, or far from the range of -1 to 1 of displacements.
    """
    if len(actions) != chunk_length:
        raise ConfigurationError(
            f"policy {where}: expected {chunk_length} actions in each answer, got {len(actions)}."
        )
    if not spec.commands_joints:
        far = np.abs(actions).max(axis=0) > _FAR_OUT
        if far.any():
            names = [name for name, is_far in zip(spec.action, far, strict=True) if is_far]
            raise ConfigurationError(
                f"policy {where}: expected actions of about -1 to 1 ({spec.action_space}), got up to "
                f"{np.abs(actions).max():g} in {', '.join(names)}. Are they unnormalized as in training?"
            )
    return actions
