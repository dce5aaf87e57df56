"""The policy that ships, played and looked at; or, with `--train`, one from nothing."""

from pathlib import Path
from typing import Annotated

import tyro

from focusvla.cli.evaluation import run_evaluation
from focusvla.cli.output import say
from focusvla.cli.report import report
from focusvla.config import EvaluationConfig
from focusvla.errors import MissingDependencyError

SHIPPED = "libero"
"""Name of the policy that the package focusvla-libero brings."""
SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
SHOWN_TASK = 2
"""Of each suite."""
TASKS = (2, 3, 4)
"""Salad dressing, bbq sauce, ketchup: bottles that stand in each other's scenes, so instruction and eyes both
matter."""


def quickstart(
    output: Path = Path("runs/quickstart"),
    train: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    tasks: tuple[int, ...] = TASKS,
    episodes_per_task: int = 80,
    steps: int = 1800,
    trials: int = 0,
) -> None:
    """Play the policy that comes with focusvla, and write a page of where it looked.

    Example: focusvla quickstart

    One task of each of LIBERO's four suites, in about two minutes on two cores. With --train everything from nothing
    instead: demonstrations, a policy and its vision-blind baseline, three evaluations and a page, in about 20 minutes.
    Nothing is downloaded. Interrupted, the same command goes on where it stopped.

    Args:
        output: Folder for all of it.
        train: Demonstrate and learn, on tasks of LIBERO-Object.
        tasks: Numbers of these tasks.
        episodes_per_task: Demonstrations to record.
        steps: Optimizer steps of the seeing policy; the blind baseline takes as many.
        trials: Episodes per task and evaluation; 0 means 2, or 10 with --train.
    """
    if train:
        from focusvla.cli.quickstart_training import learn_and_play

        learn_and_play(output, tasks, episodes_per_task, steps, trials or 10)
    else:
        play_shipped(output, trials or 2)


def play_shipped(output: Path, trials: int) -> None:
    """Play `SHOWN_TASK` of each suite and write the page.

    Raises:
        MissingDependencyError: no installed package brings the policy.
    """
    from focusvla.evaluation.results import success_rate
    from focusvla.installed_checkpoints import installed_checkpoint

    checkpoint = installed_checkpoint(SHIPPED)
    if checkpoint is None:
        raise MissingDependencyError(
            "focusvla-libero", extra="policy", purpose="`focusvla quickstart` without --train"
        )
    config = EvaluationConfig(suites=SUITES, tasks=(SHOWN_TASK,), trials=trials)
    results = output / "results" / SHIPPED
    rate = success_rate(run_evaluation(checkpoint, results, config))
    page = output / "report.html"
    report(page, (), (str(results),), checkpoint=checkpoint, title="FocusVLA: one policy, four suites")
    say(f"{rate} on one task of each suite; all forty are in the model card: {checkpoint / 'README.md'}")
    say("learn one from nothing: focusvla quickstart --train --output runs/trained")
    say(f"report: {page}")
