"""All suites that are known here: the package's own, and those that other installed packages bring.

A package brings its suites by an entry point of the group `focusvla.suites`, which names a sequence of `Suite`:

    [project.entry-points."focusvla.suites"]
    reach = "reach.suite:SUITES"
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from focusvla.errors import ConfigurationError, require_known
from focusvla.suites import aloha, libero, metaworld, robotwin
from focusvla.suites.protocol import Protocol, named_after
from focusvla.suites.suite import Conventions, Suite

ENTRY_POINTS = "focusvla.suites"
"""The group of entry points by which a package brings suites."""


@cache
def suites() -> Mapping[str, Suite]:
    """Every suite by its name, in the order of tables.

    Raises:
        ConfigurationError: another package's entry point cannot be loaded, is something else, brings a suite that no
            protocol plays, or takes a name that is taken; the package is named.
    """
    found = {
        suite.name: suite for suite in (*libero.SUITES, *aloha.SUITES, *metaworld.SUITES, *robotwin.SUITES)
    }
    taken = {each.name for suite in found.values() for each in suite.protocols}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        rows = _load(point)
        for suite in rows:
            if suite.name in found:
                raise _broken(point, f"brings a suite {suite.name!r}, which there is already")
            if suite.environment and not suite.protocols:
                raise _broken(point, f"brings a suite {suite.name!r} with an environment and no protocol")
            found[suite.name] = suite
        brought = {each.name for suite in rows for each in suite.protocols}
        if brought & taken:  # scores of other rules under a known name
            raise _broken(point, f"brings a protocol {min(brought & taken)!r}, which there is already")
        taken |= brought
    return MappingProxyType(found)


def _load(point: EntryPoint) -> Sequence[Suite]:
    try:
        rows = tuple(point.load())
    except Exception as error:  # whatever another package's import raises
        raise _broken(point, f"cannot be loaded: {error!r}") from error
    if not all(isinstance(row, Suite) for row in rows):
        raise _broken(point, "is no sequence of focusvla.suites.Suite")
    return rows


def _broken(point: EntryPoint, fault: str) -> ConfigurationError:
    package = point.dist.name if point.dist else point.value
    return ConfigurationError(
        f"suites: {point.value} of the installed package {package!r} {fault}. Mend or uninstall that package."
    )


def suite_of(name: str) -> Suite:
    """The suite of that name or, of a variant's name, the suite that it was made from.

    Raises:
        ConfigurationError: an unknown suite; the nearest names are given.
    """
    clean = clean_suite(name)
    require_known("suite", clean, suites())
    return suites()[clean]


def playable_suite(name: str) -> Suite:
    """`suite_of` a suite whose episodes are played here.

    Raises:
        ConfigurationError: it is unknown, or played in its simulator's own Python.
    """
    suite = suite_of(name)
    if not suite.environment:
        raise ConfigurationError(
            f"suite={name!r}: its episodes are played in its simulator's own Python, not here. See integrations/{name}."
        )
    return suite


def clean_suite(name: str) -> str:
    """The suite that a variant was made from: `libero_goal_with_mug` is from `libero_goal`. Any other name is its own."""
    return named_after(name, suites())


def task_in_variant(variant: str, task: int) -> int:
    """The number in a variant of what is task `task` in the suite it was made from."""
    order = _order(variant)
    return order[task] if order else task


def clean_task(suite: str, task: int) -> int:
    """The number, in the suite that `suite` was made from, of its task `task`: `task_in_variant` undone."""
    order = _order(suite)
    return order.index(task) if order else task


def _order(name: str) -> Sequence[int]:
    clean = suites().get(clean_suite(name))
    variant = clean and clean.variants.get(name.removeprefix(clean.name))
    return variant.order if variant else ()


@cache
def conventions() -> Mapping[str, Conventions]:
    """Named conventions of all suites, by name."""
    return MappingProxyType(
        dict(sorted((suite.conventions.name, suite.conventions) for suite in suites().values()))
    )


@cache
def protocols() -> Mapping[str, Protocol]:
    """Every protocol in its newest revision, by name."""
    newest: dict[str, Protocol] = {}
    for each in _all_protocols():
        if each.name not in newest or newest[each.name].revision < each.revision:
            newest[each.name] = each
    return MappingProxyType(newest)


def _all_protocols() -> Iterable[Protocol]:
    return (each for suite in suites().values() for each in suite.protocols)


def protocol(name: str, revision: int | None = None) -> Protocol:
    """The protocol of that name; an earlier revision to show results of before as they were.

    Raises:
        ConfigurationError: there is none; the nearest names are given, or that the revision is of another version.
    """
    require_known("protocol", name, protocols())
    newest = protocols()[name]
    if revision is None:
        return newest
    found = next((each for each in _all_protocols() if (each.name, each.revision) == (name, revision)), None)
    if found is None:
        raise ConfigurationError(
            f"protocol_revision={revision}: expected at most {newest.revision}, which this version of focusvla knows of "
            f"{name}. Use the version that made these results."
        )
    return found


def protocol_of(suites_played: Sequence[str], name: str = "") -> Protocol:
    """The protocol of that name, which covers all suites; without a name, the one that is usual for them.

    Raises:
        ConfigurationError: an unknown protocol, a suite that it does not cover or that cannot be played here, or suites
            whose usual protocols differ.
    """
    usual = {suite: playable_suite(suite).protocols[0].name for suite in suites_played}
    if not name and len(set(usual.values())) > 1:
        raise ConfigurationError(
            f"protocol: expected one for all suites, got {', '.join(f'{p} for {s}' for s, p in usual.items())}. "
            "Evaluate them one after the other, or name one that covers all."
        )
    rules = protocol(name or next(iter(usual.values()), libero.PROTOCOLS[0].name))
    for suite in suites_played:
        rules.max_steps_of(suite)
    return rules
