"""A broken data set is refused with the place named, or read as it was recorded; never anything between.

100 cases are drawn here; FOCUSVLA_BROKEN_DATA_SETS=2000 draws that many.
"""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from corruptions import CORRUPTIONS, FORMATS
from focusvla.data.episodes import EpisodeSource
from focusvla.data.formats.opening import open_source, remarks
from focusvla.data.memory import MemorySource
from focusvla.errors import DataError

NUM_CASES = int(os.environ.get("FOCUSVLA_BROKEN_DATA_SETS", "100"))


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes the valid data set of a format once."""
    folder = tmp_path_factory.mktemp("valid")

    def write(name: str) -> Path:
        if not (folder / name).exists():
            FORMATS[name].write(folder / name, FORMATS[name].memory)
        return folder / name

    return write


def _differences(source: EpisodeSource, memory: MemorySource) -> list[str]:
    """How what is read differs from what was recorded; episodes are recognized by their states."""
    found = []
    for index in range(source.num_episodes):
        episode = source.episode(index)
        recorded = [memory.episode(each) for each in range(memory.num_episodes)]
        same = next((each for each in recorded if np.array_equal(each.state, episode.state)), None)
        if same is None:
            for camera in memory.spec.cameras:  # it may be refused yet
                list(source.frames(index, camera.name))
            found.append(f"episode {index}: other states")
            continue
        if not np.array_equal(same.action, episode.action):
            found.append(f"episode {index}: other actions")
        if same.instruction != episode.instruction:
            found.append(f"episode {index}: {episode.instruction!r} for {same.instruction!r}")
        for camera in memory.spec.cameras:
            shown = np.stack([*source.frames(index, camera.name)]).astype(int)
            expected = np.stack([*memory.frames(same.index, camera.name)]).astype(int)
            if shown.shape != expected.shape or np.abs(shown - expected).mean((1, 2, 3)).max() > 2:
                found.append(f"episode {index}, {camera.name}: {shown.mean((1, 2, 3))}")
    return found


def fault(valid: Path, chosen: tuple[str, str], seed: int, skip_damaged: bool) -> str:
    """What is wrong about how a broken copy of a valid data set is read; empty if nothing is."""
    memory, spec = FORMATS[chosen[0]].memory, FORMATS[chosen[0]].spec
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "data"
        shutil.copytree(valid, root)
        CORRUPTIONS[chosen](root, Random(seed))
        try:
            source = open_source(root, spec=spec, skip_damaged=skip_damaged)
            differences = _differences(source, memory)
        except DataError as error:
            return "" if str(root) in str(error) or "episode" in str(error) else f"names no place: {error}"
        if differences:
            return "; ".join(differences)
        if source.num_episodes == memory.num_episodes or (source.num_episodes < 3 and remarks(source)):
            return ""
        return f"{source.num_episodes} episodes, and nothing is said of it"


@settings(
    max_examples=NUM_CASES,
    deadline=None,
    derandomize=NUM_CASES <= 100,
    database=None,
    phases=[Phase.generate],  # a name and a number tell all; there is nothing to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sampled_from(sorted(CORRUPTIONS)), st.integers(0, 2**32), st.booleans())
def test_a_broken_data_set_is_refused_by_name_or_read_as_it_was_recorded(
    valid: Callable[[str], Path], chosen: tuple[str, str], seed: int, skip_damaged: bool
):
    package = FORMATS[chosen[0]].package
    if not package or importlib.util.find_spec(package):
        assert not fault(valid(chosen[0]), chosen, seed, skip_damaged)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_data_set_unbroken_is_read_as_it_was_recorded(name: str, valid: Callable[[str], Path]):
    if FORMATS[name].package:
        pytest.importorskip(FORMATS[name].package)
    source = open_source(valid(name), spec=FORMATS[name].spec)
    assert not _differences(source, FORMATS[name].memory)
    assert source.num_episodes == 3
    assert all("statistics" in remark for remark in remarks(source))
