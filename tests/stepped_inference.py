"""A latency of control steps in place of seconds, so that a test of asynchronous control is the same each time."""

from focusvla_client import Observation, Policy
from focusvla_client.inference import Answer, answered


class SteppedInference:
    """Asks a policy whose answer is there a stated number of control steps later: latency, simulated and repeatable."""

    def __init__(self, policy: Policy, latency_steps: int):
        self._policy = policy
        self._latency_steps = latency_steps
        self._answer: Answer | None = None

    @property
    def waiting(self) -> bool:
        """Whether the answer to a question was not taken yet."""
        return self._answer is not None

    def ask(self, observation: Observation, step: int) -> None:
        """Ask for the actions that follow `observation`, made at control step `step`."""
        self._answer = answered(self._policy, observation, step)

    def answer(self, step: int) -> Answer | None:
        """The answer, from `latency_steps` after the question on."""
        if self._answer is None or step < self._answer.asked_at + self._latency_steps:
            return None
        answer, self._answer = self._answer, None
        return answer
