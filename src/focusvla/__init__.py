"""FocusVLA: focused visual utilization for vision-language-action models.

What scripts need, each loaded when it is first asked for: `load_policy`, `Policy`, `open_dataset`, `train`, `evaluate`,
and the modules `presets` and `suites`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from focusvla import presets, suites
    from focusvla.data.formats.opening import open_source as open_dataset
    from focusvla.evaluation.evaluate import evaluate_checkpoint as evaluate
    from focusvla.policy import load_policy
    from focusvla.training.trainer import train
    from focusvla_client import Policy

__version__ = "0.1.0"

__all__ = ["Policy", "evaluate", "load_policy", "open_dataset", "presets", "suites", "train"]

_HOMES = {
    "Policy": ("focusvla_client", "Policy"),
    "evaluate": ("focusvla.evaluation.evaluate", "evaluate_checkpoint"),
    "load_policy": ("focusvla.policy", "load_policy"),
    "open_dataset": ("focusvla.data.formats.opening", "open_source"),
    "presets": ("focusvla.presets", ""),
    "suites": ("focusvla.suites", ""),
    "train": ("focusvla.training.trainer", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    loaded = import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
