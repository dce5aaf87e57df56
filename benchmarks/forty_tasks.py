"""One small policy for the forty tasks of LIBERO, from nothing, with focusvla's own commands.

Scripted experts demonstrate, a policy learns, experts go on from where it errs, it learns on from both, and it plays
validation starts. Stopped anywhere, the same command goes on.

    python benchmarks/forty_tasks.py WORK [--rounds 1] [--suites libero_goal] [--tasks 0 1] [--demonstrations 30]
                                          [--attempts 20] [--steps 30000] [--trials 20] [--processes 2] [--quick]

Training takes one process per core, with one thread each: two that share an operation wait for each other. The last line
is a JSON object: the seconds of each stage over all runs of it, and the success rates on the validation starts with
their intervals.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from focusvla.evaluation.results import read_results, success_rate

SUITES = ["libero_spatial", "libero_object", "libero_goal", "libero_10"]
PROTOCOLS = ("libero_validation", "libero_wide_validation")
RECORDED = "--undisplaced-share 0.4 --image-size 128 --mesh-cell-meters 0.004 --steps-per-picture 4"
TRAINED = "--data-statistics joint --augmented-copies 1 --precision bfloat16 --threads 1 --model.ignored-state-dims 6 7"
"""Without the fingers' state: see docs/how-to/train.md."""


@dataclass(frozen=True)
class Stage:
    """A command, and the folder that is there once it has ended; none for one that repeats nothing."""

    name: str
    left: Path | None
    command: list[str]
    processes: int = 1


def stages(options: argparse.Namespace) -> list[Stage]:
    """All of them, in order."""
    work: Path = options.work
    tasks = ["--tasks", *options.tasks] if options.tasks else []
    found, data = [], []

    def record(name: str, command: list[str]) -> None:
        for suite in options.suites:
            output = work / name / suite
            of_suite = ["--suite", suite, *tasks, "--output", str(output), *RECORDED.split()]
            found.append(Stage(f"{name} {suite}", output, [*command, *of_suite]))
            data.append(str(output))

    record("demonstrations", ["demonstrate", "--episodes-per-task", str(options.demonstrations)])
    run = work / "round0"
    for number in range(options.rounds + 1):
        start = ["--weights.checkpoint", str(run), "--learning-rate", "5e-4"] if number else []
        run, steps = work / f"round{number}", options.steps // 2 if number else options.steps
        command = ["train", "mini", "--data", *data, "--output", str(run), "--cache", str(work / "cache")]
        command += ["--steps", str(steps), *TRAINED.split(), *start]
        last = run / "checkpoints" / f"step-{steps:08d}"
        found.append(Stage(f"training {number}", last, command, options.processes))
        if number < options.rounds:
            seed = ["--seed", str(number + 1), "--regardless", "--attempts-per-task", str(options.attempts)]
            record(f"corrections{number}", ["correct", str(run), *seed])
    for protocol in PROTOCOLS:
        output = work / protocol
        command = ["evaluate", "--checkpoint", str(run), "--output", str(output), "--protocol", protocol]
        command += ["--suites", *options.suites, *tasks, "--trials", str(options.trials), "--no-videos"]
        found.append(Stage(protocol, None, command))
    return found


def require_same_options(options: argparse.Namespace) -> None:
    """Stop if the folder was begun with others: what has ended is not done again, and would not be what they say."""
    described = {name: value for name, value in vars(options).items() if name not in ("work", "processes")}
    file = options.work / "options.json"
    if not file.exists():
        file.write_text(json.dumps(described, indent=2) + "\n")
    begun = json.loads(file.read_text())
    differing = [
        f"--{n} {begun.get(n)!r} there, {v!r} here" for n, v in described.items() if begun.get(n) != v
    ]
    if differing:
        print(
            f"error: {options.work} was begun with other options ({'; '.join(differing)}). Choose another folder."
        )
        sys.exit(2)


def carry_out(stage: Stage) -> int:
    """The exit status of its command."""
    start = [sys.executable, "-m", "focusvla"]
    if stage.processes > 1:
        start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(stage.processes)]
        start += ["-m", "focusvla"]
    threads = {"OMP_NUM_THREADS": "1"} if stage.processes > 1 else {}
    return subprocess.run([*start, *stage.command], env=os.environ | threads).returncode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--suites", nargs="+", default=SUITES)
    parser.add_argument("--tasks", nargs="+", default=[], help="of each suite; none given means all")
    parser.add_argument("--rounds", type=int, default=1, help="of corrections")
    parser.add_argument("--demonstrations", type=int, default=30, help="of each task")
    parser.add_argument("--attempts", type=int, default=20, help="at corrections, of each task and round")
    parser.add_argument(
        "--steps", type=int, default=30_000, help="of the first training; later ones take half"
    )
    parser.add_argument("--trials", type=int, default=20, help="of each task on validation starts")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="that train")
    parser.add_argument("--quick", action="store_true", help="a task of a suite, in a minute or two")
    options = parser.parse_args()
    if options.quick:
        options.suites, options.tasks, options.demonstrations = ["libero_object"], ["2"], 4
        options.attempts, options.steps, options.trials = 4, 40, 2
    options.work.mkdir(parents=True, exist_ok=True)
    require_same_options(options)
    file = options.work / "seconds.json"
    seconds = json.loads(file.read_text()) if file.exists() else {}
    for stage in stages(options):
        if stage.left and stage.left.exists():
            continue
        print(f"== {stage.name}", flush=True)
        began = time.monotonic()
        status = carry_out(stage)
        seconds[stage.name] = round(seconds.get(stage.name, 0) + time.monotonic() - began, 1)
        file.write_text(json.dumps(seconds, indent=2) + "\n")
        if status:
            sys.exit(status)
    rates = {}
    for protocol in PROTOCOLS:
        results = read_results(options.work / protocol / "results.jsonl")
        rates[protocol] = {
            suite: success_rate([each for each in results if each.suite == suite]).to_dict()
            for suite in options.suites
        }
    print(json.dumps({"seconds": seconds, "success": rates}))


if __name__ == "__main__":
    main()
