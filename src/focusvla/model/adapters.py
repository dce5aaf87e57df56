"""Low-rank adapters on the pretrained parts, by peft: y = W x + scale * B (A x), W frozen, A and B learned.

The policy head, the action queries and whatever else has no published weights learn as they are.
"""

import math

from torch import nn

from focusvla.config import AdapterConfig

ADAPTED_PARTS = ("vision_encoder", "projector", "language_model")


def add_adapters(model: nn.Module, config: AdapterConfig) -> None:
    """Put adapters on every linear layer of the pretrained parts of `model` and freeze the rest of these parts.

    A is drawn from a normal distribution of deviation 1 / rank, B is zero, so the model's outputs are unchanged.
    """
    # Which takes a second to load, and most models have no adapters.
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    linear = [
        f"{part}.{name}"
        for part in ADAPTED_PARTS
        if (submodule := getattr(model, part)) is not None
        for name, module in submodule.named_modules()
        if isinstance(module, nn.Linear)
    ]
    trained_as_they_are = {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not _is_adapted(name)
    }
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=math.ceil(config.scale * config.rank),
        target_modules=linear,
        init_lora_weights="gaussian",
    )
    inject_adapter_in_model(settings, model)
    for module in model.modules():
        if isinstance(
            module, LoraLayer
        ):  # whose input autocast casts to what it computes in, from float32 and back otherwise
            module.cast_input_dtype_enabled = False
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name in trained_as_they_are)


def merge_adapters(model: nn.Module) -> None:
    """Fold the adapters into the weights and remove them: the same outputs without their cost."""
    if not any("lora_" in name for name, _ in model.named_parameters()):
        return
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())


def _is_adapted(name: str) -> bool:
    return name.startswith(ADAPTED_PARTS)
