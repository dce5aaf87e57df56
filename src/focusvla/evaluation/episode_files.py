"""What an evaluation keeps of an episode, beside its line in `results.jsonl`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from focusvla.errors import DataError
from focusvla.evaluation.episodes import PlannedEpisode
from focusvla.evaluation.results import EpisodeResult, read_results
from focusvla.simulation.trajectory import asked_steps

Kept = Literal["trajectories", "observations"]
"""The folders of an evaluation that hold a file per episode."""


def episode_file(results: Path, kept: Kept, planned: PlannedEpisode) -> Path:
    """Where the evaluation in the folder `results` keeps something of an episode, if it does."""
    return results / kept / f"{planned.name}.safetensors"


def observed_episodes(results: Path) -> list[EpisodeResult]:
    """The episodes whose observations an evaluation saved.

    Raises:
        DataError: there is none, or the folder holds no evaluation.
    """
    found = [
        result
        for result in read_results(results / "results.jsonl")
        if episode_file(results, "observations", PlannedEpisode.of(result)).is_file()
    ]
    if not found:
        raise DataError(
            f"results={results}: expected observations that its policy saw, got none in {results / 'observations'}. "
            "Evaluate again a policy that sees."
        )
    return found


def read_observations(path: Path, cameras: Sequence[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Images by camera (inferences, height, width, 3) uint8, and states (inferences, state), of an evaluated episode.

    Raises:
        DataError: the file is damaged or lacks a camera.
    """
    try:
        tensors = load_file(path)
        images = {camera: tensors[f"image.{camera}"] for camera in cameras}
        states = tensors["state"]
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(
            f"{path}: expected images of {', '.join(cameras)} and states, got {error}. "
            "Remove it, or evaluate into another folder."
        ) from error
    if len(states) == 0 or any(len(frames) != len(states) for frames in images.values()):
        counts = {camera: len(frames) for camera, frames in images.items()}
        raise DataError(
            f"{path}: expected as many images as states, at least one, got {counts} and {len(states)}. Remove it."
        )
    return images, states


def asked_in(results: Path, result: EpisodeResult, inferences: int) -> list[int]:
    """Actions before each of the first `inferences` questions of an episode that the folder `results` tells of.

    Raises:
        DataError: its trajectory is damaged, or tells of fewer questions.
    """
    path = episode_file(results, "trajectories", PlannedEpisode.of(result))
    asked = asked_steps(read_trajectory(path), result.actions_per_inference) if path.is_file() else []
    if not asked:  # of an earlier version
        return [number * result.actions_per_inference for number in range(inferences)]
    if len(asked) < inferences:
        raise DataError(
            f"{path}: expected {inferences} questions, got {len(asked)}. Remove it and evaluate again."
        )
    return asked[:inferences]


def read_trajectory(path: Path) -> dict[str, np.ndarray]:
    """`snapshots` (steps + 1, joints), and unless an earlier version wrote it `states` and `actions`, see
    `episodes.PlayedEpisode`.

    Raises:
        DataError: the file is missing, damaged or without snapshots.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path}: expected a trajectory, got {error}. Remove it and evaluate again."
        ) from error
    if "snapshots" not in tensors:
        raise DataError(
            f"{path}: expected a trajectory with snapshots, got {', '.join(tensors) or 'nothing'}. Remove it and "
            "evaluate again."
        )
    return tensors
