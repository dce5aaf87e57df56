"""By what two data sets are told apart, or one and what became of it: cheap enough for every start of a training."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from focusvla.data.episodes import EpisodeSource

_PEEK_BYTES = 4096
"""Of a file of pictures, that much is read at either end, where videos list the sizes of their frames."""
_DESCRIPTIONS = {".json", ".jsonl", ".md", ".txt", ".lock", ".yaml", ".yml"}


@runtime_checkable
class LiesInFiles(Protocol):
    """A data set on disk."""

    @property
    def location(self) -> Path:
        """The folder or file that holds it."""
        ...


@dataclass(frozen=True)
class Fingerprint:
    """What one data set is of; equal for a copy of it in another place."""

    episodes: int
    steps: int
    numbers: str
    """Of every state and action, in order."""
    instructions: str
    """Of every episode's words, in order."""
    pictures: str
    """Of the files that hold them: names, sizes, and how they begin and end. None is decoded."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Fingerprint":
        """Read what `asdict` made.

        Raises:
            KeyError: an entry is missing.
        """
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def differences(self, other: "Fingerprint") -> list[str]:
        """What differs, in words; empty where both are of the same data."""
        found = [
            f"{name} ({mine} there, {theirs} here)" if isinstance(mine, int) else name
            for (name, mine), theirs in zip(asdict(self).items(), asdict(other).values(), strict=True)
            if mine != theirs
        ]
        return ["files of pictures" if name == "pictures" else name for name in found]


def fingerprint_of(source: EpisodeSource) -> Fingerprint:
    """Read every number and instruction, and the ends of every file of pictures."""
    numbers, words, steps = hashlib.sha256(), hashlib.sha256(), 0
    for index in range(source.num_episodes):
        episode = source.episode(index)
        steps += len(episode)
        for values in (episode.state, episode.action):
            numbers.update(repr(values.shape).encode())
            numbers.update(np.ascontiguousarray(values).tobytes())
        words.update(repr(episode.instruction).encode())
    pictures = _digest_of_files(source.location) if isinstance(source, LiesInFiles) else source.fingerprint()
    return Fingerprint(source.num_episodes, steps, numbers.hexdigest()[:16], words.hexdigest()[:16], pictures)


def _digest_of_files(location: Path) -> str:
    """Videos, where they lie in a folder of their own, or everything but descriptions."""
    digest, root = hashlib.sha256(), location / "videos"
    if not root.is_dir():
        root = location
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
    for path in files:
        place = path.relative_to(location)
        if (
            path.suffix in _DESCRIPTIONS
            or "meta" in place.parts[:1]
            or any(p.startswith(".") for p in place.parts)
        ):
            continue
        size = path.stat().st_size
        digest.update(f"{place} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_PEEK_BYTES))
            file.seek(max(size - _PEEK_BYTES, 0))
            digest.update(file.read(_PEEK_BYTES))
    return digest.hexdigest()[:16]
