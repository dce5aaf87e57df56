"""How often the scripted experts solve fresh resets, task by task: released, withdrawn, without noise, nothing drawn.

    python benchmarks/experts.py [--suite libero_spatial ...] [--resets 20] [--quick]

The last line is a JSON object: per suite, task number to [successes, resets], and the share over all.
"""

import argparse
import json
import time

from rich.console import Console
from rich.progress import track

from focusvla.demonstrations.scripted import scripted_expert
from focusvla.evaluation.results import SuccessRate
from focusvla.simulation.environment import Start
from focusvla.simulation.libero import libero_tasks
from focusvla.simulation.suites import only_environment
from focusvla.simulation.workers import simulate
from focusvla_client import rollout

FIRST_SEED = 1000
MAX_STEPS = 400


def play(suite: str, task: int, resets: int) -> tuple[str, int, int, list[int]]:
    """Suite, task, successes and the steps of each episode."""
    environment = only_environment(suite, task, image_size=64)
    played = [
        rollout(
            environment,
            scripted_expert(environment),
            Start(init_state=None, seed=FIRST_SEED + reset),
            max_steps=MAX_STEPS,
            actions_per_inference=1,
            stop_on_success=False,
        )
        for reset in range(resets)
    ]
    return suite, task, sum(episode.success for episode in played), [episode.steps for episode in played]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", nargs="+", default=["libero_object", "libero_spatial", "libero_goal"])
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
    for suite, task, successes, steps in results:
        instruction = libero_tasks(suite)[task].instruction
        console.print(f"{suite} {task}  {successes}/{resets}  {sum(steps) / resets:.0f} steps  {instruction}")
        figures.setdefault(suite, {})[str(task)] = [successes, resets]
    for suite in arguments.suite:
        rate = SuccessRate(
            sum(result[2] for result in results if result[0] == suite),
            sum(resets for result in results if result[0] == suite),
        )
        console.print(f"{suite}: {rate}")
        figures[suite]["rate"] = rate.rate
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), **figures}))


if __name__ == "__main__":
    main()
