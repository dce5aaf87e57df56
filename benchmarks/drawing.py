"""Pictures of both cameras of LIBERO, drawn here and as the benchmark draws them, in one process and in turns.

Scripted experts play in all tasks of the four suites; every few steps both ways draw the same state, are timed, and
their pictures compared, which must be equal to the last bit. What differs is kept with `--keep FOLDER`, the state
beside both pictures.

    python benchmarks/drawing.py [--suites libero_goal ...] [--states 250] [--keep FOLDER] [--quick]

Seconds are of processor time, all of a process's threads together: what one core takes. The last line is a JSON object
with `speedup_over_reference_drawing`, `pictures_compared` and `pictures_unequal`.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from focusvla.demonstrations.scripted import scripted_expert
from focusvla.errors import ConfigurationError
from focusvla.simulation.environment import only_environment, suite_tasks
from focusvla.simulation.libero import CAMERAS
from focusvla.simulation.workers import Call, simulate
from focusvla.suites import Start, suite_of
from focusvla_client import Observer, rollout

SUITES = ["libero_object", "libero_spatial", "libero_goal", "libero_10"]
FIRST_SEED = 5000
STEPS_APART = 7


class Enough(Exception):
    """All states of a task were drawn."""


class Comparison(Observer):
    """Draws every few states of an episode both ways."""

    def __init__(self, states: int, keep: Path | None):
        self.here: list[float] = []
        self.reference: list[float] = []
        self.unequal = 0
        self._states, self._step, self._keep = states, 0, keep

    def on_action(self, environment: Any, action: np.ndarray) -> None:
        self._step += 1
        if self._step % STEPS_APART:
            return
        first, seconds = timed(lambda: environment.observe(tuple(CAMERAS)).images)
        renderer = environment._renderer
        software, renderer._software = renderer._software, None
        second, reference_seconds = timed(lambda: environment.observe(tuple(CAMERAS)).images)
        renderer._software = software
        for camera in CAMERAS:
            if (first[camera] != second[camera]).any():
                self.unequal += 1
                if self._keep:
                    np.savez(
                        f"{self._keep}-{len(self.here)}-{camera}.npz",
                        here=first[camera],
                        reference=second[camera],
                        qpos=environment._observed_qpos,
                    )
        self.here.append(seconds)
        self.reference.append(reference_seconds)
        if len(self.here) == self._states:
            raise Enough


def timed(draw: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return draw(), time.process_time() - began


def compare(
    suite: str, task: int, states: int, keep: Path | None
) -> tuple[str, list[float], list[float], int]:
    """Suite, seconds a pair here and by reference, and how many pictures differed."""
    environment = only_environment(suite, task, image_size=256)
    environment.reset(Start(init_state=0))
    environment.observe(tuple(CAMERAS))  # compiles what is compiled once
    comparison = Comparison(states, keep and keep / f"{suite}-{task}")
    for seed in range(FIRST_SEED, FIRST_SEED + states):
        start = Start(init_state=None, seed=seed, displacement_meters=suite_of(suite).displacement_meters)
        try:
            rollout(
                environment,
                scripted_expert(environment),
                start,
                max_steps=suite_of(suite).demonstration_steps,
                actions_per_inference=1,
                stop_on_success=False,
                observers=[comparison],
            )
        except ConfigurationError:  # no free place for what is displaced
            continue
        except Enough:
            break
    return suite, comparison.here, comparison.reference, comparison.unequal


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suites", nargs="+", default=SUITES)
    parser.add_argument("--states", type=int, default=250, help="of each task; each is two pictures")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one per core")
    parser.add_argument("--keep", type=Path, help="folder for pictures that differ")
    parser.add_argument("--quick", action="store_true", help="one task a suite, five states")
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    states = 5 if arguments.quick else arguments.states
    jobs = [
        Call(compare, (suite, task.index, states, arguments.keep))
        for suite in arguments.suites
        for task in suite_tasks(suite)[: 1 if arguments.quick else None]
    ]
    total = len(jobs)
    results = list(
        track(
            simulate(lambda: jobs.pop(0) if jobs else None, workers=arguments.workers),
            total=total,
            description="tasks",
        )
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print("| suite | seconds a pair here | as the benchmark draws | ratio |\n|---|---|---|---|")
    figures: dict[str, dict[str, float]] = {}
    for suite in arguments.suites:
        here = statistics.median(
            seconds for name, times, _, _ in results if name == suite for seconds in times
        )
        reference = statistics.median(
            seconds for name, _, times, _ in results if name == suite for seconds in times
        )
        figures[suite] = {"seconds": round(here, 4), "reference_seconds": round(reference, 4)}
        console.print(f"| {suite} | {here:.3f} | {reference:.3f} | {reference / here:.2f} |")
    print(
        json.dumps(
            {
                "suites": figures,
                "speedup_over_reference_drawing": round(
                    sum(sum(times) for _, _, times, _ in results) / sum(sum(t) for _, t, _, _ in results), 2
                ),
                "pictures_compared": sum(len(CAMERAS) * len(times) for _, times, _, _ in results),
                "pictures_unequal": int(sum(unequal for *_, unequal in results)),
            }
        )
    )


if __name__ == "__main__":
    main()
