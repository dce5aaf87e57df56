"""The contract of every `EpisodeSource`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.episodes import EpisodeSource
from focusvla.data.formats.opening import open_source
from focusvla.data.memory import MemorySource
from focusvla.data.mixture import MixturePart, MixtureSource
from focusvla.errors import DataError
from focusvla.suites.libero import libero_spec
from focusvla_client import Camera
from focusvla_client.bimanual import robotwin_spec
from lerobot_policies import NEEDS_DEPTH, NEEDS_LEROBOT, without_hub
from written_datasets import (
    gray_memory,
    split_tables,
    store_images_in_tables,
    write_lerobot,
    write_libero_hdf5,
    write_older_lerobot,
    write_rlds,
    write_robotwin,
    write_with_lerobot,
)


def _as_mixture(memory: MemorySource) -> MixtureSource:
    """The same episodes as two parts, of which the second calls its cameras otherwise and in another order."""
    own_names = {"image": "front", "image2": "wrist"}
    renamed = replace(memory.spec, cameras=tuple(Camera(own, 16, 16) for own in ("wrist", "front")))

    def frames(index: int, names: dict[str, str]) -> dict[str, np.ndarray]:
        return {names.get(name, name): np.stack(list(memory.frames(index, name))) for name in own_names}

    first = MemorySource(memory.spec, [memory.episode(0), memory.episode(1)], [frames(0, {}), frames(1, {})])
    second = MemorySource(renamed, [replace(memory.episode(2), index=0)], [frames(2, own_names)])
    return MixtureSource(
        [MixturePart(name="a", source=first), MixturePart(name="b", source=second, cameras=own_names)]
    )


@dataclass(frozen=True)
class Example:
    """A data set, and the same episodes in memory."""

    source: EpisodeSource
    memory: MemorySource


def _memory(memory: MemorySource, folder: Path) -> Example:
    return Example(memory, memory)


def _mixture(memory: MemorySource, folder: Path) -> Example:
    return Example(_as_mixture(memory), memory)


def _lerobot_videos(memory: MemorySource, folder: Path) -> Example:
    return Example(open_source(write_lerobot(folder / "set", memory)), memory)


def _lerobot_images(memory: MemorySource, folder: Path) -> Example:
    path = store_images_in_tables(write_lerobot(folder / "set", memory), memory)
    return Example(open_source(path), memory)


def _lerobot_several_files(memory: MemorySource, folder: Path) -> Example:
    path = split_tables(write_lerobot(folder / "set", memory))
    return Example(open_source(path), memory)


def _older_videos(memory: MemorySource, folder: Path) -> Example:
    return Example(open_source(write_older_lerobot(folder / "set", memory), spec=memory.spec), memory)


def _older_images(memory: MemorySource, folder: Path) -> Example:
    path = write_older_lerobot(folder / "set", memory, version="v2.0", as_images=True)
    return Example(open_source(path, spec=memory.spec), memory)


def _lerobots_own(memory: MemorySource, folder: Path, **options: bool) -> Example:
    memory = gray_memory(libero_spec(64), _lengths(memory))
    with without_hub(folder / "cache"):
        path = write_with_lerobot(folder / "set", memory, **options)
    return Example(open_source(path, spec=memory.spec), memory)


def _rlds(memory: MemorySource, folder: Path) -> Example:
    pytest.importorskip("google_crc32c", reason="needs the extra `rlds`")
    memory = gray_memory(libero_spec(16), _lengths(memory))
    return Example(open_source(write_rlds(folder / "1.0.0", memory)), memory)


def _libero_hdf5(memory: MemorySource, folder: Path) -> Example:
    pytest.importorskip("h5py", reason="needs the extra `hdf5`")
    memory = gray_memory(libero_spec(16), _lengths(memory), ("push",))
    write_libero_hdf5(folder / "set/push_demo.hdf5", memory)
    return Example(open_source(folder / "set"), memory)


def _robotwin_older(memory: MemorySource, folder: Path) -> Example:
    pytest.importorskip("h5py", reason="needs the extra `hdf5`")
    memory = gray_memory(robotwin_spec(16, 24), _lengths(memory))
    return Example(open_source(write_robotwin(folder / "set", memory, older=True)), memory)


def _robotwin(memory: MemorySource, folder: Path) -> Example:
    pytest.importorskip("h5py", reason="needs the extra `hdf5`")
    memory = gray_memory(robotwin_spec(16, 24), _lengths(memory))
    return Example(open_source(write_robotwin(folder / "set", memory, older=False)), memory)


def _lengths(memory: MemorySource) -> tuple[int, ...]:
    return tuple(len(memory.episode(index)) for index in range(memory.num_episodes))


EXAMPLES: dict[str, Callable[[MemorySource, Path], Example]] = {
    "memory": _memory,
    "mixture": _mixture,
    "LeRobot 3.0, videos": _lerobot_videos,
    "LeRobot 3.0, images": _lerobot_images,
    "LeRobot 3.0, a file per episode": _lerobot_several_files,
    "LeRobot 2.1, videos": _older_videos,
    "LeRobot 2.0, images": _older_images,
    "RLDS": _rlds,
    "LIBERO's HDF5": _libero_hdf5,
    "RoboTwin, older": _robotwin_older,
    "RoboTwin": _robotwin,
}
"""A new format is one more entry."""


LEROBOTS_OWN = {
    "LeRobot's own, videos": _lerobots_own,
    "LeRobot's own, images": partial(_lerobots_own, as_images=True),
    "LeRobot's own, with depth": partial(_lerobots_own, with_depth=True),
}
"""Written by the library itself, where it is installed."""


@pytest.fixture(
    params=[
        *EXAMPLES,
        *(
            pytest.param(name, marks=NEEDS_DEPTH if "depth" in name else NEEDS_LEROBOT)
            for name in LEROBOTS_OWN
        ),
    ]
)
def example(request: pytest.FixtureRequest, memory: MemorySource, tmp_path: Path) -> Example:
    return (EXAMPLES | LEROBOTS_OWN)[request.param](memory, tmp_path)


@pytest.fixture
def source(example: Example) -> EpisodeSource:
    return example.source


@pytest.fixture
def expected(example: Example) -> MemorySource:
    return example.memory


def test_a_source_knows_its_conventions(source: EpisodeSource, expected: MemorySource):
    assert source.spec == expected.spec


def test_a_source_yields_states_actions_and_instructions_exactly(
    source: EpisodeSource, expected: MemorySource
):
    assert source.num_episodes == 3
    for index in range(3):
        episode, same = source.episode(index), expected.episode(index)
        assert (episode.index, episode.instruction, len(episode)) == (index, same.instruction, len(same))
        np.testing.assert_array_equal(episode.state, same.state)
        np.testing.assert_array_equal(episode.action, same.action)


def test_a_source_yields_one_frame_per_step_in_order(source: EpisodeSource, expected: MemorySource):
    for index in (2, 0, 1):  # any order of asking
        for camera in source.spec.cameras:
            frames = np.stack(list(source.frames(index, camera.name)))
            same = np.stack(list(expected.frames(index, camera.name)))
            assert frames.dtype == np.uint8
            np.testing.assert_allclose(frames.astype(int), same.astype(int), atol=2)


def test_a_source_yields_the_same_frames_twice(source: EpisodeSource):
    camera = source.spec.cameras[0].name
    first, second = (np.stack(list(source.frames(1, camera))) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_source_knows_the_quantiles_of_all_steps(source: EpisodeSource, expected: MemorySource):
    actions = np.concatenate([expected.episode(index).action for index in range(3)]).astype(np.float64)
    np.testing.assert_allclose(source.statistics().action.q01, np.quantile(actions, 0.01, axis=0))
    np.testing.assert_allclose(source.statistics().action.q99, np.quantile(actions, 0.99, axis=0))


def test_a_source_names_its_cameras_when_asked_for_an_unknown_one(source: EpisodeSource):
    names = ", ".join(repr(camera.name) for camera in source.spec.cameras)
    with pytest.raises(DataError, match=f"camera 'nose': expected one of {names}"):
        source.frames(0, "nose")


@pytest.mark.parametrize("index", [-1, 3])
def test_a_source_names_its_range_when_asked_for_an_unknown_episode(source: EpisodeSource, index: int):
    with pytest.raises(DataError, match=rf"episode {index}: expected 0\.\.2"):
        source.episode(index)
    with pytest.raises(DataError, match=rf"episode {index}: expected 0\.\.2"):
        source.frames(index, source.spec.cameras[0].name)


def test_a_fingerprint_is_short_and_stable(source: EpisodeSource):
    assert source.fingerprint() == source.fingerprint()
    assert len(source.fingerprint()) == 16


@pytest.mark.parametrize("format", EXAMPLES)
def test_different_data_have_different_fingerprints(
    format: str, make_memory: Callable[..., MemorySource], tmp_path: Path
):
    memories = {"a": make_memory([2, 2, 2]), "b": make_memory([2, 3, 2])}
    prints = {
        EXAMPLES[format](memory, tmp_path / name).source.fingerprint() for name, memory in memories.items()
    }
    assert len(prints) == 2


def test_several_threads_may_read_at_once(source: EpisodeSource):
    camera = source.spec.cameras[0].name

    def read(index: int) -> np.ndarray:
        return np.stack(list(source.frames(index % 3, camera)))

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(read, range(12)))
    for index, frames in enumerate(found):
        np.testing.assert_array_equal(frames, found[index % 3])
