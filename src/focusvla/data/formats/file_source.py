"""What all data sets in files have in common: their numbers are read and checked when they are opened and stay in
memory; their frames are decoded when asked for."""

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

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
from focusvla_client import Camera, Spec


@dataclass(frozen=True)
class Recording:
    """The numbers and words of one episode as they lie in a file, not checked yet."""

    state: np.ndarray
    """(steps, width) float32, if nothing is damaged."""
    action: np.ndarray
    """(steps, width) float32, if nothing is damaged."""
    instruction: str


@runtime_checkable
class StoredEpisode(Protocol):
    """Where one episode lies, and how it is read."""

    @property
    def name(self) -> str:
        """File and place in it, for messages."""
        ...

    def recording(self) -> Recording:
        """Read the numbers; widths and values need not be checked here.

        Raises:
            DataError: the file is damaged or lacks something.
        """
        ...

    def frames(self, camera: Camera) -> Iterator[np.ndarray]:
        """Decode one camera's images; sizes and their number need not be checked here.

        Raises:
            DataError: the file is damaged or lacks the camera.
        """
        ...


@runtime_checkable
class SelfDescribedEpisode(StoredEpisode, Protocol):
    """An episode of a benchmark's own format, whose conventions are known."""

    def spec(self) -> Spec:
        """What its numbers mean.

        Raises:
            DataError: the file is damaged or lacks something.
        """
        ...


class Damage:
    """What becomes of an episode that cannot be read: refused, or left out and noted."""

    def __init__(self, skip: bool = False):
        self.skip = skip
        self.skipped: list[str] = []
        """A sentence per episode, or per file of episodes, that was left out."""

    @contextmanager
    def contained(self) -> Generator[None]:
        """Note a `DataError` of the block and go on after it, or let it through."""
        try:
            yield
        except DataError as error:
            if not self.skip:
                raise
            self.skipped.append(str(error))

    def refuse(self, contradiction: str) -> None:
        """Raise a `DataError` of that sentence, or note it."""
        with self.contained():
            raise DataError(contradiction)


class FileSource:
    """The readable ones of some stored episodes, numbered in their order, as an `EpisodeSource`.

    With `damage.skip` every frame is decoded once, so that what is left out is known before training begins.

    Raises:
        DataError: an episode is damaged or does not fit the spec, or none is left.
    """

    def __init__(self, location: Path, spec: Spec, episodes: Iterable[StoredEpisode], damage: Damage):
        self._location = location
        self._spec = spec
        self._damage = damage
        self._stored: list[StoredEpisode] = []
        self._episodes: list[Episode] = []
        self._kept: list[int] = []
        for position, stored in enumerate(episodes):
            with damage.contained():
                episode = _read(stored, len(self._episodes), spec)
                if damage.skip:
                    for camera in spec.cameras:
                        for _ in _checked_frames(stored, camera, len(episode)):
                            pass
                self._stored.append(stored)
                self._episodes.append(episode)
                self._kept.append(position)
        if not self._episodes:
            raise none_left(location, self.skipped)

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def num_episodes(self) -> int:
        return len(self._episodes)

    @property
    def steps_per_picture(self) -> int:
        return 1

    @property
    def location(self) -> Path:
        """The folder or file that holds it."""
        return self._location

    @property
    def skipped(self) -> list[str]:
        """A sentence per episode, or per file of episodes, that was damaged and left out."""
        return list(self._damage.skipped)

    @property
    def notes(self) -> list[str]:
        """A sentence for each thing that a user should know and that is no damage."""
        return []

    @property
    def computes_statistics(self) -> bool:
        """Whether `statistics` reads all numbers, since the data set stores none that can be used."""
        return True

    def statistics(self) -> Statistics:
        return Statistics.from_source(self)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self._spec, self._kept)).encode())
        files = sorted(self._location.rglob("*")) if self._location.is_dir() else [self._location]
        for file in files:
            if file.is_file():
                facts = file.stat()
                digest.update(
                    f"{file.relative_to(self._location)} {facts.st_size} {facts.st_mtime_ns}\n".encode()
                )
        return digest.hexdigest()[:16]

    def episode(self, index: int) -> Episode:
        require_known_episode(index, self.num_episodes)
        return self._episodes[index]

    def frames(self, index: int, camera: str) -> Iterator[np.ndarray]:
        require_known_episode(index, self.num_episodes)
        require_known_camera(self._spec, camera)
        found = next(entry for entry in self._spec.cameras if entry.name == camera)
        return _checked_frames(self._stored[index], found, len(self._episodes[index]))


def shown_spec(
    location: Path, episodes: Sequence[SelfDescribedEpisode], given: Spec | None, damage: Damage
) -> Spec:
    """The spec of the first episode that is not damaged; a given one must be the same.

    Raises:
        DataError: they differ, or no episode can be read.
    """
    reasons = list(damage.skipped)
    for episode in episodes:
        try:
            return agreed_spec(episode.name, episode.spec(), given)
        except DataError as error:
            if not damage.skip:
                raise
            reasons.append(str(error))
    raise none_left(location, reasons)


def agreed_spec(where: str, own: Spec, given: Spec | None) -> Spec:
    """A data set's own spec, unless another one was given.

    Raises:
        DataError: naming each difference; `where` names the data set.
    """
    differences = given.differences(own) if given else []
    if differences:
        raise DataError(
            f"{where}: expected the spec that was passed, got {'; '.join(differences)} (passed first). "
            "Leave the spec out to use the data set's own."
        )
    return own


def none_left(location: Path, reasons: Sequence[str]) -> DataError:
    """The error of a data set without a single episode that can be read."""
    reason = f"left out {len(reasons)}, first: {reasons[0]}" if reasons else "got none"
    return DataError(f"{location}: expected at least one episode, {reason}. Restore the data set.")


def _read(stored: StoredEpisode, index: int, spec: Spec) -> Episode:
    if isinstance(stored, SelfDescribedEpisode) and (differences := spec.differences(stored.spec())):
        raise DataError(
            f"{stored.name}: expected the data set's spec, got {'; '.join(differences)} (data set first). "
            "Put it into another data set."
        )
    recording = stored.recording()
    require_valid_vectors(stored.name, recording.state, recording.action, spec)
    if not recording.instruction.strip():
        raise DataError(f"{stored.name}: expected an instruction, got none. Name the task.")
    return Episode(index, recording.state, recording.action, recording.instruction)


def _checked_frames(stored: StoredEpisode, camera: Camera, length: int) -> Iterator[np.ndarray]:
    count = 0
    for count, frame in enumerate(stored.frames(camera), start=1):
        try:
            require_frame(frame, camera, count - 1)
        except DataError as error:
            raise DataError(f"{stored.name}, {error}") from None
        if count <= length:
            yield frame
    if count != length:
        raise DataError(
            f"{stored.name}, camera {camera.name!r}: expected {length} frames, one per action, got {count}. "
            "Restore this file from its source."
        )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected readable JSON, got {error}. Restore it from its source."
        ) from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(values).__name__}. Restore it.")
    return values
