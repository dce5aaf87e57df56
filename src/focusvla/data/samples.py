"""What there is to learn from: one sample per used frame, with the chunk of actions that follows it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from focusvla.data.episodes import EpisodeSource
from focusvla.data.frame_cache import sampled_steps
from focusvla.data.mixture import parts_of
from focusvla.data.normalization import (
    Normalization,
    Statistics,
    StatisticsByPart,
    action_normalizer,
    state_normalizer,
)
from focusvla.errors import DataError


@dataclass(frozen=True)
class Samples:
    """Tables in memory; a batch is made by indexing them."""

    frame_rows: Int64[Tensor, " samples"]
    """Row in the frame cache or the feature table of the same data set and stride."""
    states: Float[Tensor, "samples state"]
    """Normalized."""
    instruction_ids: Int64[Tensor, " samples"]
    """Position in `instructions`."""
    first_steps: Int64[Tensor, " samples"]
    """Row in `actions` of the sample's own step."""
    end_steps: Int64[Tensor, " samples"]
    """Row in `actions` after its episode's last one."""
    actions: Float[Tensor, "steps action"]
    """Normalized, of all steps."""
    instructions: tuple[str, ...]
    """Of the whole data set, whichever episodes the samples come from."""
    chunk_length: int
    part_sizes: tuple[int, ...]
    """Samples of each part of a mixture, one after the other."""
    part_weights: tuple[float, ...]
    num_short_episodes: int = 0
    """Chosen episodes that have no sample, being shorter than a chunk."""

    def __len__(self) -> int:
        return len(self.frame_rows)

    def action_chunks(
        self, indices: Int64[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch chunk action"], Bool[Tensor, "batch chunk"]]:
        """The actions from each sample's step on, and which of them lie within the episode.

        In an episode with the actions a, b, c the chunks of length 3, and their masks, are

            step 0   a b c   1 1 1
            step 1   b c c   1 1 0
            step 2   c c c   1 0 0

        With `last_frames="dropped"`, as VLA-Adapter has it, step 0 alone is a sample.
        """
        steps = self.first_steps[indices, None] + torch.arange(self.chunk_length)
        end = self.end_steps[indices, None]
        return self.actions[torch.minimum(steps, end - 1)], steps < end


def build_samples(
    source: EpisodeSource,
    *,
    statistics: Statistics | StatisticsByPart,
    state_limit: float,
    chunk_length: int,
    stride: int = 1,
    last_frames: Literal["padded", "dropped"] = "padded",
    episodes: Sequence[int] | None = None,
    normalization: Normalization = "exact",
) -> Samples:
    """Make the samples of some episodes, or of all.

    `stride` is that of the frame cache, `state_limit` and `last_frames` are `TrainingConfig`'s, `normalization` is the
    model's. Validation passes the statistics of its training data; with those of each part, a mixture's episodes are
    normalized by their own part's, with one set by that.

    Raises:
        DataError: no episode, one that does not exist, or statistics of another width; or all of a part's are shorter
            than a chunk and `last_frames` are dropped.
        ConfigurationError: statistics for a part are missing.
    """
    chosen = set(range(source.num_episodes) if episodes is None else episodes)
    unknown = chosen - set(range(source.num_episodes))
    if not chosen or unknown:
        raise DataError(
            f"episodes: expected at least one of 0..{source.num_episodes - 1}, got {sorted(chosen)}. "
            "Choose some."
        )
    statistics.require_fitting(source.spec)
    parts = parts_of(source)
    chosen_statistics = [
        statistics if isinstance(statistics, Statistics) else statistics.of_training_data(part.name)
        for part in parts
    ]
    normalizers = [
        (
            action_normalizer(own, source.spec, normalization),
            state_normalizer(own, state_limit, normalization),
        )
        for own in chosen_statistics
    ]
    owners = np.repeat(np.arange(len(parts)), [part.source.num_episodes for part in parts])
    instructions: dict[str, int] = {}
    frame_rows, first_steps, end_steps, instruction_ids, states, actions = [], [], [], [], [], []
    part_sizes = [0] * len(parts)
    row = step = num_short = 0
    for index, owner in enumerate(owners):
        episode = source.episode(index)
        instruction = instructions.setdefault(episode.instruction, len(instructions))
        cached = sampled_steps(len(episode), stride)
        if index in chosen:
            action, state = normalizers[owner]
            used = np.array(cached)
            if last_frames == "dropped":
                used = used[used + chunk_length <= len(episode)]
                num_short += not len(used)
            frame_rows.append(row + np.arange(len(used)))
            first_steps.append(step + used)
            end_steps.append(np.full(len(used), step + len(episode)))
            instruction_ids.append(np.full(len(used), instruction))
            states.append(state.normalize(episode.state[used]))
            actions.append(action.normalize(episode.action))
            step += len(episode)
            part_sizes[owner] += len(used)
        row += len(cached)
    for owner in sorted({owners[index] for index in chosen}):
        if not part_sizes[owner]:
            raise DataError(
                f"{parts[owner].name or 'episodes'}: expected one of at least {chunk_length} steps, a chunk's length, "
                "got shorter ones alone, which have no sample with last_frames='dropped'. Give --last-frames padded."
            )
    return Samples(
        frame_rows=torch.from_numpy(np.concatenate(frame_rows)),
        states=torch.from_numpy(np.concatenate(states)),
        instruction_ids=torch.from_numpy(np.concatenate(instruction_ids)),
        first_steps=torch.from_numpy(np.concatenate(first_steps)),
        end_steps=torch.from_numpy(np.concatenate(end_steps)),
        actions=torch.from_numpy(np.concatenate(actions)),
        instructions=tuple(instructions),
        chunk_length=chunk_length,
        part_sizes=tuple(part_sizes),
        part_weights=tuple(part.weight for part in parts),
        num_short_episodes=num_short,
    )


def picture_stride(source: EpisodeSource, at_least: int) -> int:
    """The least stride of `at_least` steps that meets only pictures taken anew; 2 where each is shown for 3 steps
    gives 3."""
    return math.ceil(at_least / source.steps_per_picture) * source.steps_per_picture


def split_episodes(num_episodes: int, validation_share: float, seed: int) -> tuple[list[int], list[int]]:
    """Divide whole episodes into training and validation, the same way for the same seed.

    At least one episode stays for training, and a positive share gives at least one for validation.

    Raises:
        DataError: the share is not in [0, 1), or there are too few episodes.
    """
    if not 0 <= validation_share < 1:
        raise DataError(f"validation_share: expected 0 <= share < 1, got {validation_share}. Choose 0.1.")
    num_validation = max(round(num_episodes * validation_share), 1) if validation_share else 0
    if num_episodes - num_validation < 1:
        raise DataError(
            f"episodes: expected more than {num_validation} for training and validation, got {num_episodes}. "
            "Record more, or train without validation (--validation-share 0)."
        )
    order = np.random.default_rng(seed).permutation(num_episodes).tolist()
    return sorted(order[num_validation:]), sorted(order[:num_validation])


def split_parts(source: EpisodeSource, validation_share: float, seed: int) -> tuple[list[int], list[int]]:
    """`split_episodes` of each part of a mixture on its own, so that none is only validated, and none only trained on but
    one of a single episode, of which nothing can be held out.

    Raises:
        DataError: as `split_episodes`.
    """
    training, validation, first = [], [], 0
    for part in parts_of(source):
        alone = part.source.num_episodes == 1
        chosen = split_episodes(part.source.num_episodes, 0.0 if alone else validation_share, seed)
        for episodes, own in zip((training, validation), chosen, strict=True):
            episodes += [first + episode for episode in own]
        first += part.source.num_episodes
    return training, validation
