"""Many players, one policy, and nothing lost or counted twice whatever dies. Real processes, real signals."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from focusvla.errors import ConfigurationError, WorkerError
from focusvla.evaluation.episodes import PlannedEpisode, Question
from focusvla.evaluation.policies import PolicySource
from focusvla.evaluation.scheduler import Incident, Job, Limits, Lost, Scheduler
from focusvla.simulation.actors import Answer, Died, ProcessSystem, Raised, Returned, answer_of
from focusvla_client import Observation


class Counter:
    """A player whose episode of `length` questions ends with the sum of the answers; each is its own question."""

    def begin(self, name: int, length: int) -> Question | int:
        """Ask the first question."""
        self._name, self._left, self._sum = name, length, 0
        return self._ask()

    def proceed(self, answer: int) -> Question | int:
        """Ask the next, or end."""
        self._sum += answer
        self._left -= 1
        return self._ask() if self._left else self._sum

    def abandon(self, reason: str) -> str:
        """End without a sum."""
        return f"abandoned: {reason.strip().splitlines()[-1]}"

    def _ask(self) -> Question:
        observation = Observation({}, np.array([self._name], np.float32), "count")
        return Question(PlannedEpisode("count", self._name, 0), 0, observation)


class Doubler:
    """A policy that answers twice the question, and breaks at 13."""

    def __init__(self):
        self.batches: list[int] = []

    def infer(self, requests: list[Question]) -> list[int]:
        """One answer per request."""
        self.batches.append(len(requests))
        numbers = [int(request.observation.state[0]) for request in requests]
        if 13 in numbers:
            raise ValueError("thirteen")
        return [2 * number for number in numbers]


class FakeActor:
    """Lives here, answers when waited for."""

    def __init__(self, target):
        self.target, self.answer, self.killed = target, None, False

    def call(self, method: str, *arguments) -> None:
        self.answer = answer_of(getattr(self.target, method), arguments)

    def kill(self) -> None:
        self.killed = True


class FakeSystem:
    """Answers at once; the n-th wait replaces answers by what `disasters` has for n."""

    def __init__(self, disasters: dict[int, Answer] | None = None):
        self.disasters, self.waits, self.policies = disasters or {}, 0, []

    def num_cores(self) -> int:
        return 2

    def close(self) -> None:
        pass

    def start(self, factory, *arguments, local=False, num_gpus=0):
        actor = FakeActor(factory(*arguments) if local else Counter())
        if local:
            self.policies.append(actor.target)
        return actor

    def wait(self, actors, seconds):
        self.waits += 1
        disaster = self.disasters.pop(self.waits, None)
        return [(actor, disaster or actor.answer) for actor in actors]


LIMITS = Limits(max_batch=8, max_wait_seconds=0.05, stall_seconds=60.0)
SOURCE = PolicySource(Doubler, (), "doubles")


def job(number: int, length: int = 3) -> Job:
    return Job(method="begin", arguments=(number, length), group=0, label=f"job {number}")


def run(system: FakeSystem, jobs: list[Job], num_players: int = 2, limits: Limits = LIMITS):
    scheduler = Scheduler(system, SOURCE, num_players, limits)
    incidents: list[Incident] = []
    left = list(jobs)
    ended = list(scheduler.run(lambda group, at_work: left.pop(0) if left else None, incidents.append))
    assert len(ended) == len(jobs), "every job ends once"
    return {done.label: outcome for done, outcome in ended}, incidents


SUMS = {f"job {number}": 2 * number * 3 for number in range(5)}


def test_every_job_ends_once_and_players_that_wait_together_share_a_batch():
    system = FakeSystem()
    assert run(system, [job(number) for number in range(5)]) == (SUMS, [])
    assert max(system.policies[0].batches) == 2


def test_a_batch_holds_no_more_than_its_limit():
    system = FakeSystem()
    limits = Limits(max_batch=1, max_wait_seconds=0.05, stall_seconds=60.0)
    assert run(system, [job(number) for number in range(5)], limits=limits)[0] == SUMS
    assert set(system.policies[0].batches) == {1}


@pytest.mark.parametrize("wait", range(1, 9))
def test_whatever_dies_at_any_time_its_job_is_done_again_and_ends_once(wait):
    """At odd waits players answer, at even ones the policy does."""
    system = FakeSystem({wait: Died("killed")})
    sums, incidents = run(system, [job(number) for number in range(5)])
    assert sums == SUMS
    kinds = {incident.what for incident in incidents}
    assert kinds in ({"player died"}, {"policy died"})
    assert len(system.policies) == (2 if kinds == {"policy died"} else 1)


def test_a_question_that_breaks_the_policy_ends_its_own_episode_alone():
    sums, _ = run(FakeSystem(), [job(12), job(13)])
    assert sums == {"job 12": 72, "job 13": "abandoned: ValueError: thirteen"}


def test_a_job_whose_players_are_lost_three_times_is_given_up():
    class Fragile(FakeSystem):
        def wait(self, actors, seconds):
            answers = super().wait(actors, seconds)
            return [
                (a, Died("out of memory") if getattr(a.target, "_name", 0) == 3 else r) for a, r in answers
            ]

    sums, incidents = run(Fragile(), [job(3), job(4)])
    assert sums["job 4"] == 24
    assert sums["job 3"] == Lost("player died in each of 3 attempts, the last time: out of memory")
    assert [incident.attempt for incident in incidents] == [1, 2, 3]


def test_a_policy_that_dies_three_times_in_a_row_is_an_error_that_says_how_to_go_on():
    system = FakeSystem({wait: Died("code -9") for wait in (2, 3, 4)})
    with pytest.raises(WorkerError, match=r"lost 3 times in a row .*code -9.* run the same command again"):
        run(system, [job(1)], num_players=1)


def test_a_policy_that_cannot_be_made_again_ends_the_run_and_no_episode_is_called_a_failure():
    gone = Raised(ConfigurationError("the checkpoint has moved"), "", in_making=True)
    system = FakeSystem({2: Died("code -9"), 3: gone})
    with pytest.raises(ConfigurationError, match="the checkpoint has moved"):
        run(system, [job(number) for number in range(4)])


def test_a_policy_that_fails_in_episode_after_episode_ends_the_run():
    with pytest.raises(WorkerError, match=r"failed in 3 episodes and answered none: (.|\n)*thirteen"):
        run(FakeSystem(), [replace(job(13), label=f"job {number}") for number in range(5)])


class Deaf(FakeSystem):
    """Hears nothing from whoever `is_deaf` says."""

    def __init__(self, is_deaf):
        super().__init__()
        self.is_deaf = is_deaf

    def wait(self, actors, seconds):
        time.sleep(0.01)
        return [answer for answer in super().wait(actors, seconds) if not self.is_deaf(answer[0])]


SOON = Limits(max_batch=8, max_wait_seconds=0.0, stall_seconds=0.05, starting_seconds=0.05)


def test_a_policy_that_gives_no_sign_is_replaced():
    first: list[FakeActor] = []

    def is_deaf(actor: FakeActor) -> bool:
        if isinstance(actor.target, Doubler) and not first:
            first.append(actor)
        return actor in first

    sums, incidents = run(Deaf(is_deaf), [job(number) for number in range(5)], limits=SOON)
    assert sums == SUMS
    assert [incident.what for incident in incidents] == ["policy stalled"]
    assert first[0].killed


@pytest.mark.parametrize("placed", [0, 1])
def test_a_player_that_never_begins_is_done_without_and_no_fault_of_its_job(placed):
    """As in a cluster without room for it."""
    started: list[FakeActor] = []

    def is_deaf(actor: FakeActor) -> bool:
        if isinstance(actor.target, Counter) and actor not in started:
            started.append(actor)
        return isinstance(actor.target, Counter) and started.index(actor) != placed

    sums, incidents = run(Deaf(is_deaf), [job(number) for number in range(5)], limits=SOON)
    assert sums == SUMS
    assert [(incident.what, incident.attempt) for incident in incidents] == [("player stalled", 0)]


def test_without_any_player_that_begins_the_run_ends():
    deaf = Deaf(lambda actor: isinstance(actor.target, Counter))
    with pytest.raises(
        WorkerError, match=r"gave no sign for 0.05 s after it was started. Use fewer --workers"
    ):
        run(deaf, [job(1)], limits=SOON)


def test_an_error_that_the_user_can_mend_is_raised():
    system = FakeSystem({1: Raised(ConfigurationError("no such task"), "")})
    with pytest.raises(ConfigurationError, match="no such task"):
        run(system, [job(1)])


class Sleeper:
    """Naps, or says which process it is in."""

    def nap(self, seconds: float) -> int:
        """Its process, after a while."""
        time.sleep(seconds)
        return os.getpid()

    def speak(self, length: int) -> bytes:
        """At length."""
        return bytes(length)

    def fail(self) -> None:
        """Always."""
        raise ConfigurationError("as asked")


@pytest.fixture
def sleeper():
    actor = ProcessSystem().start(Sleeper)
    yield actor
    actor.kill()


@pytest.mark.slow
def test_a_process_answers_raises_and_dies(sleeper):
    system = ProcessSystem()
    sleeper.call("nap", 0.0)
    ((_, answer),) = system.wait([sleeper], 60.0)
    assert answer == Returned(sleeper.process.pid)
    sleeper.call("fail")
    ((_, answer),) = system.wait([sleeper], 60.0)
    assert isinstance(answer, Raised)
    assert str(answer.error) == "as asked"
    sleeper.call("nap", 60.0)
    assert system.wait([sleeper], 0.2) == []
    os.kill(sleeper.process.pid, signal.SIGKILL)
    ((_, answer),) = system.wait([sleeper], 10.0)
    assert answer == Died(f"process {sleeper.process.pid} ended with code -9")
    sleeper.call("nap", 0.0)  # to a process that is gone: no exception, and the same answer
    ((_, answer),) = system.wait([sleeper], 10.0)
    assert isinstance(answer, Died)


@pytest.mark.slow
def test_a_process_killed_in_the_middle_of_an_answer_has_died(sleeper):
    """A pipe that closes inside a message raises a bare OSError."""
    system = ProcessSystem()
    sleeper.call("nap", 0.0)
    system.wait([sleeper], 60.0)
    sleeper.call("speak", 10_000_000)
    assert sleeper.connection.poll(20)  # the answer has begun, and waits for somebody to read it
    os.kill(sleeper.process.pid, signal.SIGKILL)
    ((_, answer),) = system.wait([sleeper], 10.0)
    assert isinstance(answer, Died)
