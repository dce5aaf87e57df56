"""How often the scripted experts solve fresh resets, task by task: released, withdrawn, without noise, nothing drawn.

    python benchmarks/experts.py [--suite libero_spatial ...] [--resets 20] [--quick]

The last line is a JSON object: per suite, task number to [successes, resets], and the share over all.
"""

import argparse
import json
import time

from rich.console import Console
from rich.progress import track

from focusvla.demonstrations.experts import ScriptedExpert
from focusvla.evaluation.results import SuccessRate
from focusvla.simulation.libero import LiberoStart, libero_tasks, only_environment
from focusvla.simulation.workers import simulate
from focusvla_client import rollout

SUITES = ["libero_object", "libero_spatial", "libero_goal", "libero_10"]
FIRST_SEED = 1000
MAX_STEPS = 520
"""What evaluations allow the longest suite."""


def play(suite: str, task: int, resets: int) -> tuple[str, int, list[int], list[int]]:
    """Suite, task, the seeds that were not solved, and the steps of each episode."""
    environment = only_environment(suite, task, image_size=64)
    played = [
        rollout(
            environment,
            ScriptedExpert(environment),
            LiberoStart(init_state=None, seed=FIRST_SEED + reset),
            max_steps=MAX_STEPS,
            actions_per_inference=1,
            stop_on_success=False,
        )
        for reset in range(resets)
    ]
    unsolved = [FIRST_SEED + reset for reset, episode in enumerate(played) if not episode.success]
    return suite, task, unsolved, [episode.steps for episode in played]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", nargs="+", default=SUITES)
    parser.add_argument("--resets", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="two tasks a suite, three resets each")
    arguments = parser.parse_args()
    resets = 3 if arguments.quick else arguments.resets
    began = time.monotonic()
    jobs = [
        (play, suite, task.index, resets)
        for suite in arguments.suite
        for task in libero_tasks(suite)[: 2 if arguments.quick else None]
    ]
    total = len(jobs)
    results = sorted(
        track(simulate(lambda: jobs.pop(0) if jobs else None, workers=0), total=total, description="tasks")
    )
    console = Console(highlight=False, soft_wrap=True)
    figures: dict[str, dict[str, object]] = {}
    for suite, task, unsolved, steps in results:
        instruction, successes = libero_tasks(suite)[task].instruction, resets - len(unsolved)
        console.print(f"{suite} {task}  {successes}/{resets}  {sum(steps) / resets:.0f} steps  {instruction}")
        if unsolved:
            console.print(f"    unsolved seeds: {', '.join(map(str, unsolved))}")
        figures.setdefault(suite, {})[str(task)] = [successes, resets]
    for suite in arguments.suite:
        rate = SuccessRate(
            sum(resets - len(result[2]) for result in results if result[0] == suite),
            sum(resets for result in results if result[0] == suite),
        )
        console.print(f"{suite}: {rate}")
        figures[suite]["rate"] = rate.rate
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), **figures}))


if __name__ == "__main__":
    main()
