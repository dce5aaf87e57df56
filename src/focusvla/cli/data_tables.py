"""What an inspection found, for a terminal: it fits a screen for a usual data set."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from focusvla.data.inspection.data_set import Inspection
from focusvla.data.inspection.problems import Problem
from focusvla.data.inspection.vectors import Dimension
from focusvla.visualization.model_view import ModelView
from focusvla.visualization.spec_words import describe_spec

_COLORS = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_BLOCKS = "▁▂▃▄▅▆▇█"
_SHOWN_INSTRUCTIONS = 4


def inspection_tables(
    inspection: Inspection, view: ModelView, problems: Sequence[Problem]
) -> Iterator[RenderableType]:
    """Problems first, then what they were found in."""
    minutes = inspection.seconds / 60
    yield Text(
        f"{inspection.num_episodes} episodes, {inspection.num_steps:,} steps, {minutes:.1f} minutes", "bold"
    )
    yield (
        Text("No problems found.", "green") if not problems else Text(f"{len(problems)} problem(s):", "bold")
    )
    for problem in problems:
        line = Text(f"{problem.severity}: ", _COLORS[problem.severity])
        yield line.append(problem.finding + ". ", "default").append(problem.advice, "dim")
    facts = Table.grid(padding=(0, 2))
    for name, words in describe_spec(inspection.spec, inspection.steps_per_picture):
        facts.add_row(name, words)
    facts.add_row("instructions", _instructions(inspection))
    facts.add_row("episodes", _episodes(inspection))
    for each in inspection.action:
        if each.switches:
            facts.add_row(
                "switch",
                f"{each.name} at {each.switches[0]:g}: the sign decides, {100 * each.on_switches_share:.1f} % of the "
                "values lie on it",
            )
    if inspection.lags:
        facts.add_row("lags", ", ".join(f"{lag.name} {lag.steps:+d} steps" for lag in inspection.lags))
    facts.add_row("seen", Text(describe_view(view)))
    yield facts
    table = Table(
        "", "min", "q01", "median", "q99", "max", "mean", "std", "outside", "values", box=None, padding=(0, 1)
    )
    for column in table.columns[1:9]:
        column.justify = "right"
    for vector, dimensions in (("state", inspection.state), ("action", inspection.action)):
        for each in dimensions:
            numbers = (each.minimum, each.q01, each.median, each.q99, each.maximum, each.mean, each.std)
            table.add_row(
                f"{vector} {each.name}",
                *(f"{value:.3g}" for value in numbers),
                _outside(each),
                sparkline(each.histogram),
            )
    yield table


def describe_view(view: ModelView) -> str:
    """Whether training and evaluation show a model the same, in a sentence."""
    if view.absent:
        return view.absent
    difference = view.picture_difference or 0.0
    same = "the same pictures in training and evaluation" if difference == 0 else "different pictures"
    expected = f"by the policy's own steps, {view.picture_steps}" if view.picture_steps else "should be 0"
    num_pictures = sum(len(moment.cameras) for moment in view.moments)
    return (
        f"{same}: mean absolute difference {difference:.2f} of 255 ({expected}) over {num_pictures} pictures of "
        f"{view.image_size} pixels"
    )


def sparkline(counts: Sequence[int], width: int = 12) -> str:
    """A histogram as a row of blocks: [1, 0, 4] is ▃ ▇ with a gap, and the highest is █.

    >>> sparkline([1, 0, 4], 3)
    '▂ █'
    """
    groups = [
        sum(counts[index * len(counts) // width : (index + 1) * len(counts) // width])
        for index in range(width)
    ]
    highest = max(groups) or 1
    return "".join(_BLOCKS[max(0, round(8 * group / highest) - 1)] if group else " " for group in groups)


def _outside(dimension: Dimension) -> str:
    if not dimension.is_normalized:
        return "as it is"
    return "no statistics" if dimension.outside_share is None else f"{100 * dimension.outside_share:.1f} %"


def _instructions(inspection: Inspection) -> Text:
    shown = inspection.instructions[:_SHOWN_INSTRUCTIONS]
    text = Text("\n".join(f"{count:4d}  {instruction}" for instruction, count in shown))
    if more := len(inspection.instructions) - len(shown):
        text.append(f"\n      and {more} more")
    return text


def _episodes(inspection: Inspection) -> str:
    lengths = inspection.lengths
    return (
        f"{lengths.shortest} (episode {lengths.shortest_episode}) to {lengths.longest} (episode "
        f"{lengths.longest_episode}) steps, median {lengths.median:g}; {100 * inspection.idle.share:.1f} % of the "
        "steps do nothing"
    )
