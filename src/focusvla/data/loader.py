"""From tables to the batches that a model learns from."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from focusvla.config import Augmentation
from focusvla.data.batch_order import BatchOrder, step_generator
from focusvla.data.samples import Samples
from focusvla.data.transforms import augment
from focusvla.errors import DataError
from focusvla.types import Batch, ModelInputs

Tokenize = Callable[
    [list[str]], tuple[Int64[Tensor, "instructions tokens"], Bool[Tensor, "instructions tokens"]]
]
"""Instructions to token ids, padded on the right, and the mask that is False on padding."""


class BatchLoader:
    """Makes the batch of any step, on the CPU.

    The model sees either `images`, the frame cache's (rows, cameras, height, width, 3) array, or `features`,
    a frozen encoder's (copies, rows, patches, raw) output for the original frames and augmented copies of
    them, one of which is drawn for each sample; or neither. Both may be memory-mapped.

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
        images: np.ndarray | None = None,
        features: np.ndarray | None = None,
        augmentation: Augmentation | None = None,
        state_noise: float = 0.0,
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
        self._seed = seed
        self._order = BatchOrder(len(samples), batch_size, seed)
        self._token_ids, self._token_mask = tokenize(list(samples.instructions))
        self._images = images
        self._features = features
        self._augmentation = augmentation or Augmentation()
        self._state_noise = state_noise

    def batch(self, step: int) -> Batch:
        """The batch of training step `step`, the same whenever it is asked for."""
        generator = step_generator(self._seed, step)
        return self._make(self._order.indices(step), generator, self._augmentation, self._state_noise)

    def batches(self, first_step: int, end_step: int) -> Iterator[Batch]:
        """The batches of a range of steps."""
        for step in range(first_step, end_step):
            yield self.batch(step)

    def every_sample(self, batch_size: int) -> Iterator[Batch]:
        """All samples once, in order and unvaried, for validation; the last batch may be smaller."""
        for indices in torch.arange(len(self._samples)).split(batch_size):
            yield self._make(indices, None, Augmentation(), 0.0)

    def _make(
        self,
        indices: Int64[Tensor, " batch"],
        generator: torch.Generator | None,
        augmentation: Augmentation,
        state_noise: float,
    ) -> Batch:
        rows = self._samples.frame_rows[indices].numpy()
        images = features = None
        if self._images is not None:
            images = torch.from_numpy(np.ascontiguousarray(self._images[rows]))
            if generator is not None:
                images = augment(images, augmentation, generator)
        if self._features is not None:
            features = _choose_copies(self._features, rows, generator)
        state = self._samples.states[indices]
        if generator is not None and state_noise:
            state = state + state_noise * torch.randn(state.shape, generator=generator)
        actions, mask = self._samples.action_chunks(indices)
        instructions = self._samples.instruction_ids[indices]
        inputs = ModelInputs(
            images=images,
            features=features,
            token_ids=self._token_ids[instructions],
            token_mask=self._token_mask[instructions],
            state=state,
        )
        return Batch(inputs=inputs, actions=actions, action_mask=mask)


def _choose_copies(
    table: np.ndarray, rows: np.ndarray, generator: torch.Generator | None
) -> Float[Tensor, "batch patches raw"]:
    if generator is None:
        copies = np.zeros(len(rows), np.int64)
    else:
        copies = torch.randint(len(table), (len(rows),), generator=generator).numpy()
    return torch.from_numpy(table[copies, rows].astype(np.float32))


def padded_tokens(
    sequences: Sequence[Sequence[int]], padding_id: int
) -> tuple[Int64[Tensor, "instructions tokens"], Bool[Tensor, "instructions tokens"]]:
    """Token lists as one table padded on the right, and its mask.

    [[5, 6], [7]] becomes [[5, 6], [7, 0]] with the mask [[1, 1], [1, 0]].
    """
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), padding_id, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.int64)
    mask = torch.arange(width) < torch.tensor([[len(sequence)] for sequence in sequences])
    return ids, mask
