"""Several data sets as one.

Each part keeps its own statistics, so that -1 to 1 spans what its robot did, unless all are of one robot and shall have
one set; what the numbers mean must agree.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from focusvla.data.episodes import Episode, EpisodeSource, require_known_camera, require_known_episode
from focusvla.data.normalization import ALONE, Statistics, StatisticsByPart
from focusvla.errors import ConfigurationError, DataError
from focusvla_client import Camera, Spec

MixtureStatistics = Literal["parts", "joint"]
"""Whether each part of a mixture is normalized by its own ranges or all by those of all steps, as one data set would be:
each step counts once, whatever its part's weight."""


@dataclass(frozen=True, kw_only=True)
class MixturePart:
    """One data set of a mixture."""

    name: str
    """Its statistics bear it."""
    source: EpisodeSource
    weight: float = 1.0
    """How often each of its samples is drawn, relative to those of other parts."""
    cameras: Mapping[str, str] = field(default_factory=dict)
    """The mixture's camera names to the data set's, where they differ."""

    def camera(self, name: str) -> Camera:
        """The data set's camera that the mixture calls `name`.

        Raises:
            DataError: there is none; the message says how to map one.
        """
        own = self.cameras.get(name, name)
        for camera in self.source.spec.cameras:
            if camera.name == own:
                return camera
        known = ", ".join(repr(camera.name) for camera in self.source.spec.cameras)
        raise DataError(
            f"part {self.name!r}, camera {name!r}: expected one of {known}, got {own!r}. Map it with "
            f"cameras={{{name!r}: ...}}, or leave the camera out of the mixture."
        )


class MixtureSource:
    """The episodes of all parts, one part after the other, as one `EpisodeSource`.

    Its cameras are those named in `cameras`, by default the first part's under the mixture's names, with the first
    part's sizes; pictures of other sizes are resized with the rest by the frame cache.

    Raises:
        ConfigurationError: no part, two of one name, or a weight that is not positive.
        DataError: a part lacks a camera, or its numbers mean something else.
    """

    def __init__(
        self,
        parts: Sequence[MixturePart],
        cameras: Sequence[str] | None = None,
        normalized_by: MixtureStatistics = "parts",
    ):
        names = [part.name for part in parts]
        if not names or ALONE in names or len(set(names)) < len(names):
            raise ConfigurationError(f"mixture: expected parts with a name of their own each, got {names}.")
        for part in parts:
            if not 0 < part.weight < math.inf:
                raise ConfigurationError(
                    f"part {part.name!r}, weight: expected a positive number, got {part.weight}. Leave the part out to "
                    "draw nothing from it."
                )
        self.parts = tuple(parts)
        self.normalized_by: MixtureStatistics = normalized_by
        self._statistics: Statistics | None = None
        self._spec = _common_spec(self.parts, cameras)
        self._steps_per_picture = _common_steps_per_picture(self.parts)
        self._ends = np.cumsum([part.source.num_episodes for part in parts])

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def num_episodes(self) -> int:
        return int(self._ends[-1])

    @property
    def steps_per_picture(self) -> int:
        return self._steps_per_picture

    def statistics(self) -> Statistics:
        """Of all steps of all parts, read once; `statistics_by_part` gives those that training uses."""
        if self._statistics is None:
            self._statistics = Statistics.from_source(self)
        return self._statistics

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self._spec).encode())
        for part in self.parts:
            cameras = [part.camera(camera.name).name for camera in self._spec.cameras]
            digest.update(repr((part.source.fingerprint(), cameras)).encode())
        return digest.hexdigest()[:16]

    def episode(self, index: int) -> Episode:
        part, own = self._find(index)
        return replace(part.source.episode(own), index=index)

    def frames(self, index: int, camera: str) -> Iterator[np.ndarray]:
        """One camera's images of an episode, in the size that its own data set has."""
        part, own = self._find(index)
        require_known_camera(self._spec, camera)
        return part.source.frames(own, part.camera(camera).name)

    def _find(self, index: int) -> tuple[MixturePart, int]:
        require_known_episode(index, self.num_episodes)
        place = int(np.searchsorted(self._ends, index, side="right"))
        part = self.parts[place]
        return part, index - int(self._ends[place]) + part.source.num_episodes


def parts_of(source: EpisodeSource) -> tuple[MixturePart, ...]:
    """The parts of a mixture, in the order of its episodes; any other data set is its only part."""
    return source.parts if isinstance(source, MixtureSource) else (MixturePart(name=ALONE, source=source),)


def statistics_by_part(source: EpisodeSource) -> StatisticsByPart:
    """The statistics that training uses: of each part of a mixture, or one set of a data set on its own and of a mixture
    that is normalized as one.

    Raises:
        DataError: a part does not hold them; the message names it.
    """
    if isinstance(source, MixtureSource) and source.normalized_by == "joint":
        return StatisticsByPart({ALONE: source.statistics()})
    found = {}
    for part in parts_of(source):
        try:
            found[part.name] = part.source.statistics()
        except DataError as error:
            raise DataError(f"part {part.name!r}: {error}" if part.name else str(error)) from error
    return StatisticsByPart(found)


def open_mixture(
    paths: Sequence[Path],
    weights: Sequence[float] | None = None,
    cameras: Mapping[str, Mapping[str, str]] | None = None,
    normalized_by: MixtureStatistics = "parts",
    *,
    open_source: Callable[[Path], EpisodeSource],
) -> EpisodeSource:
    """Open one data set, or several as a mixture whose parts bear the names of their folders.

    Folders of one name are told apart by those above them: `a/data` and `b/data`. `cameras` maps, by name of the
    part, the mixture's camera names to the data set's.

    Raises:
        ConfigurationError: the weights are not one positive number for each path, a path is given twice, or `cameras`
            names a part that there is not.
        DataError: as `open_source`, or parts that do not fit together.
    """
    if weights is not None and len(weights) != len(paths):
        raise ConfigurationError(
            f"weights: expected one for each of {len(paths)} data sets, got {len(weights)}. Give as many."
        )
    names = _shortest_names(paths)
    unknown = sorted(set(cameras or {}) - set(names))
    if unknown:
        raise ConfigurationError(
            f"cameras: expected names of parts ({', '.join(map(repr, names))}), got {', '.join(map(repr, unknown))}."
        )
    if len(paths) == 1 and not cameras:
        return open_source(paths[0])
    return MixtureSource(
        [
            MixturePart(
                name=name, source=open_source(path), weight=weight, cameras=(cameras or {}).get(name, {})
            )
            for name, path, weight in zip(names, paths, weights or [1.0] * len(paths), strict=True)
        ],
        normalized_by=normalized_by,
    )


def _shortest_names(paths: Sequence[Path]) -> list[str]:
    folders = [path.absolute().parts[1:] for path in paths]
    for length in range(1, max(map(len, folders), default=0) + 1):
        names = ["/".join(folder[-length:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise ConfigurationError(
        f"data: expected different folders, got {', '.join(map(str, paths)) or 'none'}. Name each once; a weight of 2 "
        "draws its samples twice as often."
    )


def _common_spec(parts: Sequence[MixturePart], cameras: Sequence[str] | None) -> Spec:
    first = parts[0]
    if cameras is None:
        renamed = {own: name for name, own in first.cameras.items()}
        cameras = [renamed.get(camera.name, camera.name) for camera in first.source.spec.cameras]
    sizes = [first.camera(name) for name in cameras]
    spec = replace(
        first.source.spec,
        cameras=tuple(replace(camera, name=name) for name, camera in zip(cameras, sizes, strict=True)),
    )
    for part in parts:
        unused = sorted(set(part.cameras) - set(cameras))
        if unused:
            raise DataError(
                f"part {part.name!r}, cameras: expected the mixture's names ({', '.join(map(repr, cameras))}), got "
                f"{', '.join(map(repr, unused))}. The mixture's name comes first, the data set's second."
            )
        for name in cameras:
            part.camera(name)
        differences = replace(part.source.spec, cameras=spec.cameras).differences(spec)
        if differences:
            raise DataError(
                f"part {part.name!r}: expected the conventions of part {first.name!r}, got {'; '.join(differences)} "
                f"({part.name} first). Convert the data, or train on these data sets one by one."
            )
    return spec


def _common_steps_per_picture(parts: Sequence[MixturePart]) -> int:
    """The largest, if it is a multiple of all others: its pictures are anew in every part."""
    steps = {part.name: part.source.steps_per_picture for part in parts}
    largest = max(steps.values())
    for name, own in steps.items():
        if largest % own:
            raise DataError(
                f"part {name!r}, steps_per_picture: expected a divisor of {largest}, the most of all parts, got {own}: "
                "no stride would meet only pictures taken anew. Record at a common pace."
            )
    return largest
