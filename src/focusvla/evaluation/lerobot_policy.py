# pyright: reportMissingImports=false
"""A policy of LeRobot's, from a folder or the Hub, where the lerobot library is installed: `--policy lerobot:FOLDER`.

Only JSON and safetensors are read, and processors of lerobot's own alone: others would be code of whoever wrote the file.
"""

import importlib.util
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from focusvla.errors import ConfigurationError
from focusvla.evaluation.commands import require_commands
from focusvla.evaluation.episodes import PolicyTraits, Question
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.suites import suite_of
from focusvla_client import Observation, Spec
from focusvla_client.errors import InvalidAnswerError
from focusvla_client.messages import checked_chunk

_IMAGES, _STATE = "observation.images.", "observation.state"


def require_lerobot() -> None:
    """Raise unless the library is installed, which is not imported.

    Raises:
        ConfigurationError: it is not.
    """
    if importlib.util.find_spec("lerobot") is None:
        raise ConfigurationError(
            "policy: lerobot:... needs the lerobot library, which is not installed here. Install it beside focusvla in "
            "an environment of its own: pip install lerobot."
        )


class LeRobotPolicy:
    """Answers with the chunks of a LeRobot policy and its own processors."""

    def __init__(self, where: str, device: str, suites: Sequence[str], called: str):
        """Load it.

        Raises:
            ConfigurationError: it is no policy of LeRobot's, or not for the robot of `suites`.
        """
        self._where = f"lerobot:{where}"
        folder = Path(where) if Path(where).is_dir() else self._fetched(where)
        self._require_known_processors(folder)
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors

        config = PreTrainedConfig.from_pretrained(folder)
        config.device = device
        if config.n_obs_steps != 1:
            raise ConfigurationError(
                f"policy {self._where}: expected one that looks at one moment, got n_obs_steps={config.n_obs_steps}."
            )
        self._spec = self._fitting(config, suites)
        self._cameras = tuple(key.removeprefix(_IMAGES) for key in config.image_features)
        self._device = device
        self._policy = get_policy_class(config.type).from_pretrained(folder, config=config, strict=True)
        self._before, self._after = make_pre_post_processors(
            config, str(folder), preprocessor_overrides={"device_processor": {"device": device}}
        )
        probe = Observation(
            {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in self._spec.cameras},
            np.zeros(len(self._spec.state), np.float32),
            "Stay where you are.",
        )
        self._chunk_length = len(self._chunk(probe))
        self._identity = called or f"lerobot-{_digest(folder)}"

    def traits(self) -> PolicyTraits:
        """What players must know of it."""
        identity = PolicyIdentity(weights=self._identity)
        return PolicyTraits(self._spec, self._cameras, self._chunk_length, identity)

    def infer(self, requests: Sequence[Question]) -> list[Float32[np.ndarray, "chunk action"]]:
        """A chunk per request.

        Raises:
            ConfigurationError: an answer is no chunk.
        """
        chunks = [self._chunk(request.observation) for request in requests]
        return [require_commands(chunk, self._chunk_length, self._spec, self._where) for chunk in chunks]

    def _chunk(self, observation: Observation) -> np.ndarray:
        import torch

        batch: dict[str, Any] = {
            _IMAGES + camera: torch.from_numpy(np.array(observation.images[camera])).permute(2, 0, 1)[None]
            / 255
            for camera in self._cameras
        }
        batch |= {
            _STATE: torch.from_numpy(np.array(observation.state))[None],
            "task": [observation.instruction],
        }
        with torch.inference_mode():
            chunk = self._after(self._policy.predict_action_chunk(self._before(batch)))
        try:
            return checked_chunk(chunk[0].float().cpu().numpy(), len(self._spec.action))
        except InvalidAnswerError as error:
            raise ConfigurationError(f"policy {self._where}: {error}") from error

    def _fetched(self, repository: str) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(repository, allow_patterns=["*.json", "*.safetensors"]))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
            raise ConfigurationError(
                f"policy {self._where}: no such folder, and not to be had from the Hub ({error})."
            ) from error

    def _require_known_processors(self, folder: Path) -> None:
        names = ("config.json", "policy_preprocessor.json", "policy_postprocessor.json", "model.safetensors")
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ConfigurationError(
                f"policy {self._where}: expected {', '.join(names)}, as lerobot writes them, "
                f"missing {', '.join(missing)}."
            )
        for name in names[1:3]:
            for step in json.loads((folder / name).read_text("utf-8")).get("steps", []):
                if not step.get("registry_name") and not str(step.get("class", "")).startswith("lerobot."):
                    raise ConfigurationError(
                        f"policy {self._where}: expected processors of lerobot's own in {name}, got "
                        f"{step.get('class')!r:.80}, which would be imported from elsewhere."
                    )

    def _fitting(self, config: Any, suites: Sequence[str]) -> Spec:
        """The suites' conventions with pictures of the size that the policy names."""
        conventions = suite_of(suites[0]).conventions
        known = conventions.make(*conventions.published_size)
        shapes = {key: tuple(feature.shape) for key, feature in config.input_features.items()}
        images = {key: shape for key, shape in shapes.items() if key.startswith(_IMAGES)}
        cameras = {_IMAGES + camera.name for camera in known.cameras}
        sizes = {shape[1:] for shape in images.values()}
        rest = {key: shape for key, shape in shapes.items() if key not in images}
        actions = {key: tuple(feature.shape) for key, feature in config.output_features.items()}
        expected = {_STATE: (len(known.state),)}, {"action": (len(known.action),)}
        is_square = all(len(size) == 2 and size[0] == size[1] for size in sizes) and len(sizes) <= 1
        if (
            not set(images) <= cameras
            or not is_square
            or rest not in ({}, expected[0])
            or actions != expected[1]
        ):
            raise ConfigurationError(
                f"policy {self._where}: expected, for {suites[0]}, pictures among {', '.join(sorted(cameras))} of one "
                f"square size, {expected[0]} and {expected[1]}, got {shapes} and {actions}."
            )
        return conventions.make(next(iter(sizes))[0]) if sizes else known


def _digest(folder: Path) -> str:
    """Of all that is read."""
    found = sha256()
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        found.update(file.name.encode())
        with file.open("rb") as opened:
            while part := opened.read(2**20):
                found.update(part)
    return found.hexdigest()[:16]
