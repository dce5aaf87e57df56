"""FocusVLA as LeRobot trains and plays it.

Notable: the model is focusvla's own, so its weights, loss and inference are too; what is here is LeRobot's side: batches,
the queue of actions, files.
"""

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import snapshot_download
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from focusvla.checkpoint import load_weights, read_tokenizer
from focusvla.data.crops import crop_center
from focusvla.data.formats.lerobot_layout import SPEC_PATH, camera_key
from focusvla.data.formats.lerobot_metadata import choose_spec
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.pictures import prepare_pictures
from focusvla.errors import ConfigurationError, require_known
from focusvla.model.focusvla import FocusVLA, absolute_errors
from focusvla.model.language import WordTokenizer
from focusvla.model.prompt import PromptTokenizer
from focusvla.model.weights import load_pretrained
from focusvla.suites import conventions
from focusvla.training.loaders import STD_MARGIN
from focusvla.training.optimization import action_weights, parameter_groups
from focusvla.types import ModelInputs
from focusvla_client import Camera, Spec
from lerobot_policy_focusvla.configuration_focusvla import FocusVLAConfig

TASK = "task"
"""LeRobot's key of the instructions."""


class FocusVLAPolicy(PreTrainedPolicy):
    """A FocusVLA model between LeRobot's batches and its environments.

    States and actions pass `processor_focusvla` before and after; images and instructions come as they are.
    """

    config_class = FocusVLAConfig
    name = "focusvla"
    config: FocusVLAConfig

    def __init__(
        self,
        config: FocusVLAConfig,
        dataset_stats: Mapping[str, Mapping[str, Any]] | None = None,
        dataset_meta: Any = None,
    ):
        """Make a policy for a data set (LeRobot's `LeRobotDatasetMetadata`), or what `config` says that was trained.

        Raises:
            ConfigurationError: a value does not fit, or neither is there.
            DataError: the data set has no conventions, is damaged, or differs from the spec that was given.
            SpecMismatchError: a trained policy and the data set differ in conventions.
            CheckpointError: pretrained weights cannot be had.
        """
        super().__init__(config)
        is_new = config.experiment is None
        if is_new and dataset_meta is not None:
            data = _open(Path(dataset_meta.root), config.spec)
            config.fit(data.spec, dataset_meta.tasks.index)
            config.statistics_of_all_steps = data.statistics()
        elif config.experiment is not None and config.spec is not None:
            config.fit(config.spec)
        config.validate_features()
        self.spec, experiment = config.required()
        self.model = FocusVLA(experiment.model)
        if is_new:
            load_pretrained(self.model, experiment.weights)
        elif dataset_meta is not None:
            self._compare_with(dataset_meta)
        # What LeRobot's FSDP, where it is told to wrap transformer layers (TRANSFORMER_BASED_WRAP), gathers at once.
        self._no_split_modules = sorted({type(block).__name__ for block in self.model.blocks()})
        self._standardizes_next_batch = is_new and not experiment.model.needs_images
        self.reset()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: PreTrainedConfig | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        dataset_stats: Mapping[str, Mapping[str, Any]] | None = None,
        dataset_meta: Any = None,
    ) -> Self:
        """Load a policy from a folder or the Hub. Departs from LeRobot: always strict.

        Raises:
            CheckpointError: keys are missing, unexpected or of another shape, which are listed, or a file is damaged.
            ConfigurationError, SpecMismatchError: as `__init__`.
        """
        folder = Path(pretrained_name_or_path)
        if not folder.is_dir():
            downloaded = snapshot_download(
                str(pretrained_name_or_path),
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                allow_patterns=["*.json", "*.safetensors"],
            )
            folder = Path(downloaded)
        return super().from_pretrained(
            folder, config=config, dataset_stats=dataset_stats, dataset_meta=dataset_meta
        )

    @classmethod
    def _load_as_safetensor(cls, model: Self, model_file: str, map_location: str, strict: bool) -> Self:
        load_weights(model, Path(model_file))
        model.model.tokenizer = read_tokenizer(Path(model_file).parent, model.model)
        return model

    def _save_pretrained(self, save_directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        # LeRobot has the second from 0.6 on: weights that a training on several devices has gathered.
        gathered = {} if state_dict is None else {"state_dict": state_dict}
        super()._save_pretrained(save_directory, **gathered)
        if isinstance(self.model.tokenizer, PromptTokenizer):
            self.model.tokenizer.tokenizer.save(str(save_directory / "tokenizer.json"))

    def get_optim_params(self) -> list[dict[str, Any]]:
        """The parameters that learn, matrices and the others, with what each decays by."""
        return parameter_groups(self, self.config.training)

    def reset(self) -> None:
        """Forget the actions that have not been played."""
        self._actions: deque[Tensor] = deque()

    def forward(self, batch: dict[str, Any], reduction: str = "mean") -> tuple[Tensor, dict[str, float]]:
        """The mean weighted absolute error of normalized actions inside their episodes, and the same number to log.

        With `reduction="none"`, which LeRobot asks for to weight samples, each sample's share (batch,): their mean is the
        other, so a sample at an episode's end, of few actions, counts as little as without weights.

        Raises:
            ConfigurationError: a camera or the instructions are missing, an image has another shape, or the reduction is
                unknown.
        """
        require_known("reduction", reduction, ("mean", "none"))
        inputs = self._inputs(batch)
        if self._standardizes_next_batch and inputs.images is not None:
            self._standardize(inputs.images)
        noise = self.config.training.state_noise
        if self.training and noise:
            inputs = replace(inputs, state=inputs.state + noise * torch.randn_like(inputs.state))
        actions, is_inside = batch[ACTION], ~batch[f"{ACTION}_is_pad"]
        errors = absolute_errors(self.model(inputs), actions, is_inside)
        weights = action_weights(self.config.training, self.spec).to(errors.device)
        shares = (errors * weights).sum((1, 2)) * len(errors) / (is_inside.sum() * errors.shape[2])
        loss = shares.mean()
        return shares if reduction == "none" else loss, {"l1_loss": loss.item()}

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any]) -> Tensor:
        """Normalized actions (batch, chunk, action), which the post-processor brings to physical units.

        Raises:
            ConfigurationError: as `forward`.
        """
        self.eval()  # in training the first latent may be noise
        return self.model(self._inputs(batch)).float()

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any]) -> Tensor:
        """The next normalized actions (batch, action): the first `n_action_steps` of a chunk, then of a new one.

        Raises:
            ConfigurationError: as `forward`.
        """
        if not self._actions:
            chunk = self.predict_action_chunk(batch)
            self._actions.extend(chunk[:, : self.config.n_action_steps].unbind(1))
        return self._actions.popleft()

    def _inputs(self, batch: dict[str, Any]) -> ModelInputs:
        if TASK not in batch:
            raise ConfigurationError(
                f"batch: expected instructions under {TASK!r}, got {', '.join(map(str, batch))}."
            )
        token_ids, token_mask = self.model.tokenize(batch[TASK])
        images = None
        if self.model.vision_encoder is not None:
            images = torch.stack([self._images(batch, camera) for camera in self.spec.cameras], dim=1)
            images = crop_center(images, self.model.config.pictures.center_crop_area)
        return ModelInputs(
            images=images, features=None, token_ids=token_ids, token_mask=token_mask, state=batch[OBS_STATE]
        )

    def _images(self, batch: dict[str, Any], camera: Camera) -> Tensor:
        """One camera's images (batch, size, size, 3) as focusvla's policies prepare them."""
        key = camera_key(camera)
        images = batch.get(key)
        if images is None or images.shape[1:] != (3, camera.height, camera.width):
            got = "none" if images is None else tuple(images.shape)
            raise ConfigurationError(
                f"{key}: expected images (batch, 3, {camera.height}, {camera.width}), as the policy was trained on, got "
                f"{got}. Have the environment draw that size: --env.observation_height and --env.observation_width."
            )
        pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        config = self.model.config
        return prepare_pictures(pixels, config.vision.image_size, config.pictures)

    @torch.no_grad()
    def _standardize(self, images: Tensor) -> None:
        """Take mean and deviation of a frozen encoder's features from a new policy's first batch.

        Departs from focusvla's own training, which takes them from the whole data set: LeRobot hands over batches.
        """
        features = self.model.encode_images(images).flatten(0, 1)
        self.model.set_feature_statistics(features.mean(0), features.std(0) + STD_MARGIN)
        self._standardizes_next_batch = False

    def _compare_with(self, dataset_meta: Any) -> None:
        """Of a trained policy: refuse data of other conventions, and tell of words that it does not know."""
        root, spec = Path(dataset_meta.root), self.spec
        if (root / SPEC_PATH).is_file():
            # Cameras may be renamed, so they are compared when a batch comes.
            spec.require_equal(
                replace(choose_spec(root, None), cameras=spec.cameras), "the policy", "the data set"
            )
        tokenizer = self.model.tokenizer
        if isinstance(tokenizer, WordTokenizer):
            unknown = {word for task in dataset_meta.tasks.index for word in tokenizer.unknown_words(task)}
            if unknown:
                logging.warning(
                    "The policy was trained without the words %s and reads them all alike.",
                    ", ".join(sorted(unknown)),
                )


def _open(data_set: Path, given: Spec | None) -> LeRobotSource:
    """A data set with its conventions, which has the features that they name."""
    if given is None and not (data_set / SPEC_PATH).is_file():
        raise ConfigurationError(
            f"policy.spec: expected what the numbers of {data_set} mean, which LeRobot does not say, got none. Give "
            f"--policy.spec=NAME, which is one of {', '.join(conventions())}, or a JSON file like {SPEC_PATH} of data "
            "that focusvla wrote."
        )
    return LeRobotSource(data_set, given)
