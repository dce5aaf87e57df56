"""One self-contained page about training runs and evaluations.

It carries its pictures and videos inside and needs no network. It shows what the folders hold and leaves out, with a
sentence, what they do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from focusvla.checkpoint import open_checkpoint
from focusvla.config import AS_STORED
from focusvla.evaluation.parts import choose_parts
from focusvla.policy import FocusVLAPolicy, load_policy
from focusvla.suites import clean_suite
from focusvla.versions import versions
from focusvla.visualization.episode_browser import browser_contents
from focusvla.visualization.episode_records import Progress, choose_episodes, drawn_episodes, read_records
from focusvla.visualization.focus_pictures import FocusEpisode, draw_focus, has_observations
from focusvla.visualization.page import require_file, write_page
from focusvla.visualization.report_contents import (
    Demonstrations,
    Evaluation,
    EvaluationContents,
    RunContents,
    TrainingRun,
    distinct_versions,
    read_demonstrations,
    read_evaluation,
    read_run,
    require_unique_names,
    success_chart,
    task_rows,
    training_chart,
    verdict,
)
from focusvla.visualization.rerun_recording import load_rerun, write_recording

__all__ = ["Evaluation", "TrainingRun", "write_report"]


@dataclass(frozen=True, kw_only=True)
class Focus:
    """The page's focus pictures, or why there are none."""

    absent: str = ""
    """A sentence in place of pictures; empty if there are some."""
    source: str = ""
    """The evaluation whose observations they show."""
    is_own: bool = False
    """Whether that evaluation was of this checkpoint."""
    checkpoint: Path | None = None
    num_kept: int = 0
    num_patches: int = 0
    episodes: tuple[FocusEpisode, ...] = ()


def write_report(
    output: Path,
    *,
    title: str,
    runs: Sequence[TrainingRun] = (),
    evaluations: Sequence[Evaluation] = (),
    demonstrations: Path | None = None,
    checkpoint: Path | None = None,
    max_episodes: int = 12,
    recording: Path | None = None,
    device: str = "auto",
    on_progress: Progress = lambda done, total: None,
) -> Path:
    """Write the page `output` and return it. Focus pictures are those of `checkpoint`, if it is given and sees; the
    `max_episodes` in the browser each show their own policy's, which answers anew on `device`. If `recording` is given,
    these episodes are written there as well, for the Rerun viewer.

    Raises:
        DataError: a folder does not hold what it should, or it is damaged.
        CheckpointError: `checkpoint` cannot be loaded.
        ConfigurationError: two runs or evaluations have the same name, or observations do not fit the checkpoint.
        MissingDependencyError: rerun is not installed.
        StorageError: `output` or `recording` is a folder or cannot be written.
    """
    require_file(output)
    if recording is not None:
        require_file(recording, "rerun", "episodes.rrd")
        load_rerun()
    require_unique_names(runs, evaluations)
    found = [read_evaluation(evaluation) for evaluation in evaluations]
    trained = [read_run(run) for run in runs]
    recorded = read_demonstrations(demonstrations) if demonstrations else None
    drawn = drawn_episodes(found)
    records = read_records(choose_episodes(drawn, max_episodes), device, on_progress)
    if recording is not None:
        write_recording(recording, records)
    return write_page(
        output,
        "report.html.jinja",
        styles=("report.css", "episode_browser.css"),
        scripts=("elements.js", "episode_screen.js", "episode_curves.js", "episode_browser.js"),
        title=title,
        evaluations=found,
        rows=task_rows(found),
        verdict=verdict(found),
        runs=trained,
        chart=training_chart(trained),
        success_chart=success_chart(trained),
        browser=browser_contents(records, len(drawn)),
        focus=_draw_focus(checkpoint, found, max_episodes, device),
        demonstrations=recorded,
        data_set=demonstrations,
        versions=distinct_versions(trained, found),
        written_with=versions(),
        commands=_commands(trained, found, recorded),
    )


def _draw_focus(
    checkpoint: Path | None, evaluations: Sequence[EvaluationContents], max_episodes: int, device: str
) -> Focus:
    if checkpoint is None:
        return Focus(absent="No checkpoint was given to draw them with.")
    if max_episodes == 0:
        return Focus(absent="No episode was asked for.")
    opened = open_checkpoint(checkpoint)
    if opened.experiment.model.vision.encoder == "none":
        return Focus(absent="The checkpoint is vision-blind: it attends to no patches.")
    observed = [contents for contents in evaluations if has_observations(contents)]
    if not observed:
        return Focus(absent="No evaluation here saved what its policy saw.")
    digest, statistics = opened.digest, opened.statistics
    own = [contents for contents in observed if contents.episodes[0].policy.weights == digest]
    source = (own or observed)[0]
    if own:  # of a mixture, as it was evaluated
        parts = {clean_suite(episode.suite): episode.policy.part for episode in source.episodes}
    else:
        parts = choose_parts(statistics.parts, list(dict.fromkeys(each.suite for each in source.episodes)))
    given = source.episodes[0].policy.given_pictures if own else AS_STORED
    policy = load_policy(opened.folder, device, next(iter(parts.values()), None) or None, given)

    def policy_in(suite: str) -> FocusVLAPolicy:
        return policy.with_statistics(statistics.choose(parts.get(clean_suite(suite)) or None))

    model = policy.experiment.model
    return Focus(
        source=source.name,
        is_own=bool(own),
        checkpoint=opened.folder,
        num_kept=model.policy_head.num_kept_patches,
        num_patches=model.num_patches,
        episodes=tuple(draw_focus(policy_in, source, max_episodes)),
    )


def _commands(
    runs: Sequence[RunContents], evaluations: Sequence[EvaluationContents], recorded: Demonstrations | None
) -> list[str]:
    """In the order in which they are to be run; training only where its command is known."""
    commands = [recorded.command if recorded else "", *(contents.run.command for contents in runs)]
    return [command for command in [*commands, *(contents.command for contents in evaluations)] if command]
