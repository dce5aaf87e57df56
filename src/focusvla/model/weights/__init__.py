"""Published weights, read strictly: a file that does not fit is refused as a whole, with the keys that differ."""

from focusvla.model.weights.backbones import (
    load_backbones,
    load_prismatic,
    load_tokenizer,
    load_vggt,
)
from focusvla.model.weights.pretrained import load_pretrained
from focusvla.model.weights.vla_adapter import (
    load_vla_adapter_head,
    load_vla_adapter_run,
    vla_adapter_config,
)

__all__ = [
    "load_backbones",
    "load_pretrained",
    "load_prismatic",
    "load_tokenizer",
    "load_vggt",
    "load_vla_adapter_head",
    "load_vla_adapter_run",
    "vla_adapter_config",
]
