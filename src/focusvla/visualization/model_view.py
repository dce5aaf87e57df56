"""What a model sees of a data set in training and in evaluation, side by side.

Both pictures come out of the functions that training and evaluation themselves call: the frame cache and its augmentation
here, the policy's `model_inputs` there, and on either way the encoder's own resizing. So a difference is theirs.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from focusvla.config import ExperimentConfig, VisionConfig
from focusvla.data.batch_order import step_generator
from focusvla.data.crops import crop_center
from focusvla.data.episodes import EpisodeSource
from focusvla.data.frame_cache import open_frame_cache, sampled_steps
from focusvla.data.inspection.problems import Problem
from focusvla.data.normalization import Statistics, state_normalizer
from focusvla.data.samples import picture_stride
from focusvla.data.selected_episodes import SelectedEpisodes
from focusvla.data.transforms import augment
from focusvla.errors import DataError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.language import WordTokenizer
from focusvla.model.vision import to_encoder_input
from focusvla.model.vision_transformer import resize_images
from focusvla.policy import FocusVLAPolicy
from focusvla.types import ModelInputs
from focusvla_client import Observation, Spec

NUM_VARIED = 3
SHARES = (0.0, 0.5, 0.9)
"""Of an episode, where its picture is taken: a moment of the first one's, of the second's, of the third's, and again."""
VISIBLE_DIFFERENCE = 0.5
"""Gray levels, in the mean over a picture: more than rounding."""
SAME_STATE = 1e-5
"""Normalized states that differ by less are rounded differently."""

_Seen = UInt8[np.ndarray, "size size 3"]


@dataclass(frozen=True)
class CameraView:
    """One camera at one moment."""

    camera: str
    recorded: UInt8[np.ndarray, "height width 3"]
    """As it is in the data set."""
    training: _Seen
    """As the encoder sees it in training, not varied."""
    varied: tuple[_Seen, ...]
    """As it sees it in training, varied anew each time; empty if the experiment varies nothing."""
    evaluation: _Seen
    """As it sees it when the policy is given the recorded picture."""
    difference: float
    """Mean absolute difference of `training` and `evaluation`, of 255, before rounding."""


@dataclass(frozen=True)
class ViewedMoment:
    """All cameras at one step."""

    episode: int
    step: int
    instruction: str
    cameras: tuple[CameraView, ...]
    state_difference: float
    """Greatest difference of the normalized state in training and in evaluation."""


@dataclass(frozen=True)
class ModelView:
    """What a model sees of a data set."""

    experiment: ExperimentConfig
    spec_differences: tuple[str, ...] = ()
    """Between the conventions of the checkpoint, first, and those of the data set."""
    absent: str = ""
    """A sentence in place of moments; empty if there are some."""
    refused: str = ""
    """Why the policy cannot be given the recorded observations; empty if it can."""
    moments: tuple[ViewedMoment, ...] = ()

    @property
    def image_size(self) -> int:
        """Side in pixels of what the encoder sees."""
        return self.experiment.model.vision.image_size

    @property
    def picture_steps(self) -> str:
        """What the policy does to pictures in evaluation, such as `jpeg95-crop0.9`; empty for nothing."""
        return str(self.experiment.model.pictures)

    @property
    def picture_difference(self) -> float | None:
        """Mean over all pictures; None without any."""
        found = [camera.difference for moment in self.moments for camera in moment.cameras]
        return float(np.mean(found)) if found else None

    @property
    def state_difference(self) -> float | None:
        """Greatest over all moments; None without any."""
        return max((moment.state_difference for moment in self.moments), default=None)


def weightless_policy(experiment: ExperimentConfig, spec: Spec, statistics: Statistics) -> FocusVLAPolicy:
    """A policy that prepares observations and cannot infer: how it prepares them depends on no weight."""
    with torch.device("meta"):
        model = FocusVLA(experiment.model)
    model.feature_mean = torch.zeros(model.feature_mean.shape)  # where the policy puts its inputs
    model.tokenizer = WordTokenizer(())
    return FocusVLAPolicy(model, spec, statistics, experiment)


def view_data(
    source: EpisodeSource,
    experiment: ExperimentConfig,
    policy: FocusVLAPolicy | None = None,
    *,
    episodes: Sequence[int],
    statistics: Statistics | None = None,
) -> ModelView:
    """One moment of each of `episodes` as `experiment` trains on it and as `policy` sees it, by default an untrained one.
    `statistics` are those that training uses, by default those that the data set holds.

    Raises:
        DataError: a picture is damaged.
    """
    differences = tuple(policy.spec.differences(source.spec)) if policy else ()
    if experiment.model.vision.encoder == "none":
        return ModelView(
            experiment, differences, absent="The experiment is vision-blind: it sees no pictures."
        )
    selected = SelectedEpisodes(source, episodes)
    statistics = statistics or _statistics(selected)
    policy = policy or weightless_policy(experiment, source.spec, statistics)
    stride = picture_stride(source, experiment.training.frame_stride)
    steps, rows = _choose_moments(selected, stride)
    observations = [_observe(selected, index, step) for index, step in enumerate(steps)]
    try:
        seen = [policy.model_inputs(observation) for observation in observations]
    except ValueError as error:  # ours, or numpy's where cameras have different sizes
        refused = f"The policy refuses what the data set holds: {error}"
        return ModelView(experiment, differences, absent=refused, refused=str(error))
    with tempfile.TemporaryDirectory() as folder:
        cache = open_frame_cache(
            selected, Path(folder), stride=stride, size=experiment.model.vision.image_size
        )
        stored = [torch.from_numpy(np.array(cache.images[row : row + 1])) for row in rows]
    limit, normalization = experiment.training.state_limit, experiment.model.normalization
    normalize = state_normalizer(statistics, limit, normalization).normalize
    return ModelView(
        experiment,
        differences,
        moments=tuple(
            ViewedMoment(
                episode=episodes[index],
                step=steps[index],
                instruction=observation.instruction,
                cameras=_view_cameras(source.spec, experiment, observation, stored[index], seen[index]),
                state_difference=float(
                    np.abs(normalize(observation.state) - seen[index].state[0].cpu().numpy()).max()
                ),
            )
            for index, observation in enumerate(observations)
        ),
    )


def encoder_pixels(
    images: UInt8[Tensor, "batch cameras height width 3"], vision: VisionConfig
) -> Float[Tensor, "batch cameras size size 3"]:
    """What the vision encoder makes of images before its own normalization, from 0 to 255."""
    if vision.encoder == "dinov2_siglip":
        pixels = 255 * resize_images(images, vision.image_size)
    else:
        pixels = 128 * to_encoder_input(images, vision.image_size) + 127
    return rearrange(pixels, "(B C) rgb H W -> B C H W rgb", B=len(images))


def find_view_problems(view: ModelView) -> list[Problem]:
    """What keeps a policy from seeing in evaluation what it saw in training."""
    problems = [
        Problem(
            "warning",
            f"checkpoint and data set differ in {difference} (checkpoint first)",
            "Evaluate and continue this checkpoint on data of its own conventions, or convert the data.",
        )
        for difference in view.spec_differences
    ]
    if view.refused:
        problems.append(
            Problem(
                "warning",
                f"a policy cannot be given these observations: {view.refused}",
                "Record all cameras at one size, with the names and sizes of the policy's spec.",
            )
        )
    pictures, state = view.picture_difference, view.state_difference
    if pictures and view.picture_steps:
        problems.append(
            Problem(
                "note",
                f"the policy's own picture steps ({view.picture_steps}) change {pictures:.2f} of 255 in the mean",
                "They repeat what its training pictures had gone through. Leave them if it was trained on such.",
            )
        )
    elif pictures:
        problems.append(
            Problem(
                "warning" if pictures > VISIBLE_DIFFERENCE else "note",
                f"training and evaluation show the model different pictures: {pictures:.2f} of 255 in the mean",
                f"Each resizes to {view.image_size} pixels in its own way. Record at {view.image_size} pixels.",
            )
        )
    if state is not None and state > SAME_STATE:
        problems.append(
            Problem(
                "warning",
                f"the checkpoint normalizes states otherwise than the data set: they differ by up to {state:.3g}",
                "It was trained with other statistics. Do not continue its training on this data set.",
            )
        )
    return problems


def _statistics(source: EpisodeSource) -> Statistics:
    try:
        return source.statistics()
    except DataError:  # a problem that `find_problems` tells; pictures do not need them
        return Statistics.from_source(source)


def _choose_moments(source: EpisodeSource, stride: int) -> tuple[list[int], list[int]]:
    """A step of each episode and the frame cache's row of it."""
    chosen, rows, first = [], [], 0
    for index in range(source.num_episodes):
        steps = sampled_steps(len(source.episode(index)), stride)
        place = int(SHARES[index % len(SHARES)] * (len(steps) - 1))
        chosen.append(steps[place])
        rows.append(first + place)
        first += len(steps)
    return chosen, rows


def _observe(source: EpisodeSource, index: int, step: int) -> Observation:
    """What the policy would have been given at that step."""
    episode = source.episode(index)
    return Observation(
        images={
            camera.name: next(islice(source.frames(index, camera.name), step, None))
            for camera in source.spec.cameras
        },
        state=episode.state[step],
        instruction=episode.instruction,
    )


def _view_cameras(
    spec: Spec,
    experiment: ExperimentConfig,
    observation: Observation,
    stored: UInt8[Tensor, "1 cameras height width 3"],
    seen: ModelInputs,
) -> tuple[CameraView, ...]:
    """All cameras of one moment: in training from the `stored` frames, in evaluation from what the policy has `seen`."""
    model, training = experiment.model, experiment.training
    num_varied = NUM_VARIED if model.needs_images else min(NUM_VARIED, training.augmented_copies)
    assert seen.images is not None
    middle = crop_center(stored, model.pictures.center_crop_area)
    plain, evaluated = (encoder_pixels(images, model.vision)[0] for images in (middle, seen.images.cpu()))
    varied = [
        encoder_pixels(
            augment(stored, training.augmentation, step_generator(training.seed, draw)), model.vision
        )[0]
        for draw in range(num_varied)
    ]
    return tuple(
        CameraView(
            camera=camera.name,
            recorded=observation.images[camera.name],
            training=_rounded(plain[place]),
            varied=tuple(_rounded(images[place]) for images in varied),
            evaluation=_rounded(evaluated[place]),
            difference=float((plain[place] - evaluated[place]).abs().mean()),
        )
        for place, camera in enumerate(spec.cameras)
    )


def _rounded(pixels: Float[Tensor, "size size 3"]) -> _Seen:
    return pixels.round().clamp(0, 255).to(torch.uint8).numpy()
