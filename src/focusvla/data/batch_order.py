"""Which samples make up which batch: a pure function of seed and step, so resuming needs no saved state."""

import functools

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from focusvla.errors import ConfigurationError


class BatchOrder:
    """An endless row of permutations of all samples, cut into batches.

    With 3 samples and batches of 2, the permutations [2 0 1] and [1 2 0] give the batches [2 0] [1 1] [2 0]:
    every sample is seen once before any is seen again, and none is left out at the end of an epoch.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int):
        if num_samples < 1 or batch_size < 1:
            raise ConfigurationError(
                f"batch_size: expected at least one sample and a positive size, "
                f"got {num_samples} sample(s) and batch_size={batch_size}."
            )
        self._num_samples = num_samples
        self._batch_size = batch_size
        self._seed = seed
        # A batch needs the permutation of its epoch, and at a boundary those around it.
        self._permutation = functools.lru_cache(maxsize=2)(self._draw_permutation)

    def indices(self, step: int) -> Int64[Tensor, " batch"]:
        """The samples of batch `step`, counted from 0."""
        positions = step * self._batch_size + np.arange(self._batch_size)
        epochs, places = np.divmod(positions, self._num_samples)
        chosen = [self._permutation(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
        return torch.from_numpy(np.concatenate(chosen))

    def _draw_permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch]).permutation(self._num_samples)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one training step, independent of those of any other."""
    (state,) = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))
