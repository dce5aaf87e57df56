"""Normalization as focusvla has it, as steps of LeRobot's pipelines.

LeRobot's own quantile mode is another: it maps a gripper commanded by -1 and +1, clips nothing, and gives -1 for a
dimension that never moves. So these steps call focusvla's normalizers, with the same numbers bit for bit. LeRobot's steps
stay in the pipelines without effect, because `lerobot-train` sets their values by name when it goes on from a checkpoint.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    NormalizerProcessorStep,
    PolicyProcessorPipeline,
    ProcessorStep,
    ProcessorStepRegistry,
    RenameObservationsProcessorStep,
    TransitionKey,
    UnnormalizerProcessorStep,
)
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action
from lerobot.utils.constants import (
    ACTION,
    OBS_STATE,
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)
from torch import Tensor

from focusvla.data.normalization import Quantiles, Statistics, action_normalizer, state_normalizer
from focusvla.errors import ConfigurationError, DataError
from focusvla_client import Spec
from lerobot_policy_focusvla.configuration_focusvla import FocusVLAConfig

_ADDS_QUANTILES = next(
    name
    for name in (
        "lerobot.scripts.augment_dataset_quantile_stats",
        "lerobot.datasets.v30.augment_dataset_quantile_stats",
    )
    if "v30" in name or find_spec(name)
)
"""LeRobot's module for older data sets, which moved in 0.6."""


def read_statistics(stats: Mapping[str, Mapping[str, Any]]) -> Statistics:
    """LeRobot's statistics of a data set as focusvla's.

    Raises:
        DataError: they hold no 1 % and 99 % quantiles of states and actions.
    """
    found = {}
    for name, key in (("action", ACTION), ("state", OBS_STATE)):
        held = stats.get(key, {})
        if not {"q01", "q99"} <= held.keys():
            raise DataError(
                f"stats[{key!r}]: expected q01 and q99, got {', '.join(held) or 'nothing'}. Add them with "
                f"python -m {_ADDS_QUANTILES} --repo-id=DATA_SET."
            )
        found[name] = Quantiles(
            *(tuple(np.asarray(held[bound], float).reshape(-1).tolist()) for bound in ("q01", "q99"))
        )
    return Statistics(**found)


@dataclass
class _FocusVLAStep(ProcessorStep):
    """Holds a data set's statistics, which LeRobot saves beside the pipeline."""

    spec: Spec
    """Conventions, or the dictionary that was saved of them."""
    statistics: Statistics | None = None

    def __post_init__(self):
        if not isinstance(self.spec, Spec):
            self.spec = Spec.from_dict(self.spec)

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes again."""
        return {"spec": self.spec.to_dict()}

    def state_dict(self) -> dict[str, Tensor]:
        """Quantiles as float64 vectors: `action.q01`, `action.q99`, `state.q01` and `state.q99`."""
        held = {} if self.statistics is None else self.statistics.to_dict()
        return {
            f"{name}.{bound}": torch.tensor(values, dtype=torch.float64)
            for name, bounds in held.items()
            for bound, values in bounds.items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Read what `state_dict` gave."""
        values: dict[str, dict[str, list[float]]] = {}
        for key, tensor in state.items():
            name, _, bound = key.partition(".")
            values.setdefault(name, {})[bound] = tensor.tolist()
        self.statistics = Statistics.from_dict(values)

    def transform_features(self, features: dict[Any, Any]) -> dict[Any, Any]:
        """Normalization changes no shape."""
        return features

    def require_statistics(self) -> Statistics:
        """The statistics.

        Raises:
            DataError: there are none.
        """
        if self.statistics is None:
            raise DataError(
                "statistics: expected those of the training data, got none. Load the processors that were saved with the "
                "policy (make_pre_post_processors with pretrained_path), or pass dataset_stats."
            )
        self.statistics.require_fitting(self.spec)
        return self.statistics


@dataclass
@ProcessorStepRegistry.register(name="focusvla_normalizer")
class FocusVLANormalizerStep(_FocusVLAStep):
    """Physical units to what the model works in, for states and, in training, actions."""

    state_limit: float = 1.5
    """Where states are clipped; steps that were saved without it had this one."""

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes again."""
        return super().get_config() | {"state_limit": self.state_limit}

    def __call__(self, transition: dict[Any, Any]) -> dict[Any, Any]:
        """A new transition.

        Raises:
            ConfigurationError: the observation holds no state.
            DataError: there are no statistics, or they are of another width.
        """
        statistics = self.require_statistics()
        changed = dict(transition)
        observation = dict(transition[TransitionKey.OBSERVATION])
        if OBS_STATE not in observation:
            raise ConfigurationError(
                f"{OBS_STATE}: expected the robot's state, got {', '.join(observation) or 'nothing'}. "
                "Use an environment that shows it (--env.obs_type=pixels_agent_pos)."
            )
        normalize = state_normalizer(statistics, self.state_limit).normalize
        observation[OBS_STATE] = _applied(normalize, observation[OBS_STATE])
        changed[TransitionKey.OBSERVATION] = observation
        if (action := transition.get(TransitionKey.ACTION)) is not None:
            changed[TransitionKey.ACTION] = _applied(
                action_normalizer(statistics, self.spec).normalize, action
            )
        return changed


@dataclass
@ProcessorStepRegistry.register(name="focusvla_unnormalizer")
class FocusVLAUnnormalizerStep(_FocusVLAStep):
    """The model's actions to physical units."""

    def __call__(self, transition: dict[Any, Any]) -> dict[Any, Any]:
        """A new transition.

        Raises:
            DataError: as `FocusVLANormalizerStep`.
        """
        normalizer = action_normalizer(self.require_statistics(), self.spec)
        changed = dict(transition)
        changed[TransitionKey.ACTION] = _applied(normalizer.unnormalize, transition[TransitionKey.ACTION])
        return changed


def make_focusvla_pre_post_processors(
    config: FocusVLAConfig, dataset_stats: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
    """What comes before and after a policy. Without `dataset_stats`, statistics must be loaded before anything passes.

    For a policy that has just been made they are those of all steps; `dataset_stats` has means of episodes' quantiles.

    Raises:
        ConfigurationError: the policy has no spec, since it has not been made.
        DataError: the statistics hold no quantiles.
    """
    if config.spec is None:
        raise ConfigurationError(
            "policy.spec: expected the data's conventions, got none. Make the policy first."
        )
    statistics = None
    if dataset_stats is not None:
        statistics = config.statistics_of_all_steps or read_statistics(dataset_stats)
    unchanged = {"norm_map": config.normalization_mapping, "stats": None}
    before = [
        RenameObservationsProcessorStep(rename_map={}),
        AddBatchDimensionProcessorStep(),
        FocusVLANormalizerStep(config.spec, statistics, config.training.state_limit),
        NormalizerProcessorStep(features={**config.input_features, **config.output_features}, **unchanged),
        DeviceProcessorStep(device=config.device),
    ]
    after = [
        FocusVLAUnnormalizerStep(config.spec, statistics),
        UnnormalizerProcessorStep(features=config.output_features, **unchanged),
        DeviceProcessorStep(device="cpu"),
    ]
    return (
        PolicyProcessorPipeline(steps=before, name=POLICY_PREPROCESSOR_DEFAULT_NAME),
        PolicyProcessorPipeline(
            steps=after,
            name=POLICY_POSTPROCESSOR_DEFAULT_NAME,
            to_transition=policy_action_to_transition,
            to_output=transition_to_policy_action,
        ),
    )


def _applied(function: Callable[[np.ndarray], np.ndarray], tensor: Tensor) -> Tensor:
    return torch.from_numpy(function(tensor.cpu().numpy())).to(tensor.device)
