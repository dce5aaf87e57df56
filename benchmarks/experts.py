"""How often the scripted experts solve their tasks, without noise and with nothing drawn.

Without `--protocol` from fresh resets: solved is what still is after release and retreat, within the steps that a
demonstration may take. With one, from its starts and under its rules, as a policy is evaluated: solved is what is at any
moment within the policy's steps. `focusvla evaluate` prints those numbers beside a policy's.

    python benchmarks/experts.py [--suites libero_spatial ...] [--starts 20] [--protocol libero_wide] [--quick]

The last line is a JSON object: per suite, task number to [successes, starts], and the share over all.
"""

import argparse
import json
import time

from rich.console import Console
from rich.progress import track

from focusvla.demonstrations.scripted import scripted_expert
from focusvla.evaluation.results import SuccessRate
from focusvla.simulation.environment import only_environment, suite_task, suite_tasks
from focusvla.simulation.workers import Call, simulate
from focusvla.suites import Start, protocol, suite_of
from focusvla_client import rollout

SUITES = ["libero_object", "libero_spatial", "libero_goal", "libero_10"]
FIRST_SEED = 1000


def play(suite: str, task: int, starts: int, rules_name: str) -> tuple[str, int, list[int], list[int]]:
    """Suite, task, the starts that were not solved, and the steps of each episode."""
    environment = only_environment(suite, task, image_size=64)
    unsolved, steps = [], []
    for number in range(starts):
        if rules_name:
            rules = protocol(rules_name)
            start, limit = rules.start(suite, number), rules.max_steps_of(suite)
        else:
            start, limit = (
                Start(init_state=None, seed=FIRST_SEED + number),
                suite_of(suite).demonstration_steps,
            )
        episode = rollout(
            environment,
            scripted_expert(environment),
            start,
            max_steps=limit,
            actions_per_inference=1,
            stop_on_success=bool(rules_name),
        )
        steps.append(episode.steps)
        if not episode.success or (episode.steps == limit and not rules_name):
            unsolved.append(number)
    return suite, task, unsolved, steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suites", nargs="+", default=SUITES)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--protocol", default="")
    parser.add_argument("--quick", action="store_true", help="two tasks a suite, three starts each")
    arguments = parser.parse_args()
    starts = 3 if arguments.quick else arguments.starts
    began = time.monotonic()
    jobs = [
        Call(play, (suite, task.index, starts, arguments.protocol))
        for suite in arguments.suites
        for task in suite_tasks(suite)[: 2 if arguments.quick else None]
    ]
    total = len(jobs)
    results = sorted(
        track(simulate(lambda: jobs.pop(0) if jobs else None, workers=0), total=total, description="tasks")
    )
    console = Console(highlight=False, soft_wrap=True)
    figures: dict[str, dict[str, object]] = {suite: {} for suite in arguments.suites}
    console.print(
        "| suite | task | solved | steps, mean and most | unsolved starts | instruction |\n|---|---|---|---|---|---|"
    )
    for suite, task, unsolved, steps in results:
        solved, mean = starts - len(unsolved), sum(steps) / starts
        which = ", ".join(map(str, unsolved)) or "-"
        instruction = suite_task(suite, task).instruction
        console.print(
            f"| {suite} | {task} | {solved}/{starts} | {mean:.0f}, {max(steps)} | {which} | {instruction} |"
        )
        figures[suite][str(task)] = [solved, starts]
    for suite in arguments.suites:
        solved = [starts - len(result[2]) for result in results if result[0] == suite]
        rate = SuccessRate(sum(solved), starts * len(solved))
        console.print(f"{suite}: {rate}")
        figures[suite]["rate"] = rate.rate
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), **figures}))


if __name__ == "__main__":
    main()
