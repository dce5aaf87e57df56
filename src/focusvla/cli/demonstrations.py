"""Demonstrations from a simulator: recorded, from a policy's own states too, played anew, played back."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from focusvla.cli.output import AsJson, say, say_device, say_json
from focusvla.cli.progress import bar
from focusvla.config import CorrectionConfig, DemonstrationConfig, RegenerationConfig
from focusvla.config.checks import require
from focusvla.errors import DataError

_DEMONSTRATION = DemonstrationConfig()
_CORRECTION = CorrectionConfig()


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


def correct(
    checkpoint: tyro.conf.Positional[Path],
    output: Path,
    config: Annotated[CorrectionConfig, tyro.conf.arg(name="")] = _CORRECTION,
) -> None:
    """Record how scripted experts go on from where a policy errs, as LeRobot v3.0.

    Example: focusvla correct runs/goal --suite libero_goal --output data/corrections

    The policy plays for a drawn number of steps; then the expert is recorded. Interrupted, the same command goes on.

    Args:
        checkpoint: A checkpoint, a run (its newest), or an installed one's name.
        output: Folder of the data set, which must not exist yet.
        config: What to record.
    """
    from focusvla.corrections.collect import collect_corrections

    say_device(config.device)
    with bar("corrections") as shown:
        summary = collect_corrections(checkpoint, config, output, shown.update)
    table = Table("task", "instruction", "attempts", "solved by the policy before", "kept", "expert failed")
    for task, counts in summary["tasks"].items():
        failed = ", ".join(f"{number} {reason}" for reason, number in counts["failed"].items())
        numbers = (str(counts[name]) for name in ("attempts", "solved", "kept"))
        table.add_row(task, counts["instruction"], *numbers, failed or "-")
    say(table)
    if alone := summary["policy_alone"]:
        say(f"alone, the policy solved {alone['solved']} of its first {alone['attempts']} attempts")
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


def replay(
    data: Path, episodes: int = 0, workers: int = 0, noise: float = 0.0, as_json: AsJson = False
) -> None:
    """Play undisturbed demonstrations back, to check the evaluation's conventions.

    Example: focusvla replay --data data/object --episodes 20

    At least 95 % must succeed again; record them with `focusvla demonstrate --noise 0 --no-pushes`. With --json:
    {"success": RATE as of `focusvla evaluate`, "episodes": [{"episode", "task", "success", "steps", "recorded_steps",
    "state_difference", "picture_difference"}]}.

    Args:
        data: Folder of a data set that `focusvla demonstrate` recorded.
        episodes: How many, from the first on; 0 means all.
        workers: Simulating processes; 0 means one per core.
        noise: Standard deviation of what is added to each number of an action, where half of what it spans in the data is
            1. What 0.02 keeps from succeeding cannot be learned.
    """
    from focusvla.evaluation.replay import replay as run
    from focusvla.evaluation.results import SuccessRate

    require(noise >= 0, "noise", "0 or more", noise)
    with bar("replay") as shown:
        results = run(
            data, episodes, workers, noise, lambda done, total, result: shown.update(done, total, "")
        )
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
            f"data={data}: expected at least 95 % of the demonstrations to succeed again, got {rate}. "
            + (
                "What does not survive a little noise cannot be learned: look for numbers that are held exactly, such "
                "as a gripper's at 0."
                if noise
                else "A convention differs between their recording and this evaluation: compare how states and pictures "
                "differ."
            )
        )
