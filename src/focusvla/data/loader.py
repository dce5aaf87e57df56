"""From tables to the batches that a model learns from.

A batch is the global one of a step. Its random numbers are drawn for all of it and then divided, so what a sample
looks like depends on the seed, the step and its position, and not on how many processes or passes share the batch.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from focusvla.config import Augmentation
from focusvla.data.batch_order import BatchOrder, step_generator
from focusvla.data.compressed_frames import CompressedFrames
from focusvla.data.crops import crop_center
from focusvla.data.prefetching import map_ahead
from focusvla.data.samples import Samples
from focusvla.data.transforms import draw_variations, vary
from focusvla.devices import upload
from focusvla.errors import ConfigurationError, DataError
from focusvla.types import Batch, ModelInputs

Tokenize = Callable[
    [list[str]], tuple[Int64[Tensor, "instructions tokens"], Bool[Tensor, "instructions tokens"]]
]
"""Instructions to token ids, padded on the right, and the mask that is False on padding."""


_CPU = torch.device("cpu")


class BatchLoader:
    """Makes the batch of any step, on `device`, where images are varied.

    The model sees either `images`, the frame cache's (rows, cameras, height, width, 3) array, or `features`,
    a frozen encoder's (copies, rows, patches, raw) output for the original frames and augmented copies of
    them, one of which is drawn for each sample; or neither. Both may be memory-mapped. Unvaried images are cropped to the
    middle `center_crop_area`, as the policy will see them.

    Raises:
        DataError: the table of images or features is not that of these samples, or both are given.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        batch_size: int,
        seed: int,
        tokenize: Tokenize,
        images: np.ndarray | CompressedFrames | None = None,
        features: np.ndarray | None = None,
        augmentation: Augmentation | None = None,
        center_crop_area: float = 1.0,
        state_noise: float = 0.0,
        device: torch.device = _CPU,
    ):
        if images is not None and features is not None:
            raise DataError("images, features: expected at most one of them, got both. Leave one out.")
        num_rows = int(samples.frame_rows.max()) + 1
        for name, table, axis, layout in (
            ("images", images, 0, "rows, cameras, height, width, 3"),
            ("features", features, 1, "copies, rows, patches, raw"),
        ):
            if table is None:
                continue
            if table.ndim != len(layout.split(",")) or table.shape[axis] < num_rows:
                raise DataError(
                    f"{name}: expected an array ({layout}) of at least {num_rows} rows, got {table.shape}. "
                    "Make it from the same data set with the same stride."
                )
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        self._device = device
        self._order = BatchOrder(samples.part_sizes, batch_size, seed, samples.part_weights)
        token_ids, token_mask = tokenize(list(samples.instructions))
        self._token_ids, self._token_mask = token_ids.cpu(), token_mask.cpu()
        self._images = images
        self._features = features
        self._augmentation = augmentation or Augmentation()
        self._center_crop_area = center_crop_area
        self._state_noise = state_noise

    def batch(self, step: int, share: tuple[int, int] = (0, 1)) -> Batch:
        """The batch of training step `step`, the same whenever it is asked for, or a part of it.

        `share` is (i, n) for the i-th of n parts, whose sizes differ by one at most; all parts one after the other are
        the batch, bit for bit.

        Raises:
            ConfigurationError: there is no such part, or there are more parts than samples.
        """
        index, count = share
        if not 0 <= index < count <= self._batch_size:
            raise ConfigurationError(
                f"share={share}: expected one of at most batch_size={self._batch_size} parts. Use fewer processes."
            )
        chosen = slice(*(self._batch_size * bound // count for bound in (index, index + 1)))
        return self._make(self._order.indices(step), chosen, step_generator(self._seed, step))

    def num_action_steps(self, step: int) -> int:
        """How many actions of the whole batch of `step` lie within their episodes: what its loss is a mean over."""
        return int(self._samples.action_chunks(self._order.indices(step))[1].sum())

    def batches(
        self,
        first_step: int,
        end_step: int,
        shares: Sequence[int] = (0,),
        num_shares: int = 1,
        prefetch: int = 2,
    ) -> Generator[Batch, None, None]:
        """The parts `shares` of `num_shares` of each batch of a range of steps, one after the other.

        `prefetch` of them are prepared beforehand, by as many threads, which end with the iterator.

        Raises:
            ConfigurationError: the batch cannot be divided like that.
        """
        wanted = ((step, (share, num_shares)) for step in range(first_step, end_step) for share in shares)
        return map_ahead(lambda item: self.batch(*item), wanted, prefetch)

    def every_sample(self, batch_size: int, share: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """The i-th of n parts of all samples, unvaried, for validation; the last batch may be smaller.

        All parts have as many batches of the same sizes: a sample that fills one up has a mask of False.
        """
        index, count = share
        positions = torch.arange(index, len(self._samples) + (-len(self._samples)) % count, count)
        for chosen in positions.split(batch_size):
            is_there = chosen < len(self._samples)
            batch = self._make(torch.where(is_there, chosen, 0), slice(None), None)
            yield replace(batch, action_mask=batch.action_mask & self._moved(is_there)[:, None])

    def _make(
        self, indices: Int64[Tensor, " batch"], chosen: slice, generator: torch.Generator | None
    ) -> Batch:
        """Draw for all of `indices`, make the `chosen` ones; without a generator, unvaried."""
        whole, indices = len(indices), indices[chosen]
        rows = self._samples.frame_rows[indices].numpy()
        images = features = None
        if self._images is not None:
            images = self._moved(torch.from_numpy(np.ascontiguousarray(self._images[rows])))
            if generator is None:
                images = crop_center(images, self._center_crop_area)
            else:
                variations = draw_variations(self._augmentation, whole, images.shape[1], generator)
                images = vary(images, variations.part(chosen, self._device))
        if self._features is not None:
            copies = np.zeros(len(rows), np.int64)
            if generator is not None:
                copies = torch.randint(len(self._features), (whole,), generator=generator)[chosen].numpy()
            features = self._moved(torch.from_numpy(self._features[copies, rows])).float()
        state = self._samples.states[indices]
        if generator is not None and self._state_noise:
            state = (
                state + self._state_noise * torch.randn((whole, state.shape[1]), generator=generator)[chosen]
            )
        actions, mask = self._samples.action_chunks(indices)
        instructions = self._samples.instruction_ids[indices]
        inputs = ModelInputs(
            images=images,
            features=features,
            token_ids=self._moved(self._token_ids[instructions]),
            token_mask=self._moved(self._token_mask[instructions]),
            state=self._moved(state),
        )
        return Batch(inputs=inputs, actions=self._moved(actions), action_mask=self._moved(mask))

    def _moved(self, tensor: Tensor) -> Tensor:
        return upload(tensor, self._device)
