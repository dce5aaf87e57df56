"""RoboTwin's results of FocusVLA as a table: successes of all runs together, their Wilson interval, the paper's Table 5
beside them. A seed that was run twice is counted twice; the adapters' notes tell where that may be so.

python results.py ROBOTWIN/eval_result
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from focusvla.errors import DataError
from focusvla.evaluation.results import SuccessRate
from focusvla.evaluation.robotwin import POLICY, Runs, percent_of_paper, read_results


def table(found: Runs) -> str:
    """A Markdown table, one row for each task, setting and checkpoint."""
    lines = [
        "| task | setting | checkpoint | runs | success (Wilson 95 %) | paper |",
        "|---|---|---|---|---|---|",
    ]
    for (task, setting, checkpoint), runs in sorted(found.items()):
        rate = SuccessRate(sum(run.successes for run in runs), sum(run.episodes for run in runs))
        percent = percent_of_paper(task, setting)
        paper = "-" if percent is None else f"{percent:g}"
        lines.append(f"| {task} | {setting} | {checkpoint} | {len(runs)} | {rate} | {paper} |")
    return "\n".join(lines)


def noted(folder: Path) -> list[str]:
    """Lines with the commits of RoboTwin that the runs were made with, and the seeds that were begun more than once, as
    the adapters noted them."""
    path = folder / "focusvla_runs.jsonl"
    runs = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    commits = Counter(str(run["robotwin_commit"]) for run in runs)
    lines = [
        "RoboTwin: "
        + (", ".join(f"{commit} ({count} runs)" for commit, count in commits.items()) or "unknown")
    ]
    # Only the older adapter notes the setting, and each has its own name for the checkpoint.
    labels = ("task_name", "task_config", "ckpt_setting", "ckpt_name", "seed")
    begun = Counter(
        tuple(f"{run[label]}" for label in labels if label in run) for run in runs if "seed" in run
    )
    for (*names, seed), count in begun.items():
        if count > 1:
            lines.append(
                f"Begun {count} times: {' '.join(names)}, seed {seed}. Its starts may be counted twice."
            )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="RoboTwin's eval_result")
    parser.add_argument("--trials", type=int, default=100, help="episodes of a run (default: 100)")
    arguments = parser.parse_args()
    try:
        found = read_results(arguments.folder, arguments.trials)
    except (DataError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    if not found:
        parser.exit(
            2,
            f"error: {arguments.folder}: expected TASK/{POLICY}/CONFIG/CKPT/TIME/_result.txt, found none.\n",
        )
    print(table(found), "", *noted(arguments.folder), sep="\n")


if __name__ == "__main__":
    main()
