"""Recorded episodes and where they come from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from focusvla.errors import DataError
from focusvla_client import Spec

if TYPE_CHECKING:
    from focusvla.data.normalization import Statistics


@dataclass(frozen=True)
class Episode:
    """Everything but the images of one recorded episode, in physical units."""

    index: int
    state: Float32[np.ndarray, "steps state"]
    """Proprioception at the moment at which each action was chosen."""
    action: Float32[np.ndarray, "steps action"]
    instruction: str

    def __post_init__(self):
        require_valid_vectors(f"episode {self.index}", self.state, self.action)

    def __len__(self) -> int:
        """Control steps."""
        return len(self.action)


@runtime_checkable
class EpisodeSource(Protocol):
    """A data set that is read episode by episode. Every source passes `tests/data/test_episode_source.py`."""

    @property
    def spec(self) -> Spec:
        """What its numbers mean."""
        ...

    @property
    def num_episodes(self) -> int: ...

    @property
    def steps_per_picture(self) -> int:
        """Control steps from one picture to the next; the frames between repeat it."""
        ...

    def statistics(self) -> "Statistics":
        """Ranges of state and action over the whole data set.

        Raises:
            DataError: the data set does not hold them; the message says how to compute them.
        """
        ...

    def fingerprint(self) -> str:
        """A short text that changes whenever the data set does, so that no stale cache is used."""
        ...

    def episode(self, index: int) -> Episode:
        """The vectors and the instruction of one episode, 0 <= index < num_episodes."""
        ...

    def frames(self, index: int, camera: str) -> Iterator[np.ndarray]:
        """One camera's images of an episode, (height, width, 3) uint8 RGB, one per control step, in order.

        Several threads may ask for different episodes at once.
        """
        ...


@runtime_checkable
class VerifiableSource(Protocol):
    """A data set of which can be told without decoding a picture whether each row has its own."""

    def require_pictures(self, num_threads: int) -> None:
        """Look at all files, several at once.

        Raises:
            DataError: naming the file and the episodes.
        """
        ...


def require_valid_vectors(
    where: str, state: np.ndarray, action: np.ndarray, spec: Spec | None = None
) -> None:
    """Raise unless state and action are finite (steps, width) tables of the same, positive length.

    Raises:
        DataError: `where` names the episode or the file.
    """
    for name, values, names in (
        ("state", state, spec.state if spec else None),
        ("action", action, spec.action if spec else None),
    ):
        if values.ndim != 2:
            raise DataError(
                f"{where}, {name}: expected a table (steps, width), got an array of shape {values.shape}. "
                "Stack one row per control step."
            )
        if names is not None and values.shape[1] != len(names):
            raise DataError(
                f"{where}, {name}: expected {len(names)} dimensions as the spec names them "
                f"({', '.join(names)}), got {values.shape[1]}. Use the spec that belongs to this data set."
            )
        if len(values) == 0:
            raise DataError(f"{where}: expected at least one step, got an empty episode. Remove it.")
        if not np.isfinite(values).all():
            step, dimension = np.argwhere(~np.isfinite(values))[0]
            label = names[dimension] if names is not None else f"dimension {dimension}"
            raise DataError(
                f"{where}, {name}, step {step}, {label}: expected a finite number, "
                f"got {values[step, dimension]}. Remove or record again this episode."
            )
    if len(state) != len(action):
        raise DataError(
            f"{where}: expected as many states as actions, got {len(state)} and {len(action)}. "
            "Record the state at which each action was chosen, and nothing after the last action."
        )


def require_known_camera(spec: Spec, camera: str) -> None:
    """Raise unless the spec has that camera.

    Raises:
        DataError: naming the cameras which exist.
    """
    known = [entry.name for entry in spec.cameras]
    if camera not in known:
        raise DataError(
            f"camera {camera!r}: expected one of {', '.join(map(repr, known))}. Ask for one of these."
        )


def require_known_episode(index: int, num_episodes: int) -> None:
    """Raise unless there is an episode of that index.

    Raises:
        DataError: naming the range.
    """
    if not 0 <= index < num_episodes:
        raise DataError(f"episode {index}: expected 0..{num_episodes - 1}. Ask for one of these.")
