"""Readers of files from outside, tried on files with damaged bytes, in a process of its own.

    python fuzzed_files.py NAMES FIRST COUNT

says `READER SEED` before each case, so that who started it knows at which one it hung or died, and after it ` ok` or what
is wrong.
"""

import resource
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from corruptions import FORMATS
from focusvla.data.formats.opening import open_source
from focusvla.data.shards import read_shard_index, write_episode_shard
from focusvla.errors import FocusVLAError
from focusvla_client.wire import WireError, pack, unpack

LONGEST_SECONDS = 10
MOST_BYTES_OF_MEMORY = 32 * 2**20
"""Beside four times the file, since what a library keeps for itself is no reader's fault."""


def _open_all(root: Path, name: str) -> None:
    source = open_source(root, spec=FORMATS[name].spec)
    for index in range(source.num_episodes):
        for camera in source.spec.cameras:
            for _ in source.frames(index, camera.name):
                pass


def _whole(name: str, pattern: str) -> tuple[Callable[[Path], Path], Callable[[Path], object]]:
    """A data set of one format, of which the first file that fits a pattern is damaged."""

    def make(root: Path) -> Path:
        FORMATS[name].write(root, FORMATS[name].memory)
        return sorted(root.glob(pattern))[0]

    return make, lambda root: _open_all(root, name)


def _safetensors(root: Path) -> Path:
    memory = FORMATS["LeRobot 3.0"].memory
    episode, cameras = memory.episode(0), memory.spec.cameras
    frames = {camera.name: memory.frames(0, camera.name) for camera in cameras}
    write_episode_shard(
        root / "0",
        memory.spec,
        frames=frames,
        state=episode.state,
        action=episode.action,
        instruction="push",
    )
    return root / "0/episode.safetensors"


def _message(root: Path) -> Path:
    root.mkdir()
    picture = np.zeros((8, 8, 3), np.uint8)
    path = root / "message"
    path.write_bytes(
        pack({"images": {"image": picture}, "state": np.zeros(8), "prompt": "push", "ids": [1, 2]})
    )
    return path


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "JSON": _whole("LeRobot 3.0", "meta/info.json"),
    "JSON lines": _whole("LeRobot 2.1", "meta/episodes.jsonl"),
    "parquet": _whole("LeRobot 3.0", "data/*/*.parquet"),
    "parquet of images": _whole("LeRobot 3.0 of images", "data/*/*.parquet"),
    "parquet list": _whole("LeRobot 3.0", "meta/episodes/*/*.parquet"),
    "video": _whole("LeRobot 3.0", "videos/*/*/*.mp4"),
    "records": _whole("RLDS", "*.tfrecord*"),
    "HDF5": _whole("LIBERO", "*.hdf5"),
    "HDF5 of RoboTwin": _whole("RoboTwin", "data/*.hdf5"),
    "safetensors": (_safetensors, lambda root: [shard.tensors() for shard in read_shard_index(root)]),
    "msgpack": (_message, lambda root: unpack((root / "message").read_bytes())),
}
"""How a valid file is made in a folder, and how that is read."""


def damaged(content: bytes, random: Random) -> bytes:
    """Bytes with one to four faults: changed, cut off, left out, doubled, or numbers that are far too large."""
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        size = max(len(changed), 1)
        # Headers are at the beginning or at the end, and most is to be gained there.
        place = random.choice(
            [
                random.randrange(size),
                random.randrange(min(size, 256)),
                size - 1 - random.randrange(min(size, 256)),
            ]
        )
        kind = random.randrange(6)
        if kind == 0:
            changed[place : place + 1] = bytes([random.randrange(256)])
        elif kind == 1:
            del changed[place:]
        elif kind == 2:
            del changed[place : place + random.randrange(1, 64)]
        elif kind == 3:
            changed[place:place] = changed[place : place + random.randrange(1, 64)]
        else:
            number = random.choice([2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1, 10**6])
            form = random.choice(["<Q", ">Q", "<I", ">I"])
            limit = 2**32 if form[1] == "I" else 2**64
            changed[place : place + struct.calcsize(form)] = struct.pack(form, number % limit)
    return bytes(changed)


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(names: list[str], first: int, count: int) -> None:
    """Try each reader on `count` damaged files."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            make, read = READERS[name]
            root = Path(folder) / name
            path = make(root)
            content = path.read_bytes()
            read(root)
            for seed in range(first, first + count):
                path.write_bytes(damaged(content, Random(seed)))
                print(name, seed, end="", flush=True)  # noqa: T201
                before, began = _peak(), time.monotonic()
                try:
                    read(root)
                    said = " ok"
                except (FocusVLAError, WireError):
                    said = " ok"
                except Exception:  # noqa: BLE001 that is what is looked for
                    said = " raised " + " ".join(traceback.format_exc().split()[-40:])
                if time.monotonic() - began > LONGEST_SECONDS:
                    said = f" took {time.monotonic() - began:.1f} s"
                if _peak() - before > 4 * len(content) + MOST_BYTES_OF_MEMORY:
                    said = f" took {(_peak() - before) / 2**20:.0f} MiB"
                print(said, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3]))
