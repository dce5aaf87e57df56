"""A trained model as a policy: normalize, infer, unnormalize."""

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from focusvla.checkpoint import Checkpoint, open_checkpoint
from focusvla.config import AS_STORED, ExperimentConfig, GivenPictures, InferenceConfig
from focusvla.data.normalization import Statistics, action_normalizer, state_normalizer
from focusvla.data.pictures import prepare_pictures
from focusvla.devices import choose_device, explained_device_errors
from focusvla.errors import ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.inference import InferenceModel
from focusvla.types import ModelInputs
from focusvla_client import Camera, Observation, Spec

MIN_WEIGHTS_FOR_THREADS = 50_000_000


class FocusVLAPolicy:
    """Turns observations into chunks of actions in physical units."""

    def __init__(self, model: FocusVLA, spec: Spec, statistics: Statistics, experiment: ExperimentConfig):
        """Wrap `model`, which sees what `spec` says and was trained on data with `statistics`."""
        self.model = model.eval()
        self.spec = spec
        self.statistics = statistics
        self.experiment = experiment
        normalization, limit = experiment.model.normalization, experiment.training.state_limit
        self.state_normalizer = state_normalizer(statistics, limit, normalization)
        self.action_normalizer = action_normalizer(statistics, spec, normalization)
        self._prepared: InferenceModel | None = None

    def prepare(self, config: InferenceConfig) -> "FocusVLAPolicy":
        """Answer faster from now on, up to rounding the same. The model is taken over: it cannot be saved any more.

        Returns:
            This policy.

        Raises:
            ConfigurationError: it was prepared before, or layers are to be compiled and there is no compiler.
        """
        if self._prepared is not None:
            raise ConfigurationError("prepare: expected a policy that was not prepared before. Load it anew.")
        device = self.device.type
        if (
            config.compiled
            and device == "cpu"
            and shutil.which(os.environ.get("CXX", "g++").split()[0]) is None
        ):
            raise ConfigurationError(
                "inference.compiled: expected a C++ compiler on the PATH, or named by CXX, got none. Install g++, or do "
                "without."
            )
        precision = config.precision
        if precision == "auto":
            precision = "float32" if device == "cpu" else self.experiment.training.precision
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self._prepared = InferenceModel(
            self.model, dtype=dtype, compiled=config.compiled, graphs=config.graphs and device == "cuda"
        )
        return self

    def with_statistics(self, statistics: Statistics) -> "FocusVLAPolicy":
        """The same model, prepared as it is now, as the policy of a robot with other ranges."""
        other = FocusVLAPolicy(self.model, self.spec, statistics, self.experiment)
        other._prepared = self._prepared
        return other

    @property
    def device(self) -> torch.device:
        """Where it answers."""
        return self.model.feature_mean.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights and what is computed with them."""
        return self.model.action_queries.dtype

    @property
    def replays_graphs(self) -> bool:
        """Whether it is prepared and CUDA graphs of it could be recorded so far."""
        return self._prepared is not None and self._prepared.records_graphs

    @property
    def num_fitting_threads(self) -> int:
        """Of a CPU, for one answer: all cores' for a large model, one for a small one, whose operations are so short that
        several threads mostly wait for each other."""
        num_weights = sum(parameter.numel() for parameter in self.model.parameters())
        return len(os.sched_getaffinity(0)) if num_weights > MIN_WEIGHTS_FOR_THREADS else 1

    @property
    def cameras(self) -> Sequence[str]:
        """All cameras of the spec, or none if the model is blind."""
        return () if self.model.vision_encoder is None else tuple(camera.name for camera in self.spec.cameras)

    @property
    def middle_state(self) -> Float32[np.ndarray, " state"]:
        """The middle of the training data's range of proprioception."""
        return self.state_normalizer.unnormalize(np.zeros(len(self.spec.state)))

    def reset(self) -> None:
        """Nothing: the policy has no memory."""

    def infer(self, observation: Observation) -> Float32[np.ndarray, "chunk action"]:
        """The next chunk of actions.

        Raises:
            ConfigurationError: a camera is missing, or the state or an image has another shape.
        """
        return self.infer_batch([observation])[0]

    @torch.inference_mode()
    def infer_batch(
        self, observations: Sequence[Observation]
    ) -> Float32[np.ndarray, "observations chunk action"]:
        """The next chunk of actions for each of several episodes. Equal to asking one by one up to rounding.

        Raises:
            ConfigurationError: as `infer`.
        """
        if self._prepared is None:
            actions = self.model(self.model_inputs(*observations))
        else:
            instructions = [each.instruction for each in observations]
            actions = self._prepared(self._images(observations), instructions, self._states(observations))
        return self.unnormalized(actions)

    def unnormalized(
        self, actions: Float[Tensor, "observations chunk action"]
    ) -> Float32[np.ndarray, "observations chunk action"]:
        """The model's actions in physical units."""
        return self.action_normalizer.unnormalize(actions.float().cpu().numpy())

    def model_inputs(self, *observations: Observation) -> ModelInputs:
        """What the model sees of `observations`, as one batch.

        Raises:
            ConfigurationError: as `infer`.
        """
        states = self._states(observations)
        token_ids, token_mask = self.model.tokenize([each.instruction for each in observations])
        return ModelInputs(
            images=self._images(observations),
            features=None,
            token_ids=token_ids,
            token_mask=token_mask,
            state=states,
        )

    def _states(self, observations: Sequence[Observation]) -> Float32[Tensor, "observations state"]:
        for observation in observations:
            if observation.state.shape != (len(self.spec.state),):
                raise ConfigurationError(
                    f"observation.state: expected {len(self.spec.state)} numbers "
                    f"({', '.join(self.spec.state)}), got shape {observation.state.shape}."
                )
        states = np.stack([self.state_normalizer.normalize(each.state) for each in observations])
        return torch.from_numpy(states).to(self.device)

    def _images(
        self, observations: Sequence[Observation]
    ) -> UInt8[Tensor, "observations cameras size size 3"] | None:
        """All cameras' images on the model's device: after the policy's own picture steps, and resized as the frame cache
        resizes what is trained on."""
        if not self.cameras:
            return None
        model, device = self.experiment.model, self.device
        views = []
        for camera in self.spec.cameras:
            pixels = np.stack([_image(each, camera) for each in observations])
            size = model.vision.image_size
            views.append(prepare_pictures(torch.from_numpy(pixels), size, model.pictures, device))
        return torch.stack(views, dim=1)


def _image(observation: Observation, camera: Camera) -> UInt8[np.ndarray, "height width 3"]:
    image = observation.images.get(camera.name)
    if image is None:
        raise ConfigurationError(
            f"observation.images: expected camera {camera.name!r}, got {', '.join(observation.images) or 'none'}."
        )
    if image.shape != (camera.height, camera.width, 3) or image.dtype != np.uint8:
        raise ConfigurationError(
            f"observation.images[{camera.name!r}]: expected ({camera.height}, {camera.width}, 3) uint8, "
            f"got {image.shape} {image.dtype}."
        )
    return image


def load_policy(
    path: str | Path,
    device: str = "auto",
    statistics: str | None = None,
    pictures: GivenPictures = AS_STORED,
) -> FocusVLAPolicy:
    """Load a checkpoint, the newest one of a training run, or a run folder of VLA-Adapter's, onto the device of that
    name. Strict: every key must match; adapters are merged. After training on a mixture, `statistics` names the part
    whose robot is to be driven. `pictures` are steps of which the checkpoint says nothing.

    Raises:
        ConfigurationError: the device cannot be used or has too little memory, there is no such part, or none named where
            there are several, or a picture step is given that the checkpoint has otherwise.
        CheckpointError: a file is missing or damaged, or keys are missing or unexpected, which are listed.
    """
    place, checkpoint = choose_device(device), open_checkpoint(Path(path))
    experiment = _with_given_pictures(checkpoint, pictures)
    spec, chosen = checkpoint.spec, checkpoint.statistics.choose(statistics)
    model = checkpoint.load_model(experiment.model)
    with explained_device_errors(place, "give --device cpu"):
        model.to(place)
    return FocusVLAPolicy(model, spec, chosen, experiment)


def _with_given_pictures(checkpoint: Checkpoint, given: GivenPictures) -> ExperimentConfig:
    """The experiment of a checkpoint with the picture steps that are given beside it, if it does not state its own.

    Raises:
        ConfigurationError: a step is given that the checkpoint has otherwise.
    """
    experiment = checkpoint.experiment
    pictures = given.over(experiment.model.pictures, is_stated=checkpoint.states_pictures)
    model = dataclasses.replace(experiment.model, pictures=pictures)
    return dataclasses.replace(experiment, model=model)
