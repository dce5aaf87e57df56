"""Checkpoints of focusvla as LeRobot's and back: `python -m lerobot_policy_focusvla.convert to-lerobot CHECKPOINT OUT`.

Weights are copied as they are, conventions and statistics go along, so both sides give the same actions. The state of an
optimizer stays behind: each side begins a new training from the weights.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro
from huggingface_hub.constants import CONFIG_NAME
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.processor import PolicyProcessorPipeline
from lerobot.utils.constants import ACTION, OBS_STATE, POLICY_PREPROCESSOR_DEFAULT_NAME
from tyro.conf import Positional

from focusvla.checkpoint import WEIGHTS, load_weights, open_checkpoint, read_tokenizer, write_checkpoint
from focusvla.data.formats.lerobot_layout import camera_key
from focusvla.data.normalization import ALONE, StatisticsByPart
from focusvla.errors import CheckpointError, FocusVLAError
from focusvla.storage import publish_folder
from focusvla_client import Spec, SpecMismatchError
from lerobot_policy_focusvla.configuration_focusvla import FocusVLAConfig
from lerobot_policy_focusvla.modeling_focusvla import FocusVLAPolicy
from lerobot_policy_focusvla.processor_focusvla import (
    FocusVLANormalizerStep,
    make_focusvla_pre_post_processors,
)


def to_lerobot(checkpoint: Positional[Path], output: Positional[Path], statistics: str | None = None) -> None:
    """Write a checkpoint of focusvla, or the newest of a training run, as a policy that LeRobot opens.

    Args:
        statistics: after training on a mixture, the name of the part whose robot is to be driven.

    Raises:
        CheckpointError: the checkpoint is incomplete, damaged or of another version.
        ConfigurationError: there is no such part, or none named where there are several.
        StorageError: `output` exists already or cannot be written.
    """
    opened = open_checkpoint(checkpoint)
    folder, spec, experiment = opened.folder, opened.spec, opened.experiment
    chosen = opened.statistics.choose(statistics)
    if experiment.model.normalization != "exact":
        raise CheckpointError(
            f"{folder}: expected a policy with normalization='exact', got {experiment.model.normalization!r}, which this "
            "plugin does not know. Evaluate it with `focusvla evaluate`."
        )
    config = FocusVLAConfig(
        spec=spec,
        experiment=experiment,
        input_features=_input_features(spec),
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (len(spec.action),))},
    )
    policy = FocusVLAPolicy(config)
    load_weights(policy.model, folder / WEIGHTS)
    policy.model.tokenizer = read_tokenizer(folder, policy.model)
    stats = {
        key: {"q01": quantiles.q01, "q99": quantiles.q99}
        for key, quantiles in ((ACTION, chosen.action), (OBS_STATE, chosen.state))
    }
    with publish_folder(output) as partial:
        policy.save_pretrained(partial)
        for pipeline in make_focusvla_pre_post_processors(config, stats):
            pipeline.save_pretrained(partial)


def from_lerobot(checkpoint: Positional[Path], output: Positional[Path]) -> None:
    """Write a policy that LeRobot trained (its folder `pretrained_model`) as a checkpoint of focusvla.

    Raises:
        CheckpointError: it is no FocusVLA policy, incomplete or damaged.
        SpecMismatchError: its conventions are not those that it was trained with.
        StorageError: `output` exists already or cannot be written.
    """
    trained = _normalizer(checkpoint)
    policy = FocusVLAPolicy.from_pretrained(checkpoint)
    _, experiment = policy.config.required()
    policy.spec.require_equal(trained.spec, "config.json", "the saved normalization")
    write_checkpoint(
        output,
        experiment=experiment,
        weights=policy.model.state_dict(),
        tokenizer=policy.model.tokenizer,
        spec=trained.spec,
        statistics=StatisticsByPart({ALONE: trained.require_statistics()}),
        origin="Trained by LeRobot.",
    )


def _normalizer(folder: Path) -> FocusVLANormalizerStep:
    """The step that a policy's states and actions pass in training, with its statistics."""
    try:
        kind = json.loads((folder / CONFIG_NAME).read_text("utf-8"))["type"]
        pipeline = PolicyProcessorPipeline.from_pretrained(folder, f"{POLICY_PREPROCESSOR_DEFAULT_NAME}.json")
        steps = [step for step in pipeline.steps if isinstance(step, FocusVLANormalizerStep)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: expected a policy that LeRobot saved, got {error}. Give its folder pretrained_model."
        ) from error
    if kind != FocusVLAPolicy.name or not steps:
        raise CheckpointError(f"{folder}: expected a policy of type {FocusVLAPolicy.name!r}, got {kind!r}.")
    return steps[0]


def _input_features(spec: Spec) -> dict[str, PolicyFeature]:
    images = {
        camera_key(camera): PolicyFeature(FeatureType.VISUAL, (3, camera.height, camera.width))
        for camera in spec.cameras
    }
    return images | {OBS_STATE: PolicyFeature(FeatureType.STATE, (len(spec.state),))}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 2 is the exit code of an error that the user can fix, which is told in one message."""
    commands = {"to-lerobot": to_lerobot, "from-lerobot": from_lerobot}
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="lerobot_policy_focusvla.convert", args=arguments)
    except (FocusVLAError, SpecMismatchError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
