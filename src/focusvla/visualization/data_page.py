"""One self-contained page about a data set: what is wrong with it, and what a model sees of it."""

from collections.abc import Sequence
from pathlib import Path

from focusvla.data.inspection.data_set import Inspection
from focusvla.data.inspection.number_problems import Problem
from focusvla.versions import versions
from focusvla.visualization.episode_strips import EpisodeStrip, StripPictures
from focusvla.visualization.model_view import ModelView
from focusvla.visualization.page import require_file, write_page
from focusvla.visualization.spec_words import describe_spec


def write_data_page(
    output: Path,
    *,
    title: str,
    inspection: Inspection,
    view: ModelView,
    problems: Sequence[Problem],
    strips: Sequence[tuple[EpisodeStrip, StripPictures]] = (),
) -> Path:
    """Write the page `output` and return it.

    Raises:
        StorageError: `output` is a folder or cannot be written.
    """
    require_file(output)
    return write_page(
        output,
        "data_page.html.jinja",
        styles=("report.css", "data_page.css"),
        title=title,
        inspection=inspection,
        view=view,
        problems=problems,
        strips=strips,
        conventions=describe_spec(inspection.spec, inspection.steps_per_picture),
        written_with=versions(),
    )
