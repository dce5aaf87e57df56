"""A preset's values that a command line replaces: every field of an experiment is a flag.

The flags are made from the configuration's dataclasses, so that a new field is one at once. What tyro reads into is a
`TypedDict` that holds the fields that were given and no others, nested as the dataclasses are: that a value was given is
known even where it is the preset's own.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar, get_type_hints

import tyro

from focusvla.config import ExperimentConfig, ModelConfig
from focusvla.errors import ConfigurationError

_Config = TypeVar("_Config")

_FLAT = frozenset({"training", "execution"})
"""Parts whose fields are flags without the part's name before them."""
_ALIASES = {"chunk_length": ["--chunk-length"]}
_OF_DATA = ("num_cameras", "state_dim", "action_dim")
"""Fields of the model that the data decide."""

CONFIGURATIONS: dict[type, type] = {}
"""Of each type that `flags_of` made, the dataclass whose fields it has."""


def flags_of(kind: type, shown: object = None) -> type:
    """A type whose fields are those of the dataclass `kind`, none of them required; help tells the values of `shown`."""
    types: dict[str, Any] = get_type_hints(kind)
    flags = {}
    for field in fields(kind):
        value = None if shown is None else getattr(shown, field.name)
        flag = tyro.conf.arg(
            name="" if field.name in _FLAT else None,
            aliases=_ALIASES.get(field.name),
            help_behavior_hint=_hint(value, known=shown is not None),
        )
        is_part = is_dataclass(types[field.name])
        of_field = flags_of(types[field.name], value) if is_part else types[field.name]
        flags[field.name] = Annotated[of_field, flag]
    found = TypedDict(kind.__name__, flags, total=False)  # type: ignore[misc] - made while running
    found.__doc__ = kind.__doc__
    CONFIGURATIONS[found] = kind
    return found


def _hint(value: object, *, known: bool) -> str:
    if not known:
        return "(default: the preset's)"
    if value in (None, "", ()):
        return ""
    return f"(default: {' '.join(map(str, value)) if isinstance(value, tuple) else value})"


if TYPE_CHECKING:
    Overrides = dict[str, Any]
else:
    Overrides = flags_of(ExperimentConfig)
NO_OVERRIDES: Overrides = {}
OverrideFlags = Annotated[Overrides, tyro.conf.arg(name="")]
"""A command's parameter that takes them."""


def changed(config: _Config, given: Mapping[str, Any]) -> _Config:
    """`config` with the given values in place of its own; each dataclass is made anew, with its checks.

    Raises:
        ConfigurationError: a value is refused, or does not fit another.
    """
    values = {
        name: changed(getattr(config, name), value) if isinstance(value, Mapping) else value
        for name, value in given.items()
    }
    return replace(config, **values)  # type: ignore[type-var] - a dataclass


def require_values_of_data(given: Overrides, fitted: ModelConfig) -> None:
    """Refuse values that the data decide, unless they are those of the model that was `fitted` to them.

    Raises:
        ConfigurationError: naming the flag, the data's value and the given one.
    """
    model = given.get("model", {})
    for field in _OF_DATA:
        of_data = getattr(fitted, field)
        if model.get(field, of_data) != of_data:
            raise ConfigurationError(
                f"model.{field}: expected {of_data}, as many as the data have, got {model[field]}. Leave it out."
            )
    if "vocabulary" in model.get("language", {}):
        raise ConfigurationError(
            "model.language.vocabulary: expected none, since it is the words of the data's instructions, got "
            f"{model['language']['vocabulary']}. Leave it out."
        )
