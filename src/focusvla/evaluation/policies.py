"""A checkpoint that answers the questions of many episodes at once."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from focusvla.config import AS_STORED, AS_TRAINED, EvaluationConfig, GivenPictures, InferenceConfig
from focusvla.evaluation.episodes import PolicyTraits, Question
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.parts import choose_parts
from focusvla.evaluation.results import ACTION_QUERIES_SILENCED, VISION_SILENCED
from focusvla.suites import clean_suite

GPU_BATCH = 16
SILENCED: dict[str, Literal["action_query", "vision"]] = {
    VISION_SILENCED: "vision",
    ACTION_QUERIES_SILENCED: "action_query",
}
"""Which stream a condition takes from the policy, by its name in `focusvla.model.taps`."""


@dataclass(frozen=True)
class PolicySource:
    """How a policy is made where it will run: `factory(*arguments)` has the methods of `CheckpointPolicy`."""

    factory: Any
    arguments: tuple[Any, ...]
    description: str
    """Where it comes from, such as the checkpoint's folder."""
    device: str = "cpu"
    """Of torch's, where it answers."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """By suite, the part of its mixture as whose robot it answers; none if it has one set of statistics."""
    is_foreign: bool = False
    """Whether it is no checkpoint of ours, but what `--policy` names."""
    max_players: int = 0
    """How many episodes may be played side by side, 1 for a policy that remembers; 0 for any number."""

    def described(self, traits: PolicyTraits) -> dict[str, Any]:
        """What `protocol.json` says of it: of a foreign policy also what was taken for its conventions."""
        if not self.is_foreign:
            return {"checkpoint": self.description, "device": self.device}
        return {
            "checkpoint": "",
            "policy": self.description,
            "conventions": traits.spec.to_dict(),
            "cameras": list(traits.cameras),
            "chunk_length": traits.chunk_length,
        }


def checkpoint_source(
    checkpoint: Path,
    device: str = "auto",
    parts: Mapping[str, str] = MappingProxyType({}),
    inference: InferenceConfig = AS_TRAINED,
    pictures: GivenPictures = AS_STORED,
) -> PolicySource:
    """The policy in a checkpoint folder, on the device of that name here, in each suite as the part that `choose_parts`
    found, with picture steps of which the checkpoint says nothing.

    Raises:
        ConfigurationError: the device cannot be used.
    """
    from focusvla.devices import choose_device  # which loads torch

    folder, device = checkpoint.absolute(), str(choose_device(device))
    parts = dict(parts)  # which can be sent to another process
    arguments = folder, device, parts, inference, pictures
    return PolicySource(CheckpointPolicy, arguments, str(folder), device, parts)


def source_of(checkpoint: Path, config: EvaluationConfig) -> PolicySource:
    """The policy of a checkpoint, or of a training run's newest, as `config` has it, on the device that it names.

    Raises:
        CheckpointError: there is no checkpoint, or a file of it is missing or damaged.
        ConfigurationError: the device cannot be used, or no part of a mixture, or several, fit a suite.
    """
    from focusvla.checkpoint import open_checkpoint  # with torch

    found = open_checkpoint(checkpoint)
    parts = choose_parts(found.statistics.parts, config.suites, config.statistics)
    return checkpoint_source(found.folder, config.device, parts, config.inference, config.pictures)


class CheckpointPolicy:
    """Answers batches of requests."""

    def __init__(
        self,
        checkpoint: Path,
        device: str,
        parts: Mapping[str, str] = MappingProxyType({}),
        inference: InferenceConfig = AS_TRAINED,
        pictures: GivenPictures = AS_STORED,
    ):
        """Load `checkpoint`.

        Raises:
            CheckpointError: it cannot be loaded.
            ConfigurationError: its statistics are of several parts and `parts` is empty, or names one that is not there.
        """
        import torch  # here and not above, so that simulating processes never load it

        from focusvla.checkpoint import open_checkpoint
        from focusvla.policy import load_policy

        if device == "cpu":
            torch.set_num_threads(1)  # the other cores simulate
        self._parts = parts
        names = list(dict.fromkeys(parts.values())) or [None]
        self._policy = load_policy(checkpoint, device, names[0], pictures).prepare(inference)
        found = open_checkpoint(checkpoint)
        self._by_part = {name: self._policy.with_statistics(found.statistics.choose(name)) for name in names}
        precision = str(self._policy.dtype).removeprefix("torch.")
        self._identity = PolicyIdentity(
            weights=found.digest,
            precision="" if precision == "float32" else precision,
            pictures=self._policy.experiment.model.pictures,
        )

    def traits(self) -> PolicyTraits:
        """What players must know of it; its identity is without a part."""
        return PolicyTraits(
            spec=self._policy.spec,
            cameras=tuple(self._policy.cameras),
            chunk_length=self._policy.experiment.model.chunk_length,
            identity=self._identity,
            attends=self._policy.model.policy_head.attends,
        )

    def infer(self, requests: Sequence[Question]) -> list[Float32[np.ndarray, "chunk action"]]:
        """A chunk per request, as the part that its episode's suite has, and without the stream that the episode's
        condition takes away."""
        from focusvla.model.taps import without_stream

        asked: dict[tuple[str | None, Literal["action_query", "vision"] | None], list[int]] = {}
        for place, request in enumerate(requests):
            part = self._parts[clean_suite(request.episode.suite)] if self._parts else None
            asked.setdefault((part, SILENCED.get(request.episode.condition)), []).append(place)
        chunks: dict[int, np.ndarray] = {}
        for (part, stream), places in asked.items():
            with without_stream(self._policy.model, stream) if stream else nullcontext():
                answers = self._by_part[part].infer_batch([requests[place].observation for place in places])
            chunks |= zip(places, answers, strict=True)
        return [chunks[place] for place in range(len(requests))]
