"""What every configuration needs: refusing a value, and being read back."""

from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from focusvla.errors import ConfigurationError, require_known

_Config = TypeVar("_Config")


def config_from_dict(kind: type[_Config], values: dict[str, Any]) -> _Config:
    """A configuration from the dictionary that `dataclasses.asdict` made of one; a list becomes a tuple.

    Raises:
        TypeError: an unknown field, or one is missing.
        ConfigurationError: a value that is none of a field's choices, or that the configuration refuses.
    """
    types = get_type_hints(kind)
    for name, value in values.items():
        if get_origin(types.get(name)) is Literal:
            require_known(name, value, get_args(types[name]))
    return kind(
        **{
            name: config_from_dict(types[name], value)
            if is_dataclass(types.get(name))
            else tuple(value)
            if isinstance(value, list)
            else value
            for name, value in values.items()
        }
    )


def require(condition: bool, field: str, expected: str, got: object) -> None:
    """
    Raises:
        ConfigurationError: the condition does not hold.
    """
    if not condition:
        raise ConfigurationError(f"{field}: expected {expected}, got {got!r}.")
