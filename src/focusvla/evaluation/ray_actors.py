"""Actors in a Ray cluster of one or several hosts; the one module that imports ray (extra `ray`)."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from focusvla.errors import ConfigurationError, MissingDependencyError
from focusvla.simulation.actors import Answer, Died, answer_of, made_by

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}


class _Host:
    """Holds an actor's object where it lives."""

    def __init__(self, factory: Callable[..., Any], arguments: tuple[Any, ...]):
        self._made = made_by(factory, arguments)

    def call(self, method: str, arguments: tuple[Any, ...]) -> Answer:
        """Answer with what the object's method comes to."""
        made = getattr(self._made, "value", None)
        return self._made if made is None else answer_of(getattr(made, method), arguments)


class RayActor:
    """An object in a process that Ray placed."""

    def __init__(self, ray: Any, handle: Any):
        self._ray, self._handle = ray, handle
        self.pending: Any = None
        """What the present call will be."""

    def call(self, method: str, *arguments: Any) -> None:
        """Begin a method."""
        self.pending = self._handle.call.remote(method, arguments)

    def kill(self) -> None:
        """End the process."""
        self._ray.kill(self._handle, no_restart=True)


class RaySystem:
    """Actors where Ray places them: one per core, those that need this host's files on this host."""

    def __init__(self, address: str = ""):
        """Join the cluster at `address`, or start one on this host if it is empty.

        Raises:
            MissingDependencyError: ray is not installed.
            ConfigurationError: there is no cluster at that address.
        """
        try:
            import ray
            from ray.exceptions import RayError
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
        except ImportError as error:
            raise MissingDependencyError("ray", "ray", "Evaluation over several hosts") from error
        self._ray, self._death = ray, RayError
        self._is_mine = not ray.is_initialized()
        if self._is_mine:
            try:
                ray.init(address=address or None, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError) as error:
                raise ConfigurationError(
                    f"ray_address={address!r}: expected a running Ray cluster, got {error}. Start one with `ray start`."
                ) from error
        here = ray.get_runtime_context().get_node_id()
        self._here = NodeAffinitySchedulingStrategy(here, soft=False)

    def num_cores(self) -> int:
        """Of all hosts."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def num_gpus(self) -> int:
        """Of all hosts."""
        return int(self._ray.cluster_resources().get("GPU", 0))

    def start(
        self, factory: Callable[..., Any], *arguments: Any, local: bool = False, num_gpus: int = 0
    ) -> RayActor:
        """An actor where there is room, or on this host."""
        if num_gpus > self.num_gpus():
            raise ConfigurationError(
                f"device: expected one of a cluster with {num_gpus} GPU(s), got none. Use --device cpu, or add a host."
            )
        host = self._ray.remote(_Host).options(
            num_cpus=0 if local else 1,
            num_gpus=num_gpus,
            max_restarts=0,
            runtime_env={"env_vars": _ONE_THREAD},
            scheduling_strategy=self._here if local else "SPREAD",
        )
        return RayActor(self._ray, host.remote(factory, arguments))

    def wait(self, actors: Sequence[RayActor], seconds: float) -> list[tuple[RayActor, Answer]]:
        """Those that have answered or died within `seconds`."""
        calls = {actor.pending: actor for actor in actors}
        if not calls:
            return []
        ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=max(0.0, seconds))
        more, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0) if ready else ([], [])
        return [(calls[call], self._answer(call)) for call in {*ready, *more}]

    def _answer(self, call: Any) -> Answer:
        try:
            return self._ray.get(call)
        except self._death as error:
            return Died(f"Ray lost the actor: {error}")

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        if self._is_mine:
            self._ray.shutdown()
