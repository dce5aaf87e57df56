"""One function a command; its docstring is its help, its parameters are its flags.

Each is thin: it reads paths and configuration, calls the room that does the work, and shows progress.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from focusvla.cli.named_folders import split_name
from focusvla.cli.output import AsJson, for_people, say, say_device, say_json
from focusvla.cli.progress import bar
from focusvla.config import DemonstrationConfig, EvaluationConfig, RegenerationConfig
from focusvla.errors import ConfigurationError, DataError

_DEMONSTRATION, _EVALUATION = DemonstrationConfig(), EvaluationConfig()


def demonstrate(
    output: Path, config: Annotated[DemonstrationConfig, tyro.conf.arg(name="")] = _DEMONSTRATION
) -> None:
    """Record scripted demonstrations as a LeRobot v3.0 data set.

    Example: focusvla demonstrate --output data/object --tasks 2 3 4 --episodes-per-task 30

    Suites: libero_spatial, libero_object, libero_goal, libero_10, aloha (extra `aloha`).
    Interrupted, the same command goes on where it stopped.

    Args:
        output: Folder of the data set, which must not exist yet.
        config: What to record.
    """
    from focusvla.demonstrations.collect import collect_demonstrations

    with bar("demonstrations") as shown:
        summary = collect_demonstrations(config, output, shown.update)
    table = Table("task", "instruction", "kept", "attempts")
    for task, counts in summary["tasks"].items():
        table.add_row(task, counts["instruction"], str(counts["kept"]), str(counts["attempts"]))
    say(table)
    say(f"data set: {output}")


def regenerate(
    data: tyro.conf.Positional[Path],
    output: Path,
    config: Annotated[RegenerationConfig, tyro.conf.arg(name="")],
) -> None:
    """Play LIBERO's original demonstrations again without no-ops, as LeRobot v3.0.

    Example: focusvla regenerate data/original/libero_object --suite libero_object --output data/object

    Those that no longer succeed are left out, and `meta/regeneration.json` says why. Needs the extras `hdf5` and
    `libero`. Interrupted, the same command goes on where it stopped.

    Args:
        data: A folder of files TASK_demo.hdf5, or one of them.
        output: Folder of the data set, which must not exist yet.
        config: How they are played.
    """
    from focusvla.demonstrations.regenerate import regenerate_demonstrations

    with bar("regeneration") as shown:
        summary = regenerate_demonstrations(config, data, output, shown.update)
    table = Table("file", "kept", "rejected", "no-ops left out")
    for file in summary["config"]["demonstrations"]:
        kept = [demo for demo in summary["kept"] if demo["file"] == file]
        rejected = [demo for demo in summary["rejected"] if demo["file"] == file]
        table.add_row(file, str(len(kept)), str(len(rejected)), str(sum(demo["no_ops"] for demo in kept)))
    say(table)
    say(f"{len(summary['kept'])} episodes in {output}")


def evaluate(
    checkpoint: Path,
    output: Path,
    config: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = _EVALUATION,
    as_json: AsJson = False,
) -> None:
    """Evaluate a checkpoint in the simulator.

    Example: focusvla evaluate --checkpoint runs/mini --output results/wide --protocol libero_wide

    Interrupted, the same command goes on with the episodes that are missing. With --json: {"results": FOLDER,
    "protocol", "success": RATE, "tasks": [{"suite", "task", "instruction", "success": RATE}], "broken": NUMBER,
    "robustness": TABLE or null}; a RATE is {"successes", "episodes", "rate", "interval_95": [low, high]}, a TABLE as
    `focusvla tables` prints it.

    Args:
        checkpoint: Folder of a checkpoint, or of a training run, whose newest is taken.
        output: Folder of the results: a JSON line per episode, videos.
        config: Which episodes.
    """
    from focusvla.evaluation.results import summarize
    from focusvla.evaluation.tables import render, table_of_robustness

    robustness = None
    with for_people(as_json):
        results = run_evaluation(checkpoint, output, config)
        if config.robustness:
            robustness = table_of_robustness(results)
            say(render(robustness, "markdown"))
    if as_json:
        table = robustness and robustness.to_dict()
        say_json({"results": str(output), **summarize(results), "robustness": table})


def play(checkpoint: Path, output: Path, config: EvaluationConfig, label: str):
    """Evaluate with a progress bar."""
    from focusvla.evaluation.evaluate import evaluate as run
    from focusvla.evaluation.policies import source_of

    succeeded = [0, 0]

    with bar(label) as shown:

        def on_progress(done: int, total: int, result, remark: str) -> None:
            if result is not None:
                succeeded[0] += result.success
                succeeded[1] += 1
            note = f"{succeeded[0]} of {succeeded[1]} succeeded" if succeeded[1] else ""
            shown.update(done, total, note)
            if remark:
                shown.say(remark)

        source = source_of(checkpoint, config)
        say_device(source.device)
        return run(source, config, output, on_progress)


def run_evaluation(checkpoint: Path, output: Path, config: EvaluationConfig, label: str = "evaluation"):
    """Evaluate with a progress bar and a table; what `evaluate` and `quickstart` share."""
    from focusvla.evaluation.results import clean_results, success_rate, success_rate_by_task
    from focusvla.suites import protocol_of

    results = play(checkpoint, output, config, label)
    clean = clean_results(results)
    rules = protocol_of(config.suites, config.protocol).name
    expert = expert_rates(rules)
    table = Table(
        *("suite", "task", "instruction", "success (Wilson 95 %)", *(["expert"] if expert else [])),
        title=f"{', '.join(config.suites)}, {rules}",
    )
    instructions = {(result.suite, result.task): result.instruction for result in clean}
    for (suite, task), rate in success_rate_by_task(clean).items():
        beside = [expert.get((suite, task), "-")] if expert else []
        table.add_row(suite, str(task), instructions[suite, task], str(rate), *beside)
    table.add_row("all", "", "", str(success_rate(clean)))
    say(table)
    broken = sum(bool(result.error) for result in results)
    if broken:
        say(
            f"{broken} episode(s) broke and are not counted; the same command plays them again. Their tracebacks are in "
            f"{output / 'results.jsonl'}"
        )
    return results


def expert_rates(protocol: str) -> dict[tuple[str, int], str]:
    """By suite and task, how often the scripted expert solves a protocol's starts, as text; empty if not measured."""
    from focusvla.suites import suites

    return {
        (suite, task): f"{solved}/{starts}"
        for suite, row in suites().items()
        for task, (solved, starts) in enumerate(row.expert_solves.get(protocol, ()))
    }


def replay(data: Path, episodes: int = 0, workers: int = 0, as_json: AsJson = False) -> None:
    """Play undisturbed demonstrations back, to check the evaluation's conventions.

    Example: focusvla replay --data data/object --episodes 20

    At least 95 % must succeed again; record them with `focusvla demonstrate --noise 0 --no-pushes`. With --json:
    {"success": RATE as of `focusvla evaluate`, "episodes": [{"episode", "task", "success", "steps", "recorded_steps",
    "state_difference", "picture_difference"}]}.

    Args:
        data: Folder of a data set that `focusvla demonstrate` recorded.
        episodes: How many, from the first on; 0 means all.
        workers: Simulating processes; 0 means one per core.
    """
    from focusvla.evaluation.replay import replay as run
    from focusvla.evaluation.results import SuccessRate

    with bar("replay") as shown:
        results = run(data, episodes, workers, lambda done, total, result: shown.update(done, total, ""))
    rate = SuccessRate(sum(result.success for result in results), len(results))
    if as_json:
        say_json({"success": rate.to_dict(), "episodes": [asdict(result) for result in results]})
    else:
        table = Table(
            "task", "succeeded again", "greatest difference of states", "mean difference of pictures"
        )
        for task in sorted({result.task for result in results}):
            of_task = [result for result in results if result.task == task]
            table.add_row(
                str(task),
                f"{sum(result.success for result in of_task)}/{len(of_task)}",
                f"{max(result.state_difference for result in of_task):.2g}",
                f"{max(result.picture_difference for result in of_task):.1f} of 255",
            )
        say(table)
        say(f"replayed: {rate}")
    if rate.rate < 0.95:
        raise DataError(
            f"data={data}: expected at least 95 % of the demonstrations to succeed again, got {rate}. A convention "
            "differs between their recording and this evaluation: compare how states and pictures differ."
        )


def report(
    output: Path,
    run: tuple[Path, ...] = (),
    results: tuple[str, ...] = (),
    data: Path | None = None,
    title: str = "FocusVLA report",
    episodes: int = 12,
    rerun: Path | None = None,
    device: str = "auto",
) -> None:
    """Write one self-contained HTML page: results, learning curves, episodes to browse.

    Example: focusvla report --output report.html --run runs/mini --results results/wide

    Args:
        output: The page.
        run: Folders of training runs; focus pictures are made with the first that sees.
        results: Folders of evaluations, each as FOLDER or, where policies would be named alike, as NAME=FOLDER.
        data: The data set they were trained on.
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
    seeing = [path for path in run if open_checkpoint(path).experiment.model.vision.encoder != "none"]
    named = [split_name(given, "results") for given in results]
    with bar("focus") as shown:
        page = write_report(
            output,
            title=title,
            runs=[TrainingRun(name=path.name, path=path) for path in run],
            evaluations=[Evaluation.from_results(folder, name) for name, folder in named],
            demonstrations=data,
            checkpoint=seeing[0] if seeing else None,
            max_episodes=episodes,
            recording=rerun,
            device=say_device(device),
            on_progress=shown.update,
        )
    if rerun is not None:
        say(f"recording: {rerun} ({rerun.stat().st_size / 1e6:.1f} MB); open it with: rerun {rerun}")
    say(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB)")
