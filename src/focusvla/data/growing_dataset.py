"""A LeRobot v3.0 data set that is made an episode at a time and goes on where a killed process stopped.

Until it is complete, what there is of it lies beside it, a conversion's in NAME.converting with a `conversion.json`:

    NAME.recording/
    ├── collection.json         what it is made of; something else is refused
    └── episodes/               a shard for each finished episode
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focusvla.data.formats.lerobot_writer import assemble_dataset
from focusvla.data.shards import Shard, read_shard_index
from focusvla.errors import ConfigurationError, StorageError
from focusvla.storage import explained_storage_errors, replace_json
from focusvla_client import Spec


@dataclass(frozen=True)
class GrowingDataset:
    """What is at `output`, and beside it until it is complete."""

    output: Path
    made_of: dict[str, Any]
    """What decides its content, as JSON gives it back: another run that says the same goes on with it."""
    summary_name: str
    """Of the file in `meta` that says what became of it."""
    key: str = "config"
    """Under which that file holds `made_of`."""
    suffix: str = ".recording"
    description_name: str = "collection.json"

    @property
    def staging(self) -> Path:
        """Where it is until it is complete."""
        return self.output.with_name(self.output.name + self.suffix)

    @property
    def episodes(self) -> Path:
        """The folder of finished episodes."""
        return self.staging / "episodes"

    def finished(self) -> dict[str, Any] | None:
        """Its summary if it is complete.

        Raises:
            StorageError: `output` is made of something else.
        """
        summary_file = self.output / "meta" / self.summary_name
        if summary_file.is_file():
            summary = json.loads(summary_file.read_text("utf-8"))
            if summary.get(self.key) == self.made_of:
                return summary
        if self.output.exists() and (summary_file.is_file() or not self.staging.is_dir()):
            raise StorageError(
                f"output={self.output}: exists already and is made of something else. Choose another folder."
            )
        return None

    def open(self) -> None:
        """Make its staging folder, or go on with that of a killed process.

        Raises:
            ConfigurationError: the folder is of something else; what differs is listed.
            StorageError: it cannot be written.
        """
        description = self.staging / self.description_name
        with explained_storage_errors(self.staging):
            self.episodes.mkdir(parents=True, exist_ok=True)
            if not description.exists():
                replace_json(description, self.made_of)
        found = json.loads(description.read_text("utf-8"))
        differing = [
            f"{name}={found.get(name)!r} there, {value!r} here"
            for name, value in self.made_of.items()
            if found.get(name) != value
        ]
        if differing:
            raise ConfigurationError(
                f"{self.staging} holds an unfinished data set with other values ({'; '.join(differing)}). Go on with its "
                "own values, remove it, or choose another folder."
            )

    def shards(self) -> list[Shard]:
        """The finished episodes in the order of their names."""
        return read_shard_index(self.episodes)

    def publish(
        self, summary: dict[str, Any], spec: Spec, robot_type: str, steps_per_picture: int = 1
    ) -> dict[str, Any]:
        """Make the data set of the finished episodes and return its summary, `made_of` included.

        Raises:
            DataError: there is no finished episode, or a damaged one.
            StorageError: it cannot be written.
        """
        if not self.output.exists():  # an earlier run may have been killed right after this
            assemble_dataset(self.shards(), self.output, spec, robot_type, steps_per_picture)
        summary = {self.key: self.made_of, **summary}
        replace_json(self.output / "meta" / self.summary_name, summary)
        shutil.rmtree(self.staging)
        return summary
