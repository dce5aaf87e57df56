"""Episodes held in memory: what tests and tiny experiments train on."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from focusvla.data.episodes import (
    Episode,
    require_known_camera,
    require_known_episode,
    require_valid_vectors,
)
from focusvla.data.normalization import Statistics
from focusvla.data.video import require_frame
from focusvla.errors import DataError
from focusvla_client import Spec


class MemorySource:
    """A data set of arrays; `images[i]` maps each camera to episode i's (steps, height, width, 3) frames.

    Raises:
        DataError: an episode does not fit the spec.
    """

    def __init__(self, spec: Spec, episodes: Sequence[Episode], images: Sequence[Mapping[str, np.ndarray]]):
        if len(images) != len(episodes):
            raise DataError(
                f"images: expected one entry for each of {len(episodes)} episodes, got {len(images)}. "
                "Add them."
            )
        for index, (episode, frames) in enumerate(zip(episodes, images, strict=True)):
            require_valid_vectors(f"episode {index}", episode.state, episode.action, spec)
            for camera in spec.cameras:
                if camera.name not in frames:
                    raise DataError(
                        f"episode {index}, images: expected camera {camera.name!r} of the spec, "
                        f"got {', '.join(map(repr, frames)) or 'none'}. Give its frames."
                    )
                if len(frames[camera.name]) != len(episode):
                    raise DataError(
                        f"episode {index}, camera {camera.name!r}: expected {len(episode)} frames, one per "
                        f"action, got {len(frames[camera.name])}. Give an image for each action."
                    )
                require_frame(frames[camera.name][0], camera, 0)
        self._spec = spec
        self._episodes = list(episodes)
        self._images = list(images)

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def num_episodes(self) -> int:
        return len(self._episodes)

    @property
    def steps_per_picture(self) -> int:
        return 1

    def statistics(self) -> Statistics:
        return Statistics.from_source(self)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self._spec).encode())
        for episode, images in zip(self._episodes, self._images, strict=True):
            digest.update(episode.instruction.encode())
            for values in (episode.state, episode.action, *images.values()):
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:16]

    def episode(self, index: int) -> Episode:
        require_known_episode(index, self.num_episodes)
        return self._episodes[index]

    def frames(self, index: int, camera: str) -> Iterator[np.ndarray]:
        require_known_episode(index, self.num_episodes)
        require_known_camera(self._spec, camera)
        return iter(self._images[index][camera])


def random_source(
    spec: Spec, lengths: Sequence[int], instructions: Sequence[str] = ("lift the cup", "push the bowl")
) -> MemorySource:
    """Random episodes of the given lengths that fit `spec`, the same each time; episode i has instruction i,
    in turn."""
    rng = np.random.default_rng(0)
    episodes, images = [], []
    for index, length in enumerate(lengths):
        action = rng.uniform(-1, 1, (length, len(spec.action))).astype(np.float32)
        state = rng.normal(size=(length, len(spec.state))).astype(np.float32)
        instruction = instructions[index % len(instructions)]
        episodes.append(Episode(index=index, state=state, action=action, instruction=instruction))
        images.append(
            {c.name: rng.integers(0, 256, (length, c.height, c.width, 3), np.uint8) for c in spec.cameras}
        )
    return MemorySource(spec, episodes, images)
