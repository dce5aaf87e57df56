"""A checkpoint that answers the questions of many episodes at once."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from focusvla.config import AS_STORED, AS_TRAINED, GivenPictures, InferenceConfig
from focusvla.evaluation.episodes import PolicyTraits, Request
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.results import ACTION_QUERIES_SILENCED, VISION_SILENCED

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
    num_gpus: int = 0


def checkpoint_source(
    checkpoint: Path,
    device: str = "cpu",
    statistics: str | None = None,
    inference: InferenceConfig = AS_TRAINED,
    pictures: GivenPictures = AS_STORED,
) -> PolicySource:
    """The policy in a checkpoint folder, on a device of torch's, with the statistics of a part of its mixture and with
    picture steps of which it says nothing."""
    folder = checkpoint.absolute()
    arguments = folder, device, statistics, inference, pictures
    return PolicySource(CheckpointPolicy, arguments, str(folder), num_gpus=int(device != "cpu"))


class CheckpointPolicy:
    """Answers batches of requests."""

    def __init__(
        self,
        checkpoint: Path,
        device: str,
        statistics: str | None = None,
        inference: InferenceConfig = AS_TRAINED,
        pictures: GivenPictures = AS_STORED,
    ):
        """Load `checkpoint`.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        import torch  # here and not above, so that simulating processes never load it

        from focusvla.policy import load_policy, weights_digest

        if device == "cpu":
            torch.set_num_threads(1)  # the other cores simulate
        self._policy = load_policy(checkpoint, device, statistics, pictures).prepare(inference)
        precision = str(self._policy.dtype).removeprefix("torch.")
        self._identity = str(
            PolicyIdentity(
                weights=weights_digest(checkpoint),
                precision=precision if precision != "float32" else "",
                pictures=self._policy.experiment.model.pictures,
                part=statistics or "",
            )
        )

    def traits(self) -> PolicyTraits:
        """What players must know of it."""
        return PolicyTraits(
            spec=self._policy.spec,
            cameras=tuple(self._policy.cameras),
            chunk_length=self._policy.experiment.model.chunk_length,
            identity=self._identity,
            attends=self._policy.experiment.model.policy_head.attention != "mlp",
        )

    def infer(self, requests: Sequence[Request]) -> list[Float32[np.ndarray, "chunk action"]]:
        """A chunk per request, each without the stream that its episode's condition takes away."""
        from focusvla.model.taps import without_stream

        asked: dict[Literal["action_query", "vision"] | None, list[int]] = {}
        for place, request in enumerate(requests):
            asked.setdefault(SILENCED.get(request.episode.condition), []).append(place)
        chunks: dict[int, np.ndarray] = {}
        for stream, places in asked.items():
            with without_stream(self._policy.model, stream) if stream else nullcontext():
                answers = self._policy.infer_batch([requests[place].observation for place in places])
            chunks |= zip(places, answers, strict=True)
        return [chunks[place] for place in range(len(requests))]
