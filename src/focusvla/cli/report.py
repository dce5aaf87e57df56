"""The page of a training and its evaluations."""

from pathlib import Path

from focusvla.cli.named_folders import split_name
from focusvla.cli.output import say, say_device
from focusvla.cli.progress import bar
from focusvla.errors import ConfigurationError


def report(
    output: Path,
    run: tuple[Path, ...] = (),
    results: tuple[str, ...] = (),
    data: Path | None = None,
    checkpoint: Path | None = None,
    title: str = "FocusVLA report",
    episodes: int = 12,
    rerun: Path | None = None,
    device: str = "auto",
) -> None:
    """Write one self-contained HTML page: results, learning curves, episodes to browse.

    Example: focusvla report --output report.html --run runs/mini --results results/wide

    Args:
        output: The page.
        run: Folders of training runs.
        results: Folders of evaluations, each as FOLDER or, where policies would be named alike, as NAME=FOLDER.
        data: The data set they were trained on.
        checkpoint: Whose focus pictures are shown: a checkpoint, a run or an installed one's name; not given, the first
            of `run` that sees.
        title: Heading of the page.
        episodes: How many to browse at most, those first in which one policy failed and another did not.
        rerun: Where to write these episodes as a recording for the Rerun viewer, a file .rrd (extra `rerun`).
        device: Where policies answer again to show where they looked: `auto` (a GPU if there is one), `cpu`, `cuda` or
            another device of torch's.
    """
    from focusvla.checkpoint import open_checkpoint
    from focusvla.visualization.report import Evaluation, TrainingRun, write_report

    if episodes < 0:
        raise ConfigurationError(f"episodes: expected 0 or more, got {episodes}.")
    if checkpoint is None:
        seeing = (path for path in run if open_checkpoint(path).experiment.model.vision.encoder != "none")
        checkpoint = next(seeing, None)
    named = [split_name(given, "results") for given in results]
    with bar("focus") as shown:
        page = write_report(
            output,
            title=title,
            runs=[TrainingRun(name=path.name, path=path) for path in run],
            evaluations=[Evaluation.from_results(folder, name) for name, folder in named],
            demonstrations=data,
            checkpoint=checkpoint,
            max_episodes=episodes,
            recording=rerun,
            device=say_device(device),
            on_progress=shown.update,
        )
    if rerun is not None:
        say(f"recording: {rerun} ({rerun.stat().st_size / 1e6:.1f} MB); open it with: rerun {rerun}")
    say(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB)")
