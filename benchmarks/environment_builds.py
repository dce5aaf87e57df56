"""How long LIBERO's environments take to build: a process's first one, and each further task.

Of the first environment the seconds are the whole process's, from its start to its first observation, imports included;
of further tasks those of building, of resetting and of the first observation. Repeats are processes of their own, one
after the other.

    python benchmarks/environment_builds.py [--tasks 0 4 9] [--repeats 3] [--quick]

The least of the repeats is printed, since other work on the machine only adds; the last line is a JSON object with them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
PHASES = ("built", "reset", "observed")


def build(jobs: list[tuple[str, int]]) -> None:
    """Build one task after the other, as a worker does, and print when each phase ended."""
    from focusvla.simulation.environment import only_environment
    from focusvla.suites import Start

    for suite, task in jobs:
        environment = only_environment(suite, task, image_size=256)
        print("built", flush=True)
        environment.reset(Start(init_state=0))
        print("reset", flush=True)
        environment.observe([camera.name for camera in environment.spec.cameras])
        print("observed", flush=True)


def measured(jobs: list[tuple[str, int]]) -> Iterator[tuple[str, dict[str, float]]]:
    """The name of each build and the seconds of its phases."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--jobs", json.dumps(jobs)]
    before = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        for number, (suite, task) in enumerate(jobs):
            seconds: dict[str, float] = {}
            for phase in PHASES:
                line = process.stdout.readline().strip()
                if line != phase:
                    raise SystemExit(f"{suite} {task}: expected {phase!r}, got {line!r}.")
                now = time.monotonic()
                seconds[phase], before = now - before, now
            yield f"{suite} {task}" if number else f"first: {suite} {task}", seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", type=int, default=[0, 4, 9], help="of each suite")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one task of each suite, once")
    parser.add_argument("--jobs", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.jobs:
        build(arguments.jobs)
        return
    tasks, repeats = ([4], 1) if arguments.quick else (arguments.tasks, arguments.repeats)
    jobs = [(suite, task) for suite in SUITES for task in tasks]
    began = time.monotonic()
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(repeats):
        for name, seconds in measured(jobs):
            found.setdefault(name, []).append(seconds)
    least = {
        name: {phase: min(run[phase] for run in runs) for phase in PHASES} for name, runs in found.items()
    }
    print("| seconds | built | reset | first observation | all |\n|---|---|---|---|---|")
    for name, phases in least.items():
        cells = [f"{seconds:.2f}" for seconds in (*phases.values(), sum(phases.values()))]
        print(f"| {name} | {' | '.join(cells)} |")
    rounded = {
        name: {p: round(seconds, 3) for p, seconds in phases.items()} for name, phases in least.items()
    }
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), **rounded}))


if __name__ == "__main__":
    main()
