"""Success and smoothness against how chunks are played, how often the policy is asked, and how late it answers.

A checkpoint plays the same starts in every setting, `focusvla evaluate --chunks...` each; the command resumes where it
was interrupted. Open loop with no latency is what published protocols do. While no action is there the robot holds still,
which the episode's limit of steps counts.

    python benchmarks/chunk_playing.py CHECKPOINT OUTPUT [--suites libero_object libero_goal] [--tasks 0 1 2] [--trials 4]
        [--protocol libero_validation] [--players open_loop overlapped blended ensembling] [--intervals 4 8]
        [--latencies-ms 0 100 200 400] [--quick]

A JSON line for each setting: `player`, `interval`, `latency_ms`, `success` with its Wilson interval, `mean_jerk` (of all
episodes, see `focusvla.evaluation.motion`) and `seconds_of_success`, the mean length of successful episodes; then
OUTPUT/chunk_playing.png. `--quick`: two tasks, one trial, two players, two latencies.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from focusvla.evaluation.results import read_results, success_rate
from focusvla.suites import suite_of

PLAYERS = ("open_loop", "overlapped", "blended", "ensembling")


@dataclass(frozen=True)
class Setting:
    """One way of playing chunks."""

    player: str
    interval: int
    """Actions from one question to the next, at least."""
    latency_ms: int

    @property
    def name(self) -> str:
        """Of its folder and of its line."""
        return f"{self.player}-{self.interval}-{self.latency_ms}"


def main() -> None:
    """Play what is missing, print a line for each setting, and draw them."""
    arguments = parsed()
    if arguments.quick:
        arguments.tasks, arguments.trials = arguments.tasks[:2], 1
        arguments.players, arguments.latencies_ms = ["open_loop", "blended"], [0, 100]
        arguments.intervals = arguments.intervals[:1]
    lines = []
    for player in arguments.players:
        for interval, latency in product(arguments.intervals, arguments.latencies_ms):
            setting = Setting(player, interval, latency)
            play(setting, arguments)
            lines.append(measured(setting, arguments.output))
            print(json.dumps(lines[-1]), flush=True)
    draw(lines, arguments.output / "chunk_playing.png")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("output", type=Path)
    parser.add_argument("--suites", nargs="+", default=["libero_object", "libero_goal"])
    parser.add_argument("--tasks", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--protocol", default="libero_validation")
    parser.add_argument("--players", nargs="+", choices=PLAYERS, default=list(PLAYERS))
    parser.add_argument("--intervals", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--latencies-ms", nargs="+", type=int, default=[0, 100, 200, 400])
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


def play(setting: Setting, arguments: argparse.Namespace) -> None:
    """Evaluate one setting, or what is missing of it."""
    command = [
        *(sys.executable, "-m", "focusvla", "evaluate", "--checkpoint", arguments.checkpoint),
        *("--output", str(arguments.output / setting.name), "--no-videos"),
        *("--suites", *arguments.suites, "--tasks", *map(str, arguments.tasks)),
        *("--trials", str(arguments.trials), "--protocol", arguments.protocol),
        *("--actions-per-inference", str(setting.interval)),
        *("--chunks.player", setting.player, "--chunks.latency-ms", str(setting.latency_ms)),
    ]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        sys.exit(f"{setting.name}: focusvla evaluate failed, as it says above.")


def measured(setting: Setting, output: Path) -> dict[str, Any]:
    """What one setting came to."""
    episodes = [each for each in read_results(output / setting.name / "results.jsonl") if not each.error]
    seconds = [each.steps / suite_of(each.suite).spec(1).control_rate_hz for each in episodes if each.success]
    jerks = [each.mean_jerk for each in episodes if each.mean_jerk is not None]
    return {
        "player": setting.player,
        "interval": setting.interval,
        "latency_ms": setting.latency_ms,
        "success": success_rate(episodes).to_dict(),
        "mean_jerk": round(mean(jerks), 3) if jerks else None,
        "seconds_of_success": round(mean(seconds), 2) if seconds else None,
    }


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Success, with intervals, and jerk against latency: a curve for each player and interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    success, jerk = figure.subplots(1, 2)
    curves: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for line in lines:
        curves.setdefault((line["player"], line["interval"]), []).append(line)
    intervals = sorted({interval for _, interval in curves})
    for number, ((player, interval), points) in enumerate(curves.items()):
        style = {
            "color": f"C{PLAYERS.index(player)}",
            "linestyle": ["-", "--", ":", "-."][intervals.index(interval) % 4],
            "marker": "o",
            "label": f"{player}, every {interval}",
        }
        latencies = [point["latency_ms"] + 3 * number for point in points]  # so that bars stand side by side
        rates = [100 * point["success"]["rate"] for point in points]
        low, high = zip(*(point["success"]["interval_95"] for point in points), strict=True)
        below = [rate - 100 * bound for rate, bound in zip(rates, low, strict=True)]
        above = [100 * bound - rate for rate, bound in zip(rates, high, strict=True)]
        success.errorbar(latencies, rates, yerr=[below, above], elinewidth=0.5, **style)
        jerk.plot(latencies, [point["mean_jerk"] for point in points], **style)
    success.set(xlabel="latency (ms)", ylabel="success (%), Wilson 95 %", ylim=(-2, 102))
    jerk.set(xlabel="latency (ms)", ylabel="mean jerk", ylim=(0, None))
    jerk.legend(fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
