"""Any data set as a LeRobot v3.0 data set, so that a process may be killed at any time.

An episode is read, encoded and published as a shard before the next one is opened; what is in memory is its numbers
and a frame. Shards are named by their episode's index; `growing_dataset` says where they wait.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from focusvla.data.episodes import EpisodeSource
from focusvla.data.growing_dataset import GrowingDataset
from focusvla.data.shards import write_episode_shard
from focusvla.data.verification import require_pictures
from focusvla.errors import DataError

UNKNOWN_ROBOT = "unknown"
"""What a data set that does not name its robot is converted under."""

_CONVERSION = "conversion.json"


@runtime_checkable
class AnnotatedSource(Protocol):
    """A data set whose collector noted something about each episode."""

    def metadata(self, index: int) -> dict[str, Any]:
        """What was noted about one episode, ready for JSON."""
        ...


@runtime_checkable
class NamedRobotSource(Protocol):
    """A data set that names its robot."""

    @property
    def robot_type(self) -> str | None: ...


@runtime_checkable
class PrunedSource(Protocol):
    """A data set that has left out damaged episodes by itself."""

    @property
    def skipped(self) -> list[str]:
        """What is wrong with each of them."""
        ...


@dataclass(frozen=True)
class Conversion:
    """What became of a data set."""

    num_episodes: int
    """Converted."""
    skipped: tuple[str, ...]
    """A sentence per damaged episode that was left out, by the reader or here."""


def convert(
    source: EpisodeSource,
    output: Path,
    *,
    skip_damaged: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Conversion:
    """Write `source` as a LeRobot v3.0 data set at `output`; continue where an interrupted run stopped.

    Numbers, instructions, spec, metadata and steps per picture are kept; pictures are encoded anew. `on_progress` is told
    finished and all episodes.

    Raises:
        DataError: an episode is damaged and `skip_damaged` is not set, which for videos is told before any is decoded,
            or all are.
        ConfigurationError: an unfinished conversion of another data set is in the way.
        StorageError: `output` is made of something else, or the disk is full.
    """
    made_of = {
        "fingerprint": source.fingerprint(),
        "num_episodes": source.num_episodes,
        "skip_damaged": skip_damaged,
    }
    growing = GrowingDataset(output, made_of, _CONVERSION, "conversion", ".converting", _CONVERSION)
    if summary := growing.finished():
        return Conversion(summary["num_episodes"], tuple(summary["skipped"]))
    if not skip_damaged:
        require_pictures(source)
    growing.open()
    skipped = _convert_missing(source, growing, skip_damaged, on_progress)
    num_episodes = source.num_episodes - len(skipped)
    if not num_episodes:
        raise DataError(f"{output}: expected an episode that can be converted, got none. {skipped[0]}")
    skipped = [*(source.skipped if isinstance(source, PrunedSource) else ()), *skipped]
    summary = {"num_episodes": num_episodes, "skipped": skipped}
    growing.publish(summary, source.spec, _robot_type(source), source.steps_per_picture)
    return Conversion(num_episodes, tuple(skipped))


def _convert_missing(
    source: EpisodeSource,
    growing: GrowingDataset,
    skip_damaged: bool,
    on_progress: Callable[[int, int], None],
) -> list[str]:
    """Convert what earlier runs have not, and return what is wrong with each episode that was left out."""
    finished = {shard.folder.name for shard in growing.shards()}
    skipped = []
    for index in range(source.num_episodes):
        if (name := f"{index:08d}") not in finished:
            try:
                _convert_episode(source, index, growing.episodes / name)
            except DataError as error:
                if not skip_damaged:
                    raise
                skipped.append(str(error))
        on_progress(index + 1, source.num_episodes)
    return skipped


def _convert_episode(source: EpisodeSource, index: int, folder: Path) -> None:
    episode = source.episode(index)
    write_episode_shard(
        folder,
        source.spec,
        frames={camera.name: source.frames(index, camera.name) for camera in source.spec.cameras},
        state=episode.state,
        action=episode.action,
        instruction=episode.instruction,
        metadata=source.metadata(index) if isinstance(source, AnnotatedSource) else None,
    )


def _robot_type(source: EpisodeSource) -> str:
    return (source.robot_type if isinstance(source, NamedRobotSource) else None) or UNKNOWN_ROBOT
