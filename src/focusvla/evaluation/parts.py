"""Which part of its mixture a policy is played as in each suite.

The parts of a mixture have ranges of their own: with another's, a policy moves the robot wrongly and nothing fails.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from focusvla.errors import ConfigurationError, require_known
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.suites import clean_suite, suite_of, suites

_PUBLISHED_ENDING = r"(_no_noops(_[\d.]+(_lerobot)?)?)?"
"""Of a suite's data set: OpenVLA's RLDS sets, and theirs as LeRobot's."""


def identity_in_suite(identity: PolicyIdentity, parts: Mapping[str, str], suite: str) -> PolicyIdentity:
    """`identity` with the part that is played in `suite`, if there is one: equal whether suites are evaluated together or
    each alone."""
    return replace(identity, part=parts.get(clean_suite(suite), ""))


def choose_parts(names: Collection[str], suites: Sequence[str], given: Sequence[str] = ()) -> dict[str, str]:
    """The part of each suite by its name; none where there is but one set of statistics.

    A suite and its variants of LIBERO-PRO share one, under the suite's name. It is what `given` says, as SUITE=PART or,
    where one suite is played, PART; else the one part that bears the suite's name or its published data set's:

        names                                  suites                       chosen
        libero_goal, libero_10_no_noops        libero_goal_swap, libero_10  libero_goal: libero_goal,
                                                                            libero_10: libero_10_no_noops
        libero_goal_no_noops/1.0.0, kitchen    libero_goal                  libero_goal: libero_goal_no_noops/1.0.0

    Raises:
        ConfigurationError: an unknown suite or part, one that is not played, or a suite that no part or several fit; the
            names are given, and what to say.
    """
    if len(names) < 2:
        return _require_only_set(names, suites, given)
    played: dict[str, list[str]] = {}
    for suite in suites:
        suite_of(suite)
        played.setdefault(clean_suite(suite), []).append(suite)
    fitting = {suite: _fitting(names, suite, variants) for suite, variants in played.items()}
    chosen = _given_parts(names, played, fitting, given)
    unclear = [suite for suite, found in fitting.items() if suite not in chosen and len(found) != 1]
    if unclear:
        found = "; ".join(
            f"for {suite} {' and '.join(map(repr, fitting[suite])) or 'none'}" for suite in unclear
        )
        raise ConfigurationError(
            f"statistics: expected one part that bears each suite's name, got {found} of {_listed(names)}. Say which is "
            f"the robot there: --statistics {' '.join(f'{suite}=PART' for suite in unclear)}"
        )
    return {suite: chosen.get(suite) or found[0] for suite, found in fitting.items()}


def named_suites(part: str) -> list[str]:
    """The suites whose name, or published data set's name, a part of a mixture bears."""
    return [suite for suite in suites() if _fitting([part], suite, ())]


def _require_only_set(names: Collection[str], suites: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    wrong = [text for text in given if not any(names) or _split(names, text)[1] not in names]
    if wrong:
        there = f"the one part {_listed(names)}" if any(names) else "one set of statistics"
        raise ConfigurationError(
            f"statistics: expected none of a policy with {there}, got {_listed(wrong)}. Leave it out."
        )
    own = [suite for name in names for suite in named_suites(name)]
    others = [suite for suite in suites if own and clean_suite(suite) not in own]
    if others and not given:
        raise ConfigurationError(
            f"suites: expected {' or '.join(own)}, since the policy was trained on {_listed(names)} alone, got "
            f"{', '.join(others)}, where its numbers may be another robot's. Play that, or insist with --statistics "
            f"{next(iter(names))}."
        )
    return {}


def _given_parts(
    names: Collection[str],
    played: Mapping[str, Sequence[str]],
    fitting: Mapping[str, Sequence[str]],
    given: Sequence[str],
) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for text in given:
        suite, part = _split(names, text)
        require_known("statistics", part, names)
        if not suite and len(played) > 1:
            leave_out = all(len(found) == 1 for found in fitting.values())
            mapping = " ".join(
                f"{each}={found[0] if len(found) == 1 else 'PART'}" for each, found in fitting.items()
            )
            raise ConfigurationError(
                f"statistics: expected SUITE=PART where several suites are played, got {part!r}, whose numbers are one "
                f"robot's, for {', '.join(played)}. Of {_listed(names)}: --statistics {mapping}"
                + (", or none for the parts that bear the suites' names." if leave_out else "")
            )
        suite = suite or next(iter(played))
        clean = clean_suite(suite)
        if suite not in (clean, *played.get(clean, ())) or clean not in played:
            suites = [each for variants in played.values() for each in variants]
            raise ConfigurationError(
                f"statistics: expected suites that are played ({', '.join(suites)}), got {suite!r} in {text!r}. Leave it "
                "out, or play it."
            )
        if chosen.setdefault(clean, part) != part:
            raise ConfigurationError(
                f"statistics: expected one part for {clean}, got {chosen[clean]!r} and {part!r}. Name one."
            )
    return chosen


def _split(names: Collection[str], text: str) -> tuple[str, str]:
    """The suite, empty if none is given, and the part in SUITE=PART or PART, whose name may have a `=`."""
    suite, equals, part = text.partition("=")
    return (suite, part) if equals and text not in names else ("", text)


def _fitting(names: Collection[str], suite: str, variants: Sequence[str]) -> list[str]:
    """The parts that bear the suite's name in a folder of theirs or, if there are none, a variant's."""
    for wanted in filter(None, ((suite,), variants)):
        pattern = re.compile(f"({'|'.join(map(re.escape, wanted))}){_PUBLISHED_ENDING}")
        found = [name for name in names if any(map(pattern.fullmatch, name.split("/")))]
        if found:
            return found
    return []


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, names))
