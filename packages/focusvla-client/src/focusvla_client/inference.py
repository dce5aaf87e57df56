"""Asking a policy without waiting for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from focusvla_client.policy import Observation, Policy


@dataclass(frozen=True)
class Answer:
    """What became of a question."""

    observation: Observation
    asked_at: int
    """Control step of the observation."""
    result: Any
    """A chunk, (steps, action), as the policy gave it, unchecked; or the exception that it raised."""


class Inference(Protocol):
    """One question to a policy at a time."""

    @property
    def waiting(self) -> bool:
        """Whether the answer to a question was not taken yet."""
        ...

    def ask(self, observation: Observation, step: int) -> None:
        """Ask for the actions that follow `observation`, made at control step `step`."""
        ...

    def answer(self, step: int) -> Optional[Answer]:
        """The answer, if it is there at control step `step`."""
        ...


class BackgroundInference:
    """Asks a policy in a thread, which does not keep the program from ending."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self._thread: Optional[threading.Thread] = None
        self._answer: Optional[Answer] = None

    @property
    def waiting(self) -> bool:
        """Whether the answer to a question was not taken yet."""
        return self._thread is not None

    def ask(self, observation: Observation, step: int) -> None:
        """Ask for the actions that follow `observation`, made at control step `step`."""
        # What stays the answer if the thread ends with what is no Exception, such as SystemExit.
        self._answer = Answer(
            observation, step, RuntimeError("policy.infer: its thread ended without an answer.")
        )
        self._thread = threading.Thread(
            target=self._infer, args=(observation, step), name="inference", daemon=True
        )
        self._thread.start()

    def answer(self, step: int) -> Optional[Answer]:
        """The answer, if it is there."""
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread = None
        return self._answer

    def _infer(self, observation: Observation, step: int) -> None:
        self._answer = answered(self._policy, observation, step)


def answered(policy: Policy, observation: Observation, step: int) -> Answer:
    """What `policy` says, its failure included: it is raised where the robot can be stopped."""
    try:
        return Answer(observation, step, policy.infer(observation))
    except Exception as error:  # noqa: BLE001  # a thread's error would be lost; whoever takes the answer raises it
        return Answer(observation, step, error)
