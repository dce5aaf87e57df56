"""Whether the parts of a LeRobot data set say the same: its counts, its lists, its rows and its videos.

Contradictions within one entry of the list of episodes are found where that is read, in `lerobot_metadata`.
"""

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Bool, Int64

from focusvla.data.formats import lerobot_layout as layout
from focusvla.data.formats.lerobot_metadata import EpisodeEntry, Metadata
from focusvla.data.prefetching import map_ahead
from focusvla.data.video import VideoFrames
from focusvla.errors import DataError

Positions = Int64[np.ndarray, " _"]


def count_contradictions(path: Path, metadata: Metadata) -> Iterator[str]:
    """A sentence for each count of `meta/info.json` that the lists beside it do not confirm."""
    listed = {entry.index: entry for entry in metadata.episodes}
    lists = {
        "total_episodes": (len(listed), "episodes are listed"),
        "total_frames": (sum(entry.length for entry in listed.values()), "steps the listed episodes have"),
        "total_tasks": (len(metadata.tasks), "tasks are listed"),
    }
    for name, (found, what) in lists.items():
        announced = metadata.info.get(name, found)
        if announced != found:
            yield (
                f"{path / layout.INFO_PATH}, {name}: expected {found}, since so many {what} in {path / 'meta'}, got "
                f"{announced}. Download the data set again, or correct the one that is wrong."
            )


def table_contradictions(metadata: Metadata, places: Mapping[int, set[Path]]) -> Iterator[str]:
    """A sentence for each episode with rows elsewhere than where it is listed; `places` is where rows were found."""
    for entry in metadata.episodes:
        for other in sorted(places.get(entry.index, set()) - {entry.data_path}):
            if not entry.contradiction:
                yield (
                    f"{other}: expected no rows of episode {entry.index}, which lies in {entry.data_path} as "
                    f"{entry.listed_in} says, got some. Remove the ones that are wrong."
                )


def unlisted_rows(path: Path, metadata: Metadata, places: Mapping[int, set[Path]]) -> list[str]:
    """A sentence for rows that no listed episode has, which is no fault where episodes were left out on purpose."""
    listed = {entry.index for entry in metadata.episodes}
    unknown = sorted(index for index in places if index not in listed)
    tables = {entry.data_path for entry in metadata.episodes}
    pattern = re.sub(r"\{\w+(?::\w+)?\}", "*", metadata.info["data_path"])
    unread = [str(file.relative_to(path)) for file in sorted(path.glob(pattern)) if file not in tables]
    found = [f"rows of episode {index}" for index in unknown] + unread
    if not found:
        return []
    return [
        f"{metadata.episodes[0].listed_in} lists no episode for {', '.join(found[:3])}"
        f"{f' and {len(found) - 3} more' if len(found) > 3 else ''}; they are not read."
    ]


def require_row_agreement(
    entry: EpisodeEntry, instruction: str, stated: Mapping[str, np.ndarray], rate_hz: float
) -> None:
    """Raise unless the rows of an episode say of it what the list of episodes does.

    `stated` are the columns `timestamp` and `index`, where there are such, as (rows, 1) in the rows' order.

    Raises:
        DataError: naming both places.
    """
    where = f"{entry.data_path}, episode {entry.index}"
    words = instruction.strip()
    if words and entry.instructions and words not in map(str.strip, entry.instructions):
        raise DataError(
            f"{where}, task_index: expected the instruction that {entry.listed_in} gives the episode "
            f"({', '.join(map(repr, entry.instructions))}), got {instruction!r}. Correct the one that is wrong."
        )
    if "timestamp" in stated:
        timestamp, expected = stated["timestamp"].reshape(-1), np.arange(entry.length) / rate_hz
        if not entry.videos:  # pictures that lie beside the rows do not care when the clock began
            timestamp = timestamp - timestamp[0]
        off = ~(np.abs(timestamp - expected) < 0.5 / rate_hz)
        if off.any():
            row = int(off.argmax())
            raise DataError(
                f"{where}, timestamp: expected {expected[row]:.3f} s in row {row}, as frame_index and fps say, got "
                f"{timestamp[row]:.3f}. Record at a constant rate, or correct fps in {layout.INFO_PATH}."
            )
    if "index" in stated and entry.first_row is not None:
        index = stated["index"].reshape(-1)
        expected = entry.first_row + np.arange(entry.length)
        if (index != expected).any():
            row = int((index != expected).argmax())
            raise DataError(
                f"{where}, index: expected {expected[row]} in row {row}, as dataset_from_index in {entry.listed_in} "
                f"says, got {index[row]}. Restore both from their source."
            )


class EpisodeVideos:
    """Which frames of the video files belong to which episode; files are looked at when first asked for."""

    def __init__(self, metadata: Metadata, cameras: Sequence[str]):
        """`cameras` are the features to look at, of which those that are no videos have no files."""
        self._rate_hz = float(metadata.info["fps"])
        self._listed = metadata.episodes
        self._entries: dict[Path, list[tuple[EpisodeEntry, float]]] = {}
        for entry in metadata.episodes:
            for key, span in entry.videos.items():
                if key in cameras:
                    self._entries.setdefault(span.path, []).append((entry, span.start_seconds))
        self._locks = {path: Lock() for path in self._entries}
        self._placed: dict[Path, tuple[VideoFrames, Mapping[int, Positions | DataError]] | DataError] = {}

    @property
    def paths(self) -> list[Path]:
        """All files, in the order of their episodes."""
        return list(self._entries)

    def find(self, path: Path, episode: int) -> tuple[VideoFrames, Positions]:
        """The frames of a file, and the positions of those that belong to an episode in it.

        Raises:
            DataError: the file is damaged, a row has no frame, or the episodes in the file contradict each other.
        """
        with self._locks[path]:
            if path not in self._placed:
                try:
                    self._placed[path] = self._place(path)
                except DataError as error:
                    self._placed[path] = error
        placed = self._placed[path]
        if isinstance(placed, DataError):
            raise placed
        video, positions = placed
        found = positions[episode]
        if isinstance(found, DataError):
            raise found
        return video, found

    def require(self, episodes: Collection[int], num_threads: int) -> None:
        """Raise unless every row of some episodes has its frame.

        Raises:
            DataError: as `find`.
        """

        def look(path: Path) -> None:
            for entry, _ in self._entries[path]:
                if entry.index in episodes:
                    self.find(path, entry.index)

        deque(map_ahead(look, self._entries, num_threads), maxlen=0)

    def _place(self, path: Path) -> tuple[VideoFrames, Mapping[int, Positions | DataError]]:
        video = VideoFrames.find(path)
        times = video.shown * float(video.tick)
        positions: dict[int, Positions | DataError] = {}
        claims: list[tuple[Positions, EpisodeEntry]] = []
        is_claimed = np.zeros(len(video), bool)
        for entry, start in self._entries[path]:
            try:
                found = video.nearest(self._rate_hz, start, entry.length)
            except DataError as error:
                positions[entry.index] = DataError(f"episode {entry.index}: {error}")
                is_claimed |= (times >= start) & (times < start + entry.length / self._rate_hz)
            else:
                positions[entry.index] = found
                claims.append((found, entry))
                is_claimed[found] = True
        try:
            self._require_end(path, times)
            claims.sort(key=lambda claim: claim[0][0])
            self._require_own(path, claims)
            self._require_claims(path, video, claims, is_claimed)
        except DataError as error:  # it cannot be told for which of the others the file is right
            positions = {
                index: found if isinstance(found, DataError) else error for index, found in positions.items()
            }
        return video, positions

    def _require_end(self, path: Path, times: np.ndarray) -> None:
        """A file that ends early may lack a frame anywhere, all later ones being shown too soon."""
        entry, start = max(self._entries[path], key=lambda found: found[1] + found[0].length / self._rate_hz)
        last = start + (entry.length - 1) / self._rate_hz
        if times[-1] < last - 0.5 / self._rate_hz:
            raise DataError(
                f"{path}: expected frames until {last:.3f} s, the last row of episode {entry.index}, got the last at "
                f"{times[-1]:.3f} s, so that frames may be missing before it as well. Restore it from its source."
            )

    def _require_own(self, path: Path, claims: list[tuple[Positions, EpisodeEntry]]) -> None:
        for (before, one), (after, other) in pairwise(claims):
            if after[0] <= before[-1]:
                raise DataError(
                    f"{path}: expected frames of its own for each episode, got frame {after[0]} for episode {one.index} "
                    f"and for episode {other.index}. Correct from_timestamp in {other.listed_in}."
                )

    def _require_claims(
        self,
        path: Path,
        video: VideoFrames,
        claims: list[tuple[Positions, EpisodeEntry]],
        is_claimed: Bool[np.ndarray, " frames"],
    ) -> None:
        """A frame that no row has means that others are counted wrongly, unless an episode was left out there: then as
        many rows are missing in the numbers that the list gives the rows."""
        edges = np.diff(np.concatenate([[False], ~is_claimed, [False]]).astype(int))
        for first, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            before = next((entry for found, entry in reversed(claims) if found[-1] < first), None)
            after = next((entry for found, entry in claims if found[0] >= end), None)
            missing = self._rows_between(before, after)
            if missing != end - first and (missing < end - first or (before and after)):
                entries = [entry for entry, _ in self._entries[path]]
                names = ", ".join(str(entry.index) for entry in entries[:5]) + ", ..." * (len(entries) > 5)
                raise DataError(
                    f"{path}: expected a row for each of its {len(video)} frames, got none in its episodes ({names}) for "
                    f"the {end - first} from {float(video.shown[first] * video.tick):.3f} s on. Restore the file and "
                    f"{entries[0].listed_in}."
                )

    def _rows_between(self, before: EpisodeEntry | None, after: EpisodeEntry | None) -> int:
        """How many rows lie between two episodes that do not belong to any, or between one and its neighbor in another
        file."""
        known = {entry.first_row: entry for entry in self._listed if entry.first_row is not None}
        rows = sorted(known)
        if before is None and after is not None and after.first_row is not None:
            place = bisect_left(rows, after.first_row)
            before_end = rows[place - 1] + known[rows[place - 1]].length if place else 0
            return after.first_row - before_end
        if after is None and before is not None and before.first_row is not None:
            place = bisect_right(rows, before.first_row)
            return rows[place] - before.first_row - before.length if place < len(rows) else 0
        if before is None or after is None or before.first_row is None or after.first_row is None:
            return 0
        return after.first_row - before.first_row - before.length
