"""Batches are a pure function of seed and step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from focusvla.config import Augmentation
from focusvla.data.batch_order import BatchOrder
from focusvla.data.crops import crop_center
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.loader import BatchLoader
from focusvla.data.memory import MemorySource
from focusvla.data.samples import Samples, build_samples
from focusvla.errors import ConfigurationError, DataError
from focusvla.presets import paper
from focusvla.types import Batch
from token_tables import padded_tokens


def _tokenize(instructions: list[str]) -> tuple[Tensor, Tensor]:
    return padded_tokens([[len(text), *range(position)] for position, text in enumerate(instructions)], 0)


@pytest.fixture
def samples(memory: MemorySource) -> Samples:
    return build_samples(memory, statistics=memory.statistics(), state_limit=1.5, chunk_length=2)


@pytest.fixture
def images(memory: MemorySource, tmp_path: Path) -> np.ndarray:
    return open_frame_cache(memory, tmp_path, size=16).images


@pytest.fixture
def make_loader(samples: Samples) -> Callable[..., BatchLoader]:
    def make(**options) -> BatchLoader:
        return BatchLoader(samples, **({"batch_size": 4, "seed": 0, "tokenize": _tokenize} | options))

    return make


def test_a_batch_belongs_together(samples: Samples, images: np.ndarray, make_loader):
    batch = make_loader(images=images).batch(0)
    indices = BatchOrder([len(samples)], 4, seed=0).indices(0)
    assert batch.inputs.images is not None
    np.testing.assert_array_equal(batch.inputs.images, images[indices])
    assert torch.equal(batch.inputs.state, samples.states[indices])
    assert torch.equal(batch.actions, samples.action_chunks(indices)[0])
    assert torch.equal(batch.action_mask, samples.action_chunks(indices)[1])
    assert batch.inputs.features is None
    tokens = {0: [4, 0], 1: [4, 0]}
    masks = {0: [True, False], 1: [True, True]}
    ids = samples.instruction_ids[indices].tolist()
    assert batch.inputs.token_ids.tolist() == [tokens[i] for i in ids]
    assert batch.inputs.token_mask.tolist() == [masks[i] for i in ids]


def test_resuming_at_a_step_gives_the_batches_of_an_uninterrupted_run(images: np.ndarray, make_loader):
    options = {
        "images": images,
        "augmentation": Augmentation(shift_pixels=2, brightness=0.2),
        "state_noise": 0.1,
    }
    whole = list(make_loader(**options).batches(0, 6))
    resumed = list(make_loader(**options).batches(3, 6))
    for one, other in zip(whole[3:], resumed, strict=True):
        assert torch.equal(one.inputs.images, other.inputs.images)
        assert torch.equal(one.inputs.state, other.inputs.state)
        assert torch.equal(one.actions, other.actions)


def test_augmentation_and_noise_change_the_inputs_only(images: np.ndarray, make_loader):
    plain = make_loader(images=images).batch(0)
    varied = make_loader(images=images, augmentation=Augmentation(brightness=0.3), state_noise=0.1).batch(0)
    assert not torch.equal(plain.inputs.images, varied.inputs.images)
    assert not torch.equal(plain.inputs.state, varied.inputs.state)
    assert torch.equal(plain.actions, varied.actions)


VARIED = {
    "augmentation": Augmentation(shift_pixels=2, brightness=0.2, contrast=0.2, saturation=0.2),
    "state_noise": 0.1,
    "batch_size": 6,
}


def _tensors(batch: Batch) -> dict[str, Tensor]:
    given = vars(batch.inputs) | {"actions": batch.actions, "action_mask": batch.action_mask}
    return {name: tensor for name, tensor in given.items() if tensor is not None}


def _assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("num_shares", [1, 2, 4, 6])
def test_the_parts_of_a_batch_are_the_batch_bit_for_bit(images: np.ndarray, make_loader, num_shares: int):
    features = np.random.default_rng(0).random((3, 9, 4, 2)).astype(np.float16)
    published = {"augmentation": paper().training.augmentation}
    for table in ({"images": images}, {"features": features}, {"images": images} | published):
        loader = make_loader(**VARIED | table)
        parts = [_tensors(loader.batch(5, (share, num_shares))) for share in range(num_shares)]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        _assert_equal(joined, _tensors(loader.batch(5)))


def test_parts_of_a_batch_differ_by_one_sample_at_most(make_loader):
    loader = make_loader(batch_size=6)
    assert [len(loader.batch(0, (share, 4)).actions) for share in range(4)] == [1, 2, 1, 2]


def test_validation_in_parts_sees_every_sample_once_in_batches_of_equal_sizes(make_loader):
    loader = make_loader()
    whole = next(loader.every_sample(100))
    parts = [list(loader.every_sample(2, (share, 2))) for share in range(2)]
    assert [len(batch.actions) for batch in parts[0]] == [len(batch.actions) for batch in parts[1]]
    seen = torch.cat([batch.actions[batch.action_mask] for part in parts for batch in part])
    assert sorted(seen.flatten().tolist()) == sorted(whole.actions[whole.action_mask].flatten().tolist())
    assert len(whole.actions) % 2 == 1


@pytest.mark.parametrize("share", [(0, 7), (2, 2), (-1, 2), (0, 0)])
def test_a_part_that_a_batch_has_not_is_refused(make_loader, share: tuple[int, int]):
    with pytest.raises(ConfigurationError, match=r"expected one of at most batch_size=6 parts"):
        make_loader(batch_size=6).batch(0, share)


@pytest.mark.parametrize("prefetch", [0, 1, 2, 5])
def test_batches_prepared_ahead_are_those_asked_for_one_by_one(
    images: np.ndarray, make_loader, prefetch: int
):
    loader = make_loader(**VARIED, images=images)
    ahead = list(loader.batches(3, 6, shares=[1, 2], num_shares=3, prefetch=prefetch))
    expected = [loader.batch(step, (share, 3)) for step in (3, 4, 5) for share in (1, 2)]
    for one, other in zip(ahead, expected, strict=True):
        _assert_equal(_tensors(one), _tensors(other))


def test_validation_sees_every_sample_once_in_order_and_unvaried(
    samples: Samples, images: np.ndarray, make_loader
):
    loader = make_loader(images=images, augmentation=Augmentation(brightness=0.3), state_noise=0.1)
    batches = list(loader.every_sample(batch_size=4))
    assert [len(batch.actions) for batch in batches] == [4, 4, 1]
    seen = torch.cat([batch.inputs.images for batch in batches])
    np.testing.assert_array_equal(seen, images)
    assert torch.equal(torch.cat([batch.inputs.state for batch in batches]), samples.states)


def test_validation_sees_the_middle_of_pictures_where_the_policy_will(images: np.ndarray, make_loader):
    rng = np.random.default_rng(0)
    textured = rng.integers(0, 256, images.shape, np.uint8)
    loader = make_loader(images=textured, center_crop_area=0.9)
    seen = next(loader.every_sample(9)).inputs.images
    assert torch.equal(seen, crop_center(torch.from_numpy(textured), 0.9))
    assert not np.array_equal(seen, textured)


def test_features_of_a_random_copy_are_drawn_for_training_and_the_first_for_validation(make_loader):
    copies, rows = 3, 9
    table = np.arange(copies * rows, dtype=np.float16).reshape(copies, rows, 1, 1)
    loader = make_loader(features=table, batch_size=9)
    drawn = [int(value) for value in loader.batch(0).inputs.features.flatten()]
    assert sorted(value % rows for value in drawn) == list(range(rows))
    assert len({value // rows for value in drawn}) > 1
    first = next(loader.every_sample(9)).inputs
    assert first.features.dtype == torch.float32
    assert first.features.flatten().tolist() == list(range(rows))
    assert first.images is None


def test_a_blind_model_gets_neither_images_nor_features(make_loader):
    inputs = make_loader().batch(0).inputs
    assert inputs.images is None
    assert inputs.features is None


def test_tables_of_another_data_set_are_refused(images: np.ndarray, make_loader):
    with pytest.raises(DataError, match=r"images: expected an array .* of at least 9 rows, got \(5, 2"):
        make_loader(images=images[:5])
    with pytest.raises(DataError, match=r"features: expected an array \(copies, rows, patches, raw\)"):
        make_loader(features=np.zeros((9, 4, 2)))
    with pytest.raises(DataError, match="expected at most one of them"):
        make_loader(images=images, features=np.zeros((1, 9, 4, 2)))


def test_tokens_are_padded_on_the_right():
    ids, mask = padded_tokens([[5, 6], [7]], padding_id=0)
    assert ids.tolist() == [[5, 6], [7, 0]]
    assert mask.int().tolist() == [[1, 1], [1, 0]]
