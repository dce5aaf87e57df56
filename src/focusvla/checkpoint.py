"""Checkpoints: the one place that knows what lies in their folders, how they are written, and how older ones read.

    RUN/checkpoints/
    ├── step-00000800/              a model on its own, complete under this name or not there
    │   ├── config.json             the format, and the experiment: model, training, execution
    │   ├── model.safetensors       averaged weights, which policies use; all of them, a frozen encoder's too
    │   ├── spec.json               cameras, layouts, conventions, control rate
    │   ├── statistics.json         ranges of state and action, of each part of a mixture
    │   ├── tokenizer.json          if the language model has a published one
    │   ├── versions.json           packages and commit
    │   ├── README.md               model card
    │   └── training.safetensors    what training goes on with, of the newest alone: see `focusvla.training.checkpoint`
    └── .step-00001000.partial/     one that is being written or removed, or was when its process was killed

Nothing is ever pickled, and every file can be read by whom the umask lets. A run folder that VLA-Adapter wrote is a
checkpoint too, and can be read.
"""

import hashlib
import json
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import save_file
from torch import Tensor, nn

from focusvla.config import Augmentation, ExperimentConfig, ModelConfig, TrainingConfig, config_from_dict
from focusvla.data.formats.openvla_statistics import read_openvla_statistics
from focusvla.data.normalization import StatisticsByPart
from focusvla.errors import CheckpointError, ConfigurationError, DataError
from focusvla.installed_checkpoints import installed_checkpoint, installed_checkpoints
from focusvla.model.adapters import merge_adapters
from focusvla.model.focusvla import FocusVLA
from focusvla.model.language import WordTokenizer
from focusvla.model.prompt import PromptTokenizer
from focusvla.model.weights import load_tokenizer, load_vla_adapter_run, vla_adapter_config
from focusvla.model.weights.files import read_safetensors, require_matching, require_merged
from focusvla.model.weights.vla_adapter import (
    STATISTICS,
    is_vla_adapter_run,
    require_complete_run,
    run_digest,
    trained_steps,
)
from focusvla.storage import partial_path, publish_folder, require_free_space, usual_mode
from focusvla.suites.libero import libero_spec
from focusvla.versions import versions
from focusvla_client import Spec

FORMAT = 2
"""Of what is written, as `config.json` says."""
_UPGRADES: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda config: config,  # it did not say its format; all else is the same
}
"""By format, how what `config.json` holds reads in the next one. A field that a configuration has got since is no new
format: its default is what was done without it."""

WEIGHTS, TRAINING = "model.safetensors", "training.safetensors"
_CONFIG, _SPEC, _STATISTICS, _VERSIONS = "config.json", "spec.json", "statistics.json", "versions.json"
_REQUIRED = _CONFIG, WEIGHTS, _SPEC, _STATISTICS
_STEP = re.compile(r"step-(\d{8,})")
VLA_ADAPTER_PIXELS = 256
"""Side of the pictures that its LIBERO policies were trained and are evaluated on, before the policy resizes them."""


class Checkpoint(ABC):
    """A folder that is a policy on its own. What it holds is read when it is asked for.

    Each property and method raises a `CheckpointError` if a file is missing, damaged or of another version.
    """

    states_pictures: ClassVar[bool]
    """Whether the configuration says all that its policy does to pictures."""

    def __init__(self, folder: Path):
        """See `open_checkpoint`."""
        self.folder = folder

    @classmethod
    @abstractmethod
    def is_in(cls, folder: Path) -> bool:
        """Whether `folder` is one, complete or not."""

    @abstractmethod
    def require_readable(self) -> None:
        """Raise unless each file is there that a policy is made of, naming all that are missing, in a known format."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """What results call its policy, 16 hexadecimal digits: results of other weights differ in it. Files are read
        piece by piece, whatever their size."""

    @property
    @abstractmethod
    def versions(self) -> dict[str, Any]:
        """Of the packages and the commit that trained it; empty if it does not say."""

    @cached_property
    def experiment(self) -> ExperimentConfig:
        """The configuration it was trained with, as far as its answers depend on it."""
        return self._read_experiment()

    @property
    def spec(self) -> Spec:
        """What the numbers of its observations and actions mean."""
        return self._conventions[0]

    @property
    def statistics(self) -> StatisticsByPart:
        """Their ranges, which fit the spec."""
        return self._conventions[1]

    @abstractmethod
    def load_model(self, config: ModelConfig) -> FocusVLA:
        """Its model with adapters merged and its tokenizer, on the CPU. `config` is its own but for the pictures."""

    @cached_property
    def _conventions(self) -> tuple[Spec, StatisticsByPart]:
        try:
            spec, statistics = self._read_conventions()
            statistics.require_fitting(spec)
        except (DataError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.folder}: {error}") from error
        return spec, statistics

    @abstractmethod
    def _read_experiment(self) -> ExperimentConfig: ...

    @abstractmethod
    def _read_conventions(self) -> tuple[Spec, StatisticsByPart]: ...


class SavedCheckpoint(Checkpoint):
    """What `write_checkpoint` wrote, of this version of focusvla or an earlier one."""

    states_pictures = True

    @classmethod
    def is_in(cls, folder: Path) -> bool:
        """Whether it has our file of weights."""
        return (folder / WEIGHTS).is_file()

    def require_readable(self) -> None:
        """As of every checkpoint."""
        missing = [name for name in _REQUIRED if not (self.folder / name).is_file()]
        if missing:
            raise CheckpointError(
                f"{self.folder}: expected a checkpoint, got one without {', '.join(missing)}. It is incomplete: copy "
                "what is missing, or use another."
            )
        self._read_config()

    @property
    def digest(self) -> str:
        """Of the weights."""
        with (self.folder / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]

    @property
    def versions(self) -> dict[str, Any]:
        """Those of the process that wrote it."""
        return self._read(_VERSIONS)

    def load_model(self, config: ModelConfig) -> FocusVLA:
        """From its own files alone."""
        model = FocusVLA(config)
        load_weights(model, self.folder / WEIGHTS)
        merge_adapters(model)
        model.tokenizer = read_tokenizer(self.folder, model)
        return model

    def _read_experiment(self) -> ExperimentConfig:
        try:
            return config_from_dict(ExperimentConfig, self._read_config())
        except (KeyError, TypeError, AttributeError, ConfigurationError) as error:
            raise CheckpointError(
                f"{self.folder / _CONFIG}: is not a configuration of this version of focusvla ({error})."
            ) from error

    def _read_conventions(self) -> tuple[Spec, StatisticsByPart]:
        return Spec.from_dict(self._read(_SPEC)), StatisticsByPart.from_dict(self._read(_STATISTICS))

    def _read_config(self) -> dict[str, Any]:
        """What `config.json` holds, as if it had been written today."""
        values = self._read(_CONFIG)
        stated = values.pop("format", 1)
        if not isinstance(stated, int) or not 1 <= stated <= FORMAT:
            raise CheckpointError(
                f"{self.folder / _CONFIG}: format: expected 1 to {FORMAT}, which this version of focusvla reads, got "
                f"{stated!r}. Install a newer focusvla."
            )
        for each in range(stated, FORMAT):
            values = _UPGRADES[each](values)
        return values

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            found = json.loads(path.read_text("utf-8"))
            if not isinstance(found, dict):
                raise ValueError(f"expected an object, got {type(found).__name__}")
            return found
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error}). The checkpoint is incomplete."
            ) from error


class VLAAdapterCheckpoint(Checkpoint):
    """A run folder of VLA-Adapter's. It says nothing of pictures: they are as in its evaluation."""

    states_pictures = False

    @classmethod
    def is_in(cls, folder: Path) -> bool:
        """Whether it has a file that ours never have."""
        return is_vla_adapter_run(folder)

    def require_readable(self) -> None:
        """As of every checkpoint."""
        require_complete_run(self.folder)

    @property
    def digest(self) -> str:
        """Of all files that its answers depend on."""
        return run_digest(self.folder)

    @property
    def versions(self) -> dict[str, Any]:
        """None: it does not say."""
        return {}

    def load_model(self, config: ModelConfig) -> FocusVLA:
        """In float32."""
        model = load_vla_adapter_run(self.folder, config)
        model.tokenizer = read_tokenizer(self.folder, model)
        return model

    def _read_experiment(self) -> ExperimentConfig:
        # Nothing was held out or varied that could be told here.
        training = TrainingConfig(
            steps=trained_steps(self.folder) or 1,
            precision="bfloat16",
            validation_share=0.0,
            state_limit=1.0,
            augmented_copies=0,
            augmentation=Augmentation(),
        )
        return ExperimentConfig(model=vla_adapter_config(self.folder), training=training)

    def _read_conventions(self) -> tuple[Spec, StatisticsByPart]:
        statistics = read_openvla_statistics(self.folder / STATISTICS)
        if others := [name for name in statistics.parts if not name.startswith("libero_")]:
            raise DataError(f"{STATISTICS}: expected data sets of LIBERO alone, got {', '.join(others)}.")
        return libero_spec(VLA_ADAPTER_PIXELS), statistics


_KINDS: tuple[type[Checkpoint], ...] = (VLAAdapterCheckpoint, SavedCheckpoint)
"""In the order in which they are recognized."""


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in the folder `path`, the newest of the training run there, or, where there is no such folder, the
    one that an installed package brings under this name.

    Raises:
        CheckpointError: there is none of them, files are missing, which are named, or a newer focusvla wrote it.
    """
    if not path.exists():
        path = installed_checkpoint(str(path)) or path
    kind = _kind_of(path)
    if kind is None:
        steps = checkpoint_steps(path)
        if not steps:
            require_merged(path)
            names = installed_checkpoints()
            raise CheckpointError(
                f"checkpoint={path}: expected a folder with {WEIGHTS}, or a training run with "
                "checkpoints/step-*, found neither. Train one with `focusvla train`"
                + (f", or take one that is installed: {', '.join(names)}." if names else ".")
            )
        path, kind = checkpoint_folder(path, steps[-1]), SavedCheckpoint
    found = kind(path)
    found.require_readable()
    return found


def _kind_of(folder: Path) -> type[Checkpoint] | None:
    return next((kind for kind in _KINDS if kind.is_in(folder)), None)


def load_weights(model: nn.Module, file: Path) -> None:
    """Fill `model` with the tensors of a safetensors file. Strict: all of them, and no others.

    Raises:
        CheckpointError: the file is missing or damaged, or keys are missing, unexpected or of another shape, which are
            listed; nothing has been loaded.
    """
    tensors = read_safetensors(file)
    require_matching(model.state_dict(), tensors, file)
    model.load_state_dict(tensors)


def read_tokenizer(folder: Path, model: FocusVLA) -> WordTokenizer | PromptTokenizer | None:
    """The tokenizer that `model` needs: its own words, or the file in the checkpoint.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    if model.config.language.tokenizer == "words":
        return model.tokenizer
    return load_tokenizer(folder)


def write_checkpoint(
    folder: Path,
    *,
    experiment: ExperimentConfig,
    weights: Mapping[str, Tensor],
    tokenizer: WordTokenizer | PromptTokenizer | None,
    spec: Spec,
    statistics: StatisticsByPart,
    origin: str,
    training: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint, all of it or nothing; `origin` is the model card's first sentence, and `training` what a run
    needs besides to go on.

    Raises:
        StorageError: `folder` exists, the disk has too little space, which is found before anything is written, or it
            cannot be written.
    """
    files = {WEIGHTS: weights, **({} if training is None else {TRAINING: training})}
    size = sum(t.numel() * t.element_size() for tensors in files.values() for t in tensors.values())
    require_free_space(folder, size, "a checkpoint")
    with publish_folder(folder) as partial:
        for name, tensors in files.items():
            with usual_mode(partial / name):
                save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, partial / name)
        for name, values in {
            _CONFIG: {"format": FORMAT, **asdict(experiment)},
            _SPEC: spec.to_dict(),
            _STATISTICS: statistics.to_dict(),
            _VERSIONS: versions(),
        }.items():
            (partial / name).write_text(json.dumps(values, indent=2), "utf-8")
        if isinstance(tokenizer, PromptTokenizer):
            tokenizer.tokenizer.save(str(partial / "tokenizer.json"))
        (partial / "README.md").write_text(_model_card(experiment, spec, origin), "utf-8")


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where a training run keeps its checkpoint after `step` steps."""
    return run / "checkpoints" / f"step-{step:08d}"


def checkpoint_step(folder: Path) -> int:
    """The number of steps in a checkpoint folder's name."""
    return int(folder.name.removeprefix("step-"))


def checkpoint_steps(run: Path) -> list[int]:
    """The steps of a run's finished checkpoints, in order, so that the last is the newest. What is called otherwise is
    none of them: a copy `step-00000004-backup`, an unfinished `.step-00000004.partial`, `step-4`."""
    found = (path for path in (run / "checkpoints").glob("step-*") if _STEP.fullmatch(path.name))
    return sorted(checkpoint_step(path) for path in found if path.is_dir())


def best_step(metrics: Iterable[Mapping[str, Any]], steps: Iterable[int]) -> int | None:
    """Which of `steps` has the best metrics: the highest success rate or, if none was evaluated, the lowest validation
    loss. The earliest of equal ones; None if nothing was measured.
    """
    known = set(steps)
    lines = [line for line in metrics if line["step"] in known]
    for name, sign in (("success_rate", -1), ("validation_loss", 1)):
        measured = [(sign * line[name], line["step"]) for line in lines if name in line]
        if measured:
            return min(measured)[1]
    return None


def remove_superseded(run: Path, num_kept: int, needed: Collection[int]) -> None:
    """Delete all checkpoints but the newest `num_kept` and those of the steps `needed`; 0 keeps all.

    Only the newest keeps the training state.
    """
    steps = checkpoint_steps(run)
    for step in steps[:-1]:
        (checkpoint_folder(run, step) / TRAINING).unlink(missing_ok=True)
    for step in steps[:-num_kept] if num_kept else []:
        if step not in needed:
            folder = checkpoint_folder(run, step)
            shutil.rmtree(folder.replace(partial_path(folder)))  # never half of one under its name


def remove_unfinished(run: Path) -> None:
    """Delete what a killed process was writing or removing."""
    for partial in (run / "checkpoints").glob(".*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _model_card(experiment: ExperimentConfig, spec: Spec, origin: str) -> str:
    model = experiment.model
    return f"""---
library_name: focusvla
pipeline_tag: robotics
---
# FocusVLA checkpoint

{origin} Vision encoder `{model.vision.encoder}`, {model.policy_head.attention} attention, \
{model.policy_head.num_kept_patches} of {model.num_patches} patches kept, {model.policy_head.gate} gate.

Cameras {", ".join(f"`{c.name}` {c.width}x{c.height}" for c in spec.cameras)}; actions `{spec.action_space}` at \
{spec.control_rate_hz:g} Hz in chunks of {model.chunk_length}.

Load it with `focusvla.policy.load_policy(folder)`; evaluate it with `focusvla evaluate --checkpoint FOLDER`.
"""
