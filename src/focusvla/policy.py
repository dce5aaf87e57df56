"""A trained model as a policy: normalize, infer, unnormalize; and where checkpoints lie."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from focusvla.config import (
    AS_STORED,
    Augmentation,
    ExperimentConfig,
    GivenPictures,
    InferenceConfig,
    TrainingConfig,
    config_from_dict,
)
from focusvla.data.formats.openvla_statistics import read_openvla_statistics
from focusvla.data.normalization import (
    Statistics,
    StatisticsByPart,
    action_normalizer,
    state_normalizer,
)
from focusvla.data.pictures import prepare_pictures
from focusvla.devices import choose_device, explained_device_errors
from focusvla.errors import CheckpointError, ConfigurationError, DataError
from focusvla.model.adapters import merge_adapters
from focusvla.model.focusvla import FocusVLA
from focusvla.model.inference import InferenceModel
from focusvla.model.language import WordTokenizer
from focusvla.model.prompt import PromptTokenizer
from focusvla.model.weights import load_tokenizer, load_vla_adapter_run, vla_adapter_config
from focusvla.model.weights.files import require_merged
from focusvla.model.weights.vla_adapter import (
    STATISTICS,
    is_vla_adapter_run,
    require_complete_run,
    run_digest,
    trained_steps,
)
from focusvla.suites.libero import libero_spec
from focusvla.types import ModelInputs
from focusvla_client import Camera, Observation, Spec

MIN_WEIGHTS_FOR_THREADS = 50_000_000
VLA_ADAPTER_PIXELS = 256
"""Side of the pictures that its LIBERO policies were trained and are evaluated on, before the policy resizes them."""


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


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where a training run keeps its checkpoint after `step` steps."""
    return run / "checkpoints" / f"step-{step:08d}"


def checkpoint_step(folder: Path) -> int:
    """The number of steps in a checkpoint folder's name."""
    return int(folder.name.removeprefix("step-"))


_STEP = re.compile(r"step-\d{8,}")


def checkpoint_steps(run: Path) -> list[int]:
    """The steps of a run's finished checkpoints, in order; a folder that is called otherwise, such as a copy
    `step-00000004-backup`, is none."""
    folders = (run / "checkpoints").glob("step-*")
    return sorted(checkpoint_step(folder) for folder in folders if _STEP.fullmatch(folder.name))


def find_checkpoint(path: Path) -> Path:
    """`path` itself if it is a checkpoint or a run folder of VLA-Adapter's, or the newest of the training run there.

    Raises:
        CheckpointError: there is none of them, or a run folder of VLA-Adapter's that is incomplete.
    """
    if is_vla_adapter_run(path):
        require_complete_run(path)
        return path
    if (path / "model.safetensors").is_file():
        return path
    steps = checkpoint_steps(path)
    if not steps:
        require_merged(path)
        raise CheckpointError(
            f"checkpoint={path}: expected a folder with model.safetensors, or a training run with "
            "checkpoints/step-*, found neither. Train one with `focusvla train`."
        )
    return checkpoint_folder(path, steps[-1])


def weights_digest(checkpoint: Path) -> str:
    """What results call the policy of a checkpoint folder, 16 hexadecimal digits: results of other weights differ in it.

    Files are read piece by piece, whatever their size.
    """
    if is_vla_adapter_run(checkpoint):
        return run_digest(checkpoint)
    with (checkpoint / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


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
        MissingDependencyError: the vision encoder's weights come from a package that is not installed.
    """
    place, folder = choose_device(device), find_checkpoint(Path(path))
    experiment = with_given_pictures(folder, read_experiment(folder), pictures)
    spec, of_parts = read_conventions(folder)
    chosen = of_parts.choose(statistics)
    model = _load_model(folder, experiment)
    model.tokenizer = read_tokenizer(folder, model)
    with explained_device_errors(place, "give --device cpu"):
        model.to(place)
    return FocusVLAPolicy(model, spec, chosen, experiment)


def with_given_pictures(folder: Path, experiment: ExperimentConfig, given: GivenPictures) -> ExperimentConfig:
    """The experiment of a checkpoint with the picture steps that are given beside it; VLA-Adapter's run folders say
    nothing of them, and have those of its evaluation.

    Raises:
        ConfigurationError: a step is given that the checkpoint has otherwise.
    """
    pictures = given.over(experiment.model.pictures, is_stated=not is_vla_adapter_run(folder))
    model = dataclasses.replace(experiment.model, pictures=pictures)
    return dataclasses.replace(experiment, model=model)


def _load_model(folder: Path, experiment: ExperimentConfig) -> FocusVLA:
    if is_vla_adapter_run(folder):
        return load_vla_adapter_run(folder, experiment.model)
    model = FocusVLA(experiment.model)
    load_weights(model, folder / "model.safetensors")
    merge_adapters(model)
    return model


def load_weights(model: nn.Module, file: Path) -> None:
    """Fill `model` with the tensors of a safetensors file. Strict: all of them, and no others.

    Raises:
        CheckpointError: the file is missing or damaged, or keys are missing, unexpected or of another shape, which are
            listed; nothing has been loaded.
    """
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file}: cannot be read ({error}). It is half-written or damaged: use another checkpoint."
        ) from error
    expected = model.state_dict()
    missing, unexpected = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    reshaped = sorted(
        name for name in set(expected) & set(tensors) if expected[name].shape != tensors[name].shape
    )
    if missing or unexpected or reshaped:
        raise CheckpointError(
            f"{file.parent}: the weights are not those of its config.json; missing {missing}, unexpected {unexpected}, "
            f"of another shape {reshaped}. Nothing has been loaded."
        )
    model.load_state_dict(tensors)


def read_conventions(folder: Path) -> tuple[Spec, StatisticsByPart]:
    """What the numbers of a checkpoint's observations and actions mean, and their ranges.

    Raises:
        CheckpointError: a file is missing or damaged, or both do not fit each other.
    """
    try:
        if is_vla_adapter_run(folder):
            spec = libero_spec(VLA_ADAPTER_PIXELS)
            statistics = read_openvla_statistics(folder / STATISTICS)
            if others := [name for name in statistics.parts if not name.startswith("libero_")]:
                raise DataError(f"{STATISTICS}: expected data sets of LIBERO alone, got {', '.join(others)}.")
        else:
            spec = Spec.from_dict(_read_json(folder / "spec.json"))
            statistics = StatisticsByPart.from_dict(_read_json(folder / "statistics.json"))
        statistics.require_fitting(spec)
    except (DataError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return spec, statistics


def read_tokenizer(folder: Path, model: FocusVLA) -> WordTokenizer | PromptTokenizer | None:
    """The tokenizer that `model` needs: its own words, or the file in the checkpoint.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    if model.config.language.tokenizer == "words":
        return model.tokenizer
    return load_tokenizer(folder)


def read_experiment(folder: Path) -> ExperimentConfig:
    """The configuration a checkpoint was trained with; of a run folder of VLA-Adapter's, what of it answers depend on.

    Raises:
        CheckpointError: `config.json` is missing or holds unknown or invalid fields.
    """
    if is_vla_adapter_run(folder):
        # Nothing was held out or varied that could be told here.
        training = TrainingConfig(
            steps=trained_steps(folder) or 1,
            precision="bfloat16",
            validation_share=0.0,
            state_limit=1.0,
            augmented_copies=0,
            augmentation=Augmentation(),
        )
        return ExperimentConfig(model=vla_adapter_config(folder), training=training)
    values = _read_json(folder / "config.json")
    try:
        return config_from_dict(ExperimentConfig, values)
    except (KeyError, TypeError, AttributeError, ConfigurationError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'}: is not a configuration of this version of focusvla ({error})."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). The checkpoint is incomplete.") from error
