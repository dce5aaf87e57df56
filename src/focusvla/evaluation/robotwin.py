"""RoboTwin's own result files of FocusVLA, as its evaluation leaves them, and a table like the paper's Table 5.

eval_result/TASK/FocusVLA/SETTING/CHECKPOINT/TIME/_result.txt      the success rate is its last line
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from focusvla.errors import DataError
from focusvla.evaluation.results import SuccessRate
from focusvla.evaluation.tables import Cell, Table
from focusvla.suites.robotwin import BY_ROBOTWIN_TASK, ROBOTWIN_METHODS

POLICY = "FocusVLA"
"""The adapter's folder in RoboTwin, which names its results, and the paper's method."""
SETTINGS = {"demo_clean": "Easy", "demo_randomized": "Hard"}
"""RoboTwin's name of each setting of the paper."""

Runs = Mapping[tuple[str, str, str], Sequence[SuccessRate]]
"""What each run reached, by task, setting and checkpoint."""


def read_results(folder: Path, trials: int) -> Runs:
    """What each run of FocusVLA under `folder` reached; `trials` are a run's episodes.

    Raises:
        DataError: a file is not one of RoboTwin's.
    """
    found = defaultdict(list)
    for path in sorted(folder.glob(f"*/{POLICY}/*/*/*/_result.txt")):
        task, _, setting, checkpoint = path.relative_to(folder).parts[:4]
        last = path.read_text("utf-8").split()[-1:]
        try:
            successes = float(last[0]) * trials
        except (IndexError, ValueError):
            raise DataError(f"{path}: expected a success rate in the last line, got {last}.") from None
        if abs(successes - round(successes)) > 1e-6 or not 0 <= successes <= trials:
            raise DataError(f"{path}: {last[0]} is not a share of {trials} trials. Give --trials.")
        found[task, setting, checkpoint].append(SuccessRate(round(successes), trials))
    return dict(found)


def percent_of_paper(task: str, setting: str, method: str = POLICY) -> float | None:
    """Of Table 5; None where it has no such task or setting."""
    if task not in BY_ROBOTWIN_TASK or setting not in SETTINGS:
        return None
    return float(BY_ROBOTWIN_TASK[task][ROBOTWIN_METHODS.index(method)][list(SETTINGS).index(setting)])


def table_of_robotwin(runs: Runs, checkpoint: str, *, with_paper_rows: bool = False) -> Table:
    """A row per task that the paper has or `runs` are of, all runs of a checkpoint together, easy and hard;
    `with_paper_rows` adds a column for each other method of Table 5. Averages are left out: the paper's easy one, 58, is
    not the mean of its seven tasks, which is 49.1.
    """
    tasks = list(dict.fromkeys([*BY_ROBOTWIN_TASK, *sorted(task for task, _, _ in runs)]))

    def ours(task: str, setting: str) -> SuccessRate | None:
        found = runs.get((task, setting, checkpoint), ())
        return (
            SuccessRate(sum(run.successes for run in found), sum(run.episodes for run in found))
            if found
            else None
        )

    others = [method for method in ROBOTWIN_METHODS if method != POLICY] if with_paper_rows else []
    rows = {
        task: (
            *(Cell(ours(task, setting), percent_of_paper(task, setting)) for setting in SETTINGS),
            *(
                Cell(None, percent_of_paper(task, setting, method))
                for method in others
                for setting in SETTINGS
            ),
        )
        for task in tasks
    }
    return Table(
        f"Success on RoboTwin, {checkpoint}: percent (successes/episodes, Wilson 95 %); ours / paper",
        (*SETTINGS.values(), *(f"{method} {title}" for method in others for title in SETTINGS.values())),
        rows,
        {task: f"Table 5, {POLICY}" for task in tasks if task in BY_ROBOTWIN_TASK},
    )
