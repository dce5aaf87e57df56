"""Several data sets as one: what must agree, whose statistics count, how parts are told apart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.memory import MemorySource, random_source
from focusvla.data.mixture import MixturePart, MixtureSource, open_mixture, parts_of, statistics_by_part
from focusvla.data.normalization import ALONE, StatisticsByPart
from focusvla.data.samples import build_samples, split_parts
from focusvla.errors import ConfigurationError, DataError
from focusvla_client import Camera, Spec


def _mix(*sources: MemorySource, **options) -> MixtureSource:
    return MixtureSource(
        [MixturePart(name=name, source=source) for name, source in zip("abcdef", sources, strict=False)],
        **options,
    )


def test_episodes_are_numbered_over_all_parts(make_memory: Callable[..., MemorySource]):
    mixture = _mix(make_memory([4, 3]), make_memory([2, 5, 6]))
    assert [len(mixture.episode(index)) for index in range(5)] == [4, 3, 2, 5, 6]
    assert [mixture.episode(index).index for index in range(5)] == [0, 1, 2, 3, 4]


def test_cameras_are_matched_by_name_whatever_a_part_calls_them_and_resized_alike(spec: Spec, tmp_path: Path):
    large = replace(spec, cameras=(Camera("wrist", 32, 32), Camera("top", 20, 20), Camera("image", 24, 24)))
    parts = [random_source(spec, [3]), random_source(large, [2])]
    mixture = MixtureSource(
        [
            MixturePart(name="small", source=parts[0]),
            MixturePart(name="large", source=parts[1], cameras={"image2": "wrist"}),
        ]
    )
    assert mixture.spec == spec
    cache = open_frame_cache(mixture, tmp_path, size=16)
    own = open_frame_cache(parts[1], tmp_path, size=16)
    np.testing.assert_array_equal(cache.images[3:], own.images[:, [2, 0]])


def test_the_first_part_or_the_caller_chooses_the_cameras(spec: Spec):
    first = MixturePart(name="a", source=random_source(spec, [2]), cameras={"head": "image"})
    assert [camera.name for camera in MixtureSource([first]).spec.cameras] == ["head", "image2"]
    assert [camera.name for camera in MixtureSource([first], ["head"]).spec.cameras] == ["head"]


def test_an_absent_camera_is_refused_with_how_to_map_it(spec: Spec):
    front = random_source(replace(spec, cameras=(Camera("front", 16, 16),)), [2])
    with pytest.raises(
        DataError, match=r"part 'b', camera 'image': expected one of 'front', got 'image'. Map it"
    ):
        _mix(random_source(spec, [2]), front)
    mapped = MixturePart(name="b", source=front, cameras={"image": "front", "image3": "front"})
    with pytest.raises(DataError, match=r"part 'b', cameras: expected the mixture's names .* got 'image3'"):
        MixtureSource([MixturePart(name="a", source=random_source(spec, [2])), mapped], ["image"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action", ("dx", "gripper")),
        ("state", ("x", "y", "z")),
        ("control_rate_hz", 20.0),
        ("gripper", "none"),
    ],
)
def test_parts_whose_numbers_mean_different_things_are_refused(spec: Spec, field: str, value):
    other = random_source(replace(spec, **{field: value}), [2])
    with pytest.raises(DataError, match=rf"part 'b': expected the conventions of part 'a', got {field}: "):
        _mix(random_source(spec, [2]), other)


def test_parts_at_different_paces_share_the_slowest_if_it_is_a_multiple(
    make_memory: Callable[..., MemorySource],
):
    class Slow(MemorySource):
        def __init__(self, memory: MemorySource, pace: int):
            self.__dict__.update(memory.__dict__)
            self.pace = pace

        @property
        def steps_per_picture(self) -> int:
            return self.pace

    memory = make_memory([2])
    assert _mix(memory, Slow(memory, 4), Slow(memory, 2)).steps_per_picture == 4
    with pytest.raises(DataError, match=r"part 'b', steps_per_picture: expected a divisor of 4.* got 3"):
        _mix(Slow(memory, 4), Slow(memory, 3))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_that_is_not_positive_is_refused(memory: MemorySource, weight: float):
    with pytest.raises(ConfigurationError, match="part 'a', weight: expected a positive number"):
        MixtureSource([MixturePart(name="a", source=memory, weight=weight)])


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", ""]])
def test_parts_without_names_of_their_own_are_refused(memory: MemorySource, names: list[str]):
    with pytest.raises(ConfigurationError, match="expected parts with a name of their own"):
        MixtureSource([MixturePart(name=name, source=memory) for name in names])


def test_each_part_is_normalized_by_its_own_statistics(spec: Spec):
    near, far = random_source(spec, [40]), random_source(spec, [30])
    far = MemorySource(
        spec,
        [replace(far.episode(0), action=100 + 50 * far.episode(0).action)],
        [{name: np.stack(list(far.frames(0, name))) for name in ("image", "image2")}],
    )
    mixture = _mix(near, far)
    by_part = statistics_by_part(mixture)
    samples = build_samples(mixture, statistics=by_part, state_limit=1.5, chunk_length=1)
    for part, rows in ((near, slice(0, 40)), (far, slice(40, 70))):
        alone = build_samples(part, statistics=part.statistics(), state_limit=1.5, chunk_length=1)
        np.testing.assert_array_equal(samples.actions[rows], alone.actions)
        np.testing.assert_array_equal(samples.states[rows], alone.states)
    together = build_samples(mixture, statistics=mixture.statistics(), state_limit=1.5, chunk_length=1)
    assert (together.actions[:40, 0] < -0.2).all()


def test_parts_of_one_robot_can_share_the_statistics_that_they_have_as_one_data_set(spec: Spec):
    sources = [random_source(spec, [40, 25]), random_source(spec, [30])]
    far = replace(
        sources[1].episode(0), state=9 + sources[1].episode(0).state, action=sources[1].episode(0).action / 4
    )
    pictures = [
        {camera.name: np.stack(list(source.frames(index, camera.name))) for camera in spec.cameras}
        for source in sources
        for index in range(source.num_episodes)
    ]
    sources[1] = MemorySource(spec, [far], pictures[2:])
    whole = MemorySource(
        spec, [*(sources[0].episode(index) for index in range(2)), replace(far, index=2)], pictures
    )
    parts = [
        MixturePart(name=name, source=source, weight=weight)
        for name, source, weight in zip("ab", sources, (1.0, 7.0), strict=True)
    ]
    joint = MixtureSource(parts, normalized_by="joint")
    by_part = statistics_by_part(joint)
    assert by_part.parts == {ALONE: whole.statistics()}
    assert statistics_by_part(MixtureSource(parts)).parts.keys() == {"a", "b"}
    samples = build_samples(joint, statistics=by_part, state_limit=1.5, chunk_length=1)
    as_one = build_samples(whole, statistics=whole.statistics(), state_limit=1.5, chunk_length=1)
    assert torch.equal(samples.actions, as_one.actions)
    assert torch.equal(samples.states, as_one.states)
    assert joint.fingerprint() == MixtureSource(parts).fingerprint()


def test_joint_statistics_are_computed_once(make_memory: Callable[..., MemorySource]):
    class Counted(MemorySource):
        def __init__(self, memory: MemorySource):
            self.__dict__.update(memory.__dict__)
            self.num_read = 0

        def episode(self, index: int):
            self.num_read += 1
            return super().episode(index)

    counted = Counted(make_memory([4, 3]))
    mixture = _mix(counted, make_memory([2]), normalized_by="joint")
    assert statistics_by_part(mixture) == statistics_by_part(mixture)
    assert counted.num_read == 2


def test_statistics_of_one_part_do_not_normalize_another(make_memory: Callable[..., MemorySource]):
    mixture = _mix(make_memory([4]), make_memory([2]))
    of_one = StatisticsByPart({"a": mixture.parts[0].source.statistics()})
    with pytest.raises(ConfigurationError, match="statistics='b' is unknown"):
        build_samples(mixture, statistics=of_one, state_limit=1.5, chunk_length=1)


def test_samples_know_how_many_belong_to_each_part(make_memory: Callable[..., MemorySource]):
    mixture = MixtureSource(
        [
            MixturePart(name="a", source=make_memory([4, 3])),
            MixturePart(name="b", source=make_memory([2, 5]), weight=2.0),
        ]
    )
    samples = build_samples(
        mixture, statistics=statistics_by_part(mixture), state_limit=1.5, chunk_length=1, episodes=[0, 3]
    )
    assert (samples.part_sizes, samples.part_weights) == ((4, 5), (1.0, 2.0))
    assert samples.frame_rows.tolist() == [0, 1, 2, 3, 9, 10, 11, 12, 13]


def test_every_part_is_split_on_its_own(make_memory: Callable[..., MemorySource]):
    training, validation = split_parts(_mix(make_memory([1] * 10), make_memory([1] * 20)), 0.1, seed=0)
    assert len([each for each in validation if each < 10]) == 1
    assert len([each for each in validation if each >= 10]) == 2
    assert sorted(training + validation) == list(range(30))


def test_a_data_set_on_its_own_is_its_only_part(memory: MemorySource):
    (part,) = parts_of(memory)
    assert (part.name, part.source, part.weight) == (ALONE, memory, 1.0)
    assert statistics_by_part(memory).to_dict() == memory.statistics().to_dict()


def test_damaged_statistics_are_told_with_the_part(memory: MemorySource, write: Callable[..., Path]):
    path = write(memory, "numbers")
    (path / "meta/stats.json").write_text("{")
    mixture = open_mixture([write(memory, "fine"), path], open_source=LeRobotSource)
    with pytest.raises(DataError, match=r"part 'numbers': .*stats.json: expected readable JSON"):
        statistics_by_part(mixture)


def test_another_part_or_another_choice_of_cameras_has_another_fingerprint(
    make_memory: Callable[..., MemorySource],
):
    one, two = make_memory([2]), make_memory([3])
    sources = [_mix(one, two), _mix(two, one), _mix(one, one), _mix(one, two, cameras=["image"])]
    swapped = MixturePart(name="b", source=two, cameras={"image": "image2", "image2": "image"})
    sources.append(MixtureSource([MixturePart(name="a", source=one), swapped]))
    assert len({source.fingerprint() for source in sources}) == 5


def test_data_sets_are_opened_under_the_names_of_their_folders(memory: MemorySource):
    opened: list[Path] = []

    def open_source(path: Path) -> MemorySource:
        opened.append(path)
        return memory

    paths = [Path("data/object"), Path("data/spatial")]
    mixture = open_mixture(paths, [1.0, 2.0], open_source=open_source)
    assert [(part.name, part.weight) for part in parts_of(mixture)] == [("object", 1.0), ("spatial", 2.0)]
    assert opened == paths
    same = open_mixture([Path("x/data"), Path("y/data")], open_source=open_source)
    assert [part.name for part in parts_of(same)] == ["x/data", "y/data"]
    assert open_mixture([Path("data")], open_source=open_source) is memory


def test_data_sets_that_cannot_be_mixed_as_asked_are_refused(memory: MemorySource):
    def mix(*paths: str, **options):
        return open_mixture([Path(path) for path in paths], open_source=lambda path: memory, **options)

    with pytest.raises(ConfigurationError, match="weights: expected one for each of 2 data sets, got 1"):
        mix("a", "b", weights=[1.0])
    with pytest.raises(ConfigurationError, match="data: expected different folders, got a, a"):
        mix("a", "a")
    with pytest.raises(ConfigurationError, match="data: expected different folders, got none"):
        mix()
    with pytest.raises(ConfigurationError, match=r"cameras: expected names of parts \('a', 'b'\), got 'c'"):
        mix("a", "b", cameras={"c": {"image": "front"}})
