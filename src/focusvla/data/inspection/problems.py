"""What is wrong with a data set, judged by what `inspection.py` measured: each finding with what to do about it.

An error keeps the data set from being trained on. A warning lets training run and a policy fail. A note is worth knowing.
"""

import math
from collections.abc import Iterator

from focusvla.data.inspection.data_set import Inspection
from focusvla.data.inspection.episodes import Jump
from focusvla.data.inspection.number_problems import (
    Problem,
    by_severity,
    find_range_problems,
    find_training_problems,
)

IDLE_SHARE = 0.05
WRAP_TOLERANCE = 0.15
"""An angle that wraps around moves meanwhile, so that the jump is not quite a full turn."""
STILL_SHARE = 0.5
"""Of an episode; a camera that shows the same for longer has frozen."""
MANY_DARK = 0.02
"""Share of black or uniform pictures that is worth a warning."""


def find_problems(inspection: Inspection) -> list[Problem]:
    """All problems, the gravest first."""
    return by_severity(
        [
            *_unusable(inspection),
            *find_training_problems(inspection),
            *find_range_problems(inspection),
            *_pictures(inspection),
            *_lags(inspection),
            *_episodes(inspection),
            *_jumps(inspection),
        ]
    )


def _unusable(inspection: Inspection) -> Iterator[Problem]:
    for error in (*inspection.training_errors, *inspection.picture_errors):
        finding, _, advice = error.removesuffix(".").rpartition(". ")
        yield Problem("error", finding or advice, f"{advice}." if finding else "")


def _pictures(inspection: Inspection) -> Iterator[Problem]:
    where = f"in episodes {', '.join(map(str, inspection.pictured_episodes))}"
    told = set()
    for camera in inspection.cameras:
        if not camera.num_pictures:
            continue
        name = f"camera {camera.camera}"
        if camera.black_share > MANY_DARK:
            yield Problem(
                "warning",
                f"{name}: {100 * camera.black_share:.0f} % of the pictures {where} are black",
                "Record it again, or leave the camera out of the spec: a policy learns to do without it.",
            )
        elif camera.uniform_share > MANY_DARK:
            yield Problem(
                "warning",
                f"{name}: {100 * camera.uniform_share:.0f} % of the pictures {where} are of one color",
                "The camera was covered or not connected. Record it again, or leave it out of the spec.",
            )
        elif camera.longest_still_share > STILL_SHARE:
            yield Problem(
                "warning",
                f"{name}: it shows the same for {100 * camera.longest_still_share:.0f} % of episode "
                f"{camera.longest_still_episode}",
                "The stream froze, or one picture was stored for all steps. Record these episodes again.",
            )
        if camera.same_as and camera.same_as not in told:
            told.add(camera.camera)
            yield Problem(
                "warning",
                f"{name}: all of its pictures {where} are those of {camera.same_as}",
                "One stream was stored under both names. Store the right one.",
            )


def _lags(inspection: Inspection) -> Iterator[Problem]:
    for lag in inspection.lags:
        measured = (
            f"correlation {lag.correlation:.2f} there, {lag.correlation_at_zero:.2f} at no lag, over {lag.episodes} "
            "episodes"
        )
        if lag.name == "action":
            if lag.steps < 0:  # an arm follows its command, sooner or later
                yield Problem(
                    "warning",
                    f"states move {-lag.steps} step(s) before the actions that move them ({measured})",
                    "A row should hold what was seen when its action was chosen. Check whether the recorder stored "
                    "what was seen after it.",
                )
        elif lag.steps:
            when = "after" if lag.steps > 0 else "before"
            yield Problem(
                "warning",
                f"camera {lag.name}: its pictures show a motion {abs(lag.steps)} step(s) {when} the states have it "
                f"({measured})",
                "Look at the page's pictures of the closing gripper. If the frames are shifted, record or convert them "
                "again; if the camera is slow, the policy's must be as slow.",
            )


def _episodes(inspection: Inspection) -> Iterator[Problem]:
    for text, count in inspection.instructions:
        if not text.strip():
            yield Problem("warning", f"{count} episode(s) have no instruction", "Name the task of each.")
    too_short = inspection.lengths.too_short
    if too_short:
        yield Problem(
            "warning",
            f"{len(too_short)} of {inspection.num_episodes} episodes are shorter than a chunk of "
            f"{inspection.chunk_length} steps: {_some(too_short)}",
            "Remove them if they were broken off, or train with a smaller --chunk-length.",
        )
    if inspection.duplicates:
        copies = sum(len(group) - 1 for group in inspection.duplicates)
        shown = "; ".join(_some(group) for group in inspection.duplicates[:3])
        yield Problem(
            "warning",
            f"{copies} episode(s) have the same actions as another one: {shown}",
            "Remove the copies: they weigh twice, and validation may hold what was trained on.",
        )
    idle = inspection.idle
    if idle.share > IDLE_SHARE:
        waits = inspection.spec.commands_joints
        yield Problem(
            "note" if waits else "warning",
            f"{100 * idle.share:.0f} % of the steps do nothing, {idle.leading:.1f} at the beginning and "
            f"{idle.trailing:.1f} at the end of an episode in the mean",
            "A policy learns to stand still from them. "
            + (
                "Cut waiting at either end." if waits else "Drop such steps, as the published LIBERO sets do."
            ),
        )


def _jumps(inspection: Inspection) -> Iterator[Problem]:
    if not inspection.jumps:
        return
    wrapped = [jump for jump in inspection.jumps if _is_wrapped(jump)]
    shown = ", ".join(
        f"episode {jump.episode} after step {jump.step} ({jump.dimension} by {jump.size:.3g}, {jump.ratio:.0f} times "
        "the steps around it)"
        for jump in (wrapped or inspection.jumps)[:3]
    )
    if wrapped:
        yield Problem(
            "warning",
            f"state: an angle wraps around, at {shown}",
            "Two numbers for one pose confuse a policy: unwrap it in the recording and in the environment alike.",
        )
    else:
        yield Problem(
            "warning",
            f"state: {inspection.num_jumps} jump(s), the greatest at {shown}",
            "Several episodes may have been stored as one, or steps are missing. Split or remove these episodes.",
        )


def _is_wrapped(jump: Jump) -> bool:
    return abs(jump.size - 2 * math.pi) < WRAP_TOLERANCE * 2 * math.pi


def _some(numbers: tuple[int, ...], shown: int = 8) -> str:
    """The first few: 1, 2, 3 and 9 more."""
    text = ", ".join(map(str, numbers[:shown]))
    return text if len(numbers) <= shown else f"{text} and {len(numbers) - shown} more"
