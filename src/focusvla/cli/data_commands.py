"""Commands that look at a data set or make another one of it."""

from dataclasses import asdict
from pathlib import Path

import tyro

from focusvla.cli.output import AsJson, say, say_json
from focusvla.cli.progress import bar
from focusvla.errors import DataError


def inspect(
    data: tyro.conf.Positional[str],
    spec: str | None = None,
    checkpoint: Path | None = None,
    statistics: str | None = None,
    preset: str = "mini",
    chunk_length: int | None = None,
    output: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Look for what makes policies fail: statistics, grippers, pictures, episodes.

    Example: focusvla inspect data/object --checkpoint runs/mini --output page.html

    Problems come first, each with what to do. Exit code 2 means that the data set cannot be trained on. With --json: the
    fields of `Inspection`, "problems": [{"severity", "finding", "advice"}], "remarks", "moments" of some episodes,
    "picture_difference", "state_difference" and "versions": everything that another person needs to judge it.

    Args:
        data: The data set.
        spec: What its numbers mean, a JSON file or a known name; its own if not given.
        checkpoint: Compare with this one's conventions and statistics, and show pictures as its policy sees them.
        statistics: Of a checkpoint that was trained on a mixture: the part to compare with.
        preset: Without a checkpoint: whose picture size, augmentation and chunk length to take.
        chunk_length: Actions that a policy predicts at once; the checkpoint's or the preset's if not given.
        output: An HTML page with pictures of what a model sees in training and in evaluation, side by side, and of the
            closing gripper beside what the numbers say.
    """
    from focusvla.cli.data_tables import inspection_tables
    from focusvla.data.formats.opening import open_source, read_spec, remarks
    from focusvla.data.inspection.data_set import inspect_source
    from focusvla.data.inspection.problems import by_severity, find_problems
    from focusvla.policy import load_policy
    from focusvla.presets import fitted
    from focusvla.presets import preset as find_preset
    from focusvla.versions import versions
    from focusvla.visualization.data_page import write_data_page
    from focusvla.visualization.episode_strips import choose_strips, strip_pictures
    from focusvla.visualization.model_view import ModelView, find_view_problems, view_data

    experiment = find_preset(preset)
    source = open_source(data, spec=read_spec(spec) if spec else None)
    policy = load_policy(checkpoint, statistics=statistics) if checkpoint else None
    experiment = policy.experiment if policy else fitted(experiment, source.spec)
    with bar("inspection") as shown:
        found = inspect_source(
            source,
            chunk_length=chunk_length or experiment.model.chunk_length,
            validation_share=experiment.training.validation_share,
            on_progress=lambda done, total: shown.update(done, total),
        )
    if found.picture_errors:
        view = ModelView(experiment, absent="The pictures cannot be read: see the problems.")
    else:
        view = view_data(
            source,
            experiment,
            policy,
            episodes=found.pictured_episodes,
            statistics=found.training_statistics,
        )
    problems = by_severity([*find_problems(found), *find_view_problems(view)])
    strips = choose_strips(source, found.pictured_episodes)
    if output:
        shown_strips = (
            () if found.picture_errors else [(strip, strip_pictures(source, strip)) for strip in strips]
        )
        write_data_page(
            output,
            title=f"Data set {data}",
            inspection=found,
            view=view,
            problems=problems,
            strips=shown_strips,
        )
    if as_json:
        numbers = asdict(found) | {
            "seconds": found.seconds,
            "problems": [asdict(problem) for problem in problems],
            "picture_difference": view.picture_difference,
            "state_difference": view.state_difference,
            "moments": [asdict(strip) for strip in strips],
            "remarks": remarks(source),
            "data": data,
            "versions": versions(),
        }
        say_json(numbers)
    else:
        for table in inspection_tables(found, view, problems):
            say(table)
        for remark in remarks(source):
            say(remark)
        if output:
            say(f"page: {output}")
    errors = [problem.finding for problem in problems if problem.severity == "error"]
    if errors:
        raise DataError(f"data={data}: it cannot be trained on. {'; '.join(errors)}.")


def convert(
    data: tyro.conf.Positional[str], output: Path, spec: str | None = None, skip_damaged: bool = False
) -> None:
    """Convert a data set to LeRobot v3.0.

    Example: focusvla convert data/raw --spec libero --output data/object

    Numbers, instructions, conventions and metadata are kept; pictures are encoded as H.264. Interrupted, the same command
    goes on where it stopped.

    Args:
        data: The data set.
        output: Folder of the converted one, which must not exist yet.
        spec: What its numbers mean, a JSON file or a known name; its own if not given.
        skip_damaged: Leave out damaged episodes and say which, instead of stopping at the first.
    """
    from focusvla.data.conversion import convert as run
    from focusvla.data.formats.opening import open_source, read_spec

    source = open_source(data, spec=read_spec(spec) if spec else None, skip_damaged=skip_damaged)
    with bar("conversion") as shown:
        result = run(
            source,
            output,
            skip_damaged=skip_damaged,
            on_progress=lambda done, total: shown.update(done, total),
        )
    for sentence in result.skipped:
        say(f"left out: {sentence}")
    say(f"{result.num_episodes} episodes in {output}")
