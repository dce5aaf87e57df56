"""Many simulating players, one policy that answers them in batches, and what happens when one of them is lost.

The scheduler owns every question: a player that waits for an answer holds nothing that is not known here. So a policy
that dies is started again and asked again, with no episode lost; a player that dies, or simulates for longer than
`stall_seconds` without a sign, is replaced and its episode begun anew, `MAX_ATTEMPTS` times in all.
"""

import time
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from focusvla.errors import WorkerError
from focusvla.evaluation.episodes import EpisodePlayer, PlannedEpisode, PolicyTraits, Question
from focusvla.evaluation.policies import PolicySource
from focusvla.simulation.actors import Actor, ActorSystem, Answer, Died, Raised, Returned

MAX_ATTEMPTS = 3
_LONGEST_WAIT = 1.0
_LACK_OF_MEMORY = (
    "Perhaps for lack of memory. What was finished is kept: "
    "run the same command again, with fewer --workers if it recurs."
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One method of a player to see through to its end."""

    method: str
    arguments: tuple[Any, ...]
    group: Hashable
    """Jobs of one group need the same environment; a player goes on with its group while there are any."""
    label: str
    """Names it in incidents."""
    episode: PlannedEpisode | None = None
    """What it is about, for whoever takes what it comes to."""


@dataclass(frozen=True)
class Lost:
    """What a job comes to whose players were lost `MAX_ATTEMPTS` times."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A process that was lost and replaced."""

    what: str
    """`player died`, `player stalled`, `player failed`, `policy died` or `policy stalled`."""
    job: str
    """Label of the job that was interrupted; empty for the policy, whose answers are asked for again."""
    attempt: int
    """How many times the job had been begun."""
    detail: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How the scheduler batches and how long it waits."""

    max_batch: int
    """Requests answered at once, at most."""
    max_wait_seconds: float
    """How long a request waits for others to share its batch while players simulate."""
    stall_seconds: float
    """After so long without a sign a player or the policy is killed and replaced."""
    starting_seconds: float = 300.0
    """What a new process may take for its first answer, if that is longer: imports, weights, meshes."""


@dataclass(eq=False)
class _Player:
    actor: Actor
    job: Job | None = None
    called: float = 0.0
    """When its present call began."""
    request: Question | None = None
    """What it asked and waits for; None while it simulates or has nothing to do."""
    asked: float = 0.0
    is_new: bool = True
    """It has answered nothing yet."""
    asks_alone: bool = False
    """A batch with its request broke: the next has no other."""
    group: Hashable = None


class Scheduler:
    """Sees jobs through on `num_players` players and one policy."""

    def __init__(
        self,
        system: ActorSystem,
        source: PolicySource,
        num_players: int,
        limits: Limits,
    ):
        """Start the policy and the players, which build up side by side."""
        self._system, self._source, self._limits = system, source, limits
        self._policy_is_new = True
        self._policy = self._start_policy()
        self._asked: list[_Player] = []
        self._policy_called = 0.0
        self._policy_losses = 0
        self._policy_failures = 0
        self._players = [_Player(self._start_player()) for _ in range(num_players)]
        self._attempts: dict[str, int] = {}
        self._again: list[Job] = []

    def traits(self) -> PolicyTraits:
        """The policy's.

        Raises:
            FocusVLAError: it cannot be loaded.
            WorkerError: its process dies, or gives no sign.
        """
        self._policy.call("traits")
        limit = self._limit(is_new=True)
        answers = self._system.wait([self._policy], limit)
        answer = answers[0][1] if answers else Died(f"no sign for {limit:g} s")
        self._policy_is_new = False
        if isinstance(answer, Returned):
            return answer.value
        if isinstance(answer, Raised):
            raise answer.error or WorkerError(f"the policy cannot be made: {answer.traceback}")
        raise WorkerError(
            f"the policy's process was lost while it loaded ({answer.reason}). {_LACK_OF_MEMORY}"
        )

    def run(
        self,
        next_job: Callable[[Hashable, Collection[Hashable]], Job | None],
        on_incident: Callable[[Incident], None] = lambda incident: None,
    ) -> Iterator[tuple[Job, Any]]:
        """Each job with what it came to, or with `Lost`, as they end.

        `next_job` is asked whenever a player is free and told the group that it last worked for and those that other
        players are at work on; the end is when it has nothing and nothing runs.

        Raises:
            FocusVLAError: something that no other attempt would mend, such as drawing.
            WorkerError: the policy's process dies again and again.
        """
        self._on_incident = on_incident
        while True:
            for player in self._players:
                if player.job is None:
                    at_work = [other.group for other in self._players if other.job is not None]
                    self._give(player, self._again.pop() if self._again else next_job(player.group, at_work))
            if all(player.job is None for player in self._players):
                return
            self._ask_policy()
            waiting_for = [p.actor for p in self._players if p.job is not None and p.request is None]
            waiting_for += [self._policy] if self._asked else []
            for actor, answer in self._system.wait(waiting_for, self._seconds_to_wait()):
                if actor is self._policy:
                    self._hear_policy(answer)
                else:
                    player = next(player for player in self._players if player.actor is actor)
                    yield from self._hear_player(player, answer)
            yield from self._replace_stalled()

    def close(self) -> None:
        """End every actor."""
        for actor in (self._policy, *(player.actor for player in self._players)):
            actor.kill()
        self._system.close()

    def _limit(self, is_new: bool) -> float:
        """Seconds without a sign after which a process is given up."""
        stall, starting = self._limits.stall_seconds, self._limits.starting_seconds
        return max(stall, starting) if is_new else stall

    def _start_policy(self) -> Actor:
        self._policy_is_new = True
        source, num_gpus = self._source, int(self._source.device != "cpu")
        return self._system.start(source.factory, *source.arguments, local=True, num_gpus=num_gpus)

    def _start_player(self) -> Actor:
        return self._system.start(EpisodePlayer)

    def _give(self, player: _Player, job: Job | None) -> None:
        player.job = job
        if job is not None:
            self._attempts[job.label] = self._attempts.get(job.label, 0) + 1
            player.group = job.group
            self._call(player, job.method, *job.arguments)

    def _call(self, player: _Player, method: str, *arguments: Any) -> None:
        player.request, player.called = None, time.monotonic()
        player.actor.call(method, *arguments)

    def _seconds_to_wait(self) -> float:
        waiting = [player.asked for player in self._players if player.request is not None]
        if waiting and not self._asked:
            return max(0.0, min(waiting) + self._limits.max_wait_seconds - time.monotonic())
        return min(_LONGEST_WAIT, self._limits.stall_seconds)

    def _ask_policy(self) -> None:
        """Send the longest waiting requests, unless others may soon join them."""
        waiting = sorted((p for p in self._players if p.request is not None), key=lambda p: p.asked)
        if self._asked or not waiting:
            return
        is_full = len(waiting) >= self._limits.max_batch
        may_grow = any(player.job is not None and player.request is None for player in self._players)
        is_due = time.monotonic() >= waiting[0].asked + self._limits.max_wait_seconds
        if is_full or is_due or not may_grow:
            alone = waiting[0].asks_alone
            batch = waiting[:1] if alone else [p for p in waiting if not p.asks_alone]
            self._asked = batch[: self._limits.max_batch]
            self._policy_called = time.monotonic()
            self._policy.call("infer", [player.request for player in self._asked])

    def _hear_policy(self, answer: Answer) -> None:
        asked, self._asked = self._asked, []
        if isinstance(answer, Died):
            self._replace_policy("policy died", answer.reason)
        elif isinstance(answer, Returned):
            self._policy_losses, self._policy_failures, self._policy_is_new = 0, 0, False
            for player, chunk in zip(asked, answer.value, strict=True):
                player.asks_alone = False
                self._call(player, "proceed", chunk)
        elif answer.in_making:
            raise answer.error or WorkerError(f"the policy cannot be made again: {answer.traceback}")
        elif len(asked) > 1:  # one of them is to blame
            for player in asked:
                player.asks_alone = True
        else:
            self._policy_failures += 1
            if self._policy_failures >= MAX_ATTEMPTS:
                raise answer.error or WorkerError(
                    f"the policy failed in {self._policy_failures} episodes and answered none: {answer.traceback}"
                )
            asked[0].asks_alone = False
            self._call(asked[0], "abandon", answer.traceback)

    def _replace_policy(self, what: str, detail: str) -> None:
        self._policy_losses += 1
        self._on_incident(Incident(what=what, job="", attempt=self._policy_losses, detail=detail))
        self._policy.kill()
        self._asked = []
        if self._policy_losses >= MAX_ATTEMPTS:
            raise WorkerError(
                f"the policy's process was lost {self._policy_losses} times in a row without an answer ({detail}). "
                f"{_LACK_OF_MEMORY}"
            )
        self._policy = self._start_policy()

    def _hear_player(self, player: _Player, answer: Answer) -> Iterator[tuple[Job, Any]]:
        if not isinstance(answer, Died):
            player.is_new = False
        job = player.job
        assert job is not None
        if isinstance(answer, Returned) and isinstance(answer.value, Question):
            player.request, player.asked = answer.value, time.monotonic()
        elif isinstance(answer, Returned):
            player.job = None
            yield job, answer.value
        elif isinstance(answer, Raised):
            if answer.error is not None:
                raise answer.error
            player.job = None
            yield from self._retry(job, "player failed", answer.traceback)
        else:
            yield from self._replace_player(player, "player died", answer.reason)

    def _replace_stalled(self) -> Iterator[tuple[Job, Any]]:
        now, limit = time.monotonic(), self._limit(self._policy_is_new)
        if self._asked and now > self._policy_called + limit:
            self._replace_policy("policy stalled", f"no sign for {limit:g} s")
        for player in list(self._players):
            limit = self._limit(player.is_new)
            if player.job is None or player.request is not None or now <= player.called + limit:
                continue
            if player.is_new:  # its job never began
                self._attempts[player.job.label] -= 1
                yield from self._dismiss(player, f"no sign for {limit:g} s after it was started")
            else:
                yield from self._replace_player(player, "player stalled", f"no sign for {limit:g} s")

    def _dismiss(self, player: _Player, detail: str) -> Iterator[tuple[Job, Any]]:
        """Go on with the other players, as long as one of them has ever answered."""
        if all(other.is_new for other in self._players):
            raise WorkerError(
                f"a simulating process gave {detail}. Use fewer --workers, or a host or cluster with room for them."
            )
        assert player.job is not None
        player.actor.kill()
        self._players.remove(player)
        yield from self._retry(player.job, "player stalled", detail)

    def _replace_player(self, player: _Player, what: str, detail: str) -> Iterator[tuple[Job, Any]]:
        job, player.job = player.job, None
        player.actor.kill()
        player.actor, player.is_new = self._start_player(), True
        assert job is not None
        yield from self._retry(job, what, detail)

    def _retry(self, job: Job, what: str, detail: str) -> Iterator[tuple[Job, Any]]:
        attempt = self._attempts[job.label]
        self._on_incident(Incident(what=what, job=job.label, attempt=attempt, detail=detail))
        if attempt < MAX_ATTEMPTS:
            self._again.append(job)
        else:
            yield job, Lost(f"{what} in each of {attempt} attempts, the last time: {detail}")
