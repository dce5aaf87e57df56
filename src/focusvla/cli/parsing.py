"""Command lines as calls: parameters become flags, fields of a configuration too.

What does not fit is one message, like all other errors.
"""

import contextlib
import functools
import inspect
import io
import re
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import is_dataclass, replace
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import MISSING, ConstructorRegistry, StructConstructorSpec, StructTypeInfo

from focusvla.cli.overrides import CONFIGURATIONS, OverrideFlags, flags_of
from focusvla.config import ExperimentConfig
from focusvla.errors import ConfigurationError

MARKERS = (tyro.conf.DisallowNone, tyro.conf.PositionalMetavarFromFieldName)
"""How parameters become flags, in every command."""


def parse(name: str, command: Callable[..., None], values: Sequence[str]) -> Callable[[], None]:
    """The call of `command` that `values` ask for, not made yet.

    Raises:
        ConfigurationError: a flag is unknown or missing, or a value is none of its type; near names are given.
    """
    with said_by_tyro() as said, contextlib.suppress(SystemExit):
        return tyro.cli(
            deferred(command),
            prog=f"focusvla {name}",
            args=values,
            config=MARKERS,
            registry=FieldReader().registry,
        )
    raise ConfigurationError(_without_frame(said()))


@contextlib.contextmanager
def said_by_tyro() -> Generator[Callable[[], str]]:
    """Hold back what the block prints, without colors, until it is asked for."""
    buffer = io.TextIOWrapper(io.BytesIO(), "utf-8")

    def read() -> str:
        buffer.seek(0)
        return buffer.read()

    with contextlib.redirect_stdout(buffer), contextlib.redirect_stderr(buffer):
        yield read


def deferred(
    command: Callable[..., None], shown: ExperimentConfig | None = None
) -> Callable[..., Callable[[], None]]:
    """`command` with the same parameters, to be called by calling what this returns; each one's text is one line. Where
    they override a preset's values, the defaults are those of `shown`."""

    def bind(*positional: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(command, *positional, **named)

    bind = inspect.unwrap(bind)  # the shape checks of tests wrap it, and tyro would read the types within
    signature = inspect.signature(command)
    bind.__doc__ = re.sub(r"\n {8,}(?=\S)", " ", inspect.getdoc(command) or "")
    if shown is not None:
        flags = Annotated[flags_of(ExperimentConfig, shown), tyro.conf.arg(name="")]
        signature = signature.replace(
            parameters=[
                each.replace(annotation=flags) if each.annotation == OverrideFlags else each
                for each in signature.parameters.values()
            ]
        )
    bind.__annotations__ = {
        parameter.name: _without_empty_default(parameter.annotation, parameter.default)
        for parameter in signature.parameters.values()
    }
    vars(bind)["__signature__"] = signature
    return bind


class FieldReader:
    """Reads a configuration's fields as tyro does, the text of each as one line, and leaves some out."""

    def __init__(self, left_out: Collection[str] = ()):
        self.registry = ConstructorRegistry()
        """What makes tyro read so."""
        self.found: dict[tuple[type, str], int] = {}
        """Of those of `left_out` that there are, by type and name, how many flags they would be."""
        self._left_out = frozenset(left_out)
        self._hidden: set[type] = set()
        self._is_asking = False
        self.registry.struct_rule(self._read)

    def _read(self, info: StructTypeInfo) -> StructConstructorSpec | None:
        if self._is_asking or not (is_dataclass(info.type) or info.type in CONFIGURATIONS):
            return None
        spec = self._by_tyro(info)
        if spec is None:
            return None
        described = spec
        if info.type in CONFIGURATIONS:  # whose texts are the dataclass's
            described = self._by_tyro(replace(info, type=CONFIGURATIONS[info.type], default=MISSING)) or spec
        fields = []
        for field, source in zip(spec.fields, described.fields, strict=True):
            kind: Any = _without_empty_default(field.type, field.default)
            plain = get_args(field.type)[0] if get_origin(field.type) is Annotated else field.type
            if field.name in self._left_out or info.type in self._hidden:
                self._hidden.add(plain)
                if info.type not in self._hidden:
                    self.found[info.type, field.name] = _num_flags(plain)
                kind = tyro.conf.Suppress[kind]
            text = source.helptext() if callable(source.helptext) else source.helptext
            fields.append(replace(field, type=kind, helptext=" ".join((text or "").split()) or None))
        return replace(spec, fields=tuple(fields))

    def _by_tyro(self, info: StructTypeInfo) -> StructConstructorSpec | None:
        """What tyro's own rules, below this one, make of a type."""
        self._is_asking = True
        spec = ConstructorRegistry.get_struct_spec(info)
        self._is_asking = False
        return spec if isinstance(spec, StructConstructorSpec) else None


def _num_flags(kind: Any) -> int:
    """Of a field of that type: one, or those of its fields."""
    if not (is_dataclass(kind) or kind in CONFIGURATIONS):
        return 1
    return sum(map(_num_flags, get_type_hints(kind).values()))


def _without_empty_default(kind: Any, default: object) -> Any:
    """Help does not say that nothing is the default."""
    return Annotated[kind, tyro.conf.arg(help_behavior_hint="")] if default in (None, ()) else kind


def _without_frame(text: str) -> str:
    """The lines within tyro's box; all lines if it has none."""
    lines = re.findall(r"^│ (.*?) *│$", text, re.MULTILINE) or text.splitlines()
    return "\n".join(line for line in lines if line.strip("─ "))
