"""Whatever bytes a file holds, its reader ends soon with what it held or one message, and takes little memory.

12 damaged files of each kind are read here; FOCUSVLA_FUZZED_FILES=1000 reads that many.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import fuzzed_files

NUM_FILES = int(os.environ.get("FOCUSVLA_FUZZED_FILES", "12"))
NEEDED = {"HDF5": "h5py", "HDF5 of RoboTwin": "h5py", "records": "google_crc32c"}


def test_no_damaged_file_hangs_a_reader_or_ends_it_otherwise_than_with_a_message():
    names = [
        name
        for name in fuzzed_files.READERS
        if name not in NEEDED or importlib.util.find_spec(NEEDED[name]) is not None
    ]
    folders = [str(Path(fuzzed_files.__file__).parent), *sys.path]
    command = [sys.executable, fuzzed_files.__file__, ",".join(names), "0", str(NUM_FILES)]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        timeout=60 + len(names) * NUM_FILES,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.endswith(" ok")] == []
    assert done.returncode == 0, (lines[-1:], done.stderr[-500:])
    assert len(lines) == len(names) * NUM_FILES


def test_damage_changes_nearly_every_file():
    content = bytes(range(256)) * 4
    damaged = [fuzzed_files.damaged(content, fuzzed_files.Random(seed)) for seed in range(100)]
    assert sum(each != content for each in damaged) > 90
