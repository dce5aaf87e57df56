"""A policy is asked in a thread, and its answer is taken once, when it is there."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from client.policy_server import observed
from focusvla_client.inference import BackgroundInference
from stepped_inference import SteppedInference


class BlockedPolicy:
    """Answers when it is released."""

    cameras = ()

    def __init__(self) -> None:
        self.released = threading.Event()

    def reset(self) -> None:
        """Nothing to forget."""

    def infer(self, observation):
        assert self.released.wait(10)
        if observation.instruction == "fail":
            raise KeyError("bug")
        if observation.instruction == "leave":
            raise SystemExit
        return observation.state[None]


def taken(inference, step):
    """The answer, waited for."""
    for _ in range(1000):
        answer = inference.answer(step)
        if answer is not None:
            return answer
        time.sleep(0.01)
    raise AssertionError("no answer")


def test_nobody_waits_for_an_answer_and_it_is_taken_once():
    policy = BlockedPolicy()
    inference = BackgroundInference(policy)
    assert not inference.waiting
    inference.ask(observed([3, 4]), 5)
    assert inference.waiting
    assert inference.answer(6) is None
    assert inference.waiting
    policy.released.set()
    answer = taken(inference, 7)
    assert (answer.asked_at, answer.observation.instruction) == (5, "wave")
    np.testing.assert_array_equal(answer.result, [[3, 4]])
    assert not inference.waiting
    assert inference.answer(8) is None


@pytest.mark.parametrize("make", [BackgroundInference, lambda policy: SteppedInference(policy, 0)])
def test_what_the_policy_raises_is_handed_over_with_where_it_was_raised(make):
    policy = BlockedPolicy()
    policy.released.set()
    inference = make(policy)
    inference.ask(observed(prompt="fail"), 0)
    error = taken(inference, 0).result
    assert isinstance(error, KeyError)
    assert error.__traceback__ is not None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_policy_that_ends_its_thread_is_an_error_and_not_the_previous_answer():
    policy = BlockedPolicy()
    policy.released.set()
    inference = BackgroundInference(policy)
    inference.ask(observed([3, 4]), 0)
    taken(inference, 1)
    inference.ask(observed(prompt="leave"), 2)
    answer = taken(inference, 3)
    assert (answer.asked_at, str(answer.result)) == (2, "policy.infer: its thread ended without an answer.")


def test_simulated_latency_is_counted_in_steps():
    policy = BlockedPolicy()
    policy.released.set()
    inference = SteppedInference(policy, 3)
    inference.ask(observed(), 10)
    assert [inference.answer(step) is None for step in (10, 11, 12, 13, 14)] == [
        True,
        True,
        True,
        False,
        True,
    ]
