"""The same checkpoint evaluated by the harness vla-eval and by `focusvla evaluate --protocol libero_vla_eval`.

vla-eval plays its own LIBERO benchmark, without Docker, unsharded and with its own defaults, against `focusvla
serve-vla-eval`: a scene rebuilt for each trial, 256 pixels drawn at every step and sent as PNG, which the server resizes
to the policy's. Each action, each state and each end must be equal.

In an environment that has both (`pip install -c constraints.txt './packages/focusvla-client' '.[libero,mini,vla-eval]'`):

    python benchmarks/vla_eval_agreement.py CHECKPOINT [--tasks libero_goal:0 libero_10:3] [--trials 3] [--max-steps 100]

The last line is a JSON object: of `episodes`, `equal` went equally, up to `--max-steps`; the greatest difference of an
action and of a state over all of them are `action_difference` and `state_difference`.
"""

import argparse
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("LP_NUM_THREADS", "1")  # software rendering on one core

import numpy as np

from focusvla.checkpoint import open_checkpoint
from focusvla.config import EvaluationConfig
from focusvla.evaluation.episode_files import episode_file, read_trajectory
from focusvla.evaluation.episodes import PlannedEpisode
from focusvla.evaluation.evaluate import evaluate
from focusvla.evaluation.policies import checkpoint_source
from focusvla.simulation.environment import suite_task
from focusvla.simulation.rendering import select_rendering_back_end
from focusvla.suites import protocol

RULES = protocol("libero_vla_eval")
TASKS = ("libero_object:2", "libero_goal:0", "libero_spatial:4", "libero_10:3")


@dataclass(frozen=True)
class Episode:
    """One episode as it was played."""

    success: bool
    actions: np.ndarray
    """(steps, 7), the gripper at -1 or 1, as LIBERO takes it."""
    states: np.ndarray
    """(steps, 8) after each action."""

    def until(self, steps: int) -> "Episode":
        """Its first steps."""
        return Episode(self.success and len(self.actions) <= steps, self.actions[:steps], self.states[:steps])


def play_in_focusvla(checkpoint: Path, suite: str, task: int, trials: int) -> list[Episode]:
    """Episodes of `focusvla evaluate`, by trial."""
    config = EvaluationConfig(
        suites=(suite,), tasks=(task,), trials=trials, protocol=RULES.name, videos=False, workers=1
    )
    with tempfile.TemporaryDirectory() as temporary:
        results = evaluate(checkpoint_source(checkpoint), config, Path(temporary))
        episodes = {}
        for result in results:
            file = episode_file(Path(temporary), "trajectories", PlannedEpisode.of(result))
            kept = read_trajectory(file)
            actions = kept["actions"]
            actions[:, 6] = np.where(actions[:, 6] < 0, -1, 1)
            episodes[result.trial] = Episode(result.success, actions, kept["states"][1:])
    return [episodes[trial] for trial in range(trials)]


def play_in_vla_eval(checkpoint: Path, suite: str, task: int, trials: int, max_steps: int) -> list[Episode]:
    """Episodes of vla-eval's own benchmark, by trial."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with _server(checkpoint, folder) as url:
            config = {
                "server": {"url": url},
                "output_dir": str(folder / "results"),
                "benchmarks": [
                    {
                        "benchmark": "vla_eval.benchmarks.libero.benchmark:LIBEROBenchmark",
                        "mode": "sync",
                        "tasks": [suite_task(suite, task).instruction],
                        "episodes_per_task": trials,
                        "max_steps": max_steps,
                        "params": {"suite": suite, "env_seed": RULES.environment_seed},  # else the server's
                    }
                ],
            }
            (folder / "config.yaml").write_text(json.dumps(config), "utf-8")
            command = [
                "-m",
                "vla_eval.cli.main",
                "run",
                "--config",
                str(folder / "config.yaml"),
                "--no-docker",
            ]
            run = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=folder)
            if run.returncode != 0:
                sys.exit(f"vla-eval ended with {run.returncode}:\n{run.stderr[-3000:]}")
        (recording,) = (folder / "results").glob("*.sqlite")
        return _read_recording(recording)


def _read_recording(file: Path) -> list[Episode]:
    episodes = {}
    with sqlite3.connect(file) as connection:
        for trial, status, *session in connection.execute(
            "SELECT episode_id, status, sid, eid FROM episode_results"
        ).fetchall():
            steps = [
                json.loads(fields)
                for (fields,) in connection.execute(
                    "SELECT fields FROM step_rows WHERE sid = ? AND eid = ? ORDER BY step_id", session
                )
            ]
            steps = [step for step in steps if "action" in step]
            actions, states = (np.array([step[name] for step in steps]) for name in ("action", "state"))
            episodes[trial] = Episode(status == "success", actions, states)
    return [episodes[trial] for trial in sorted(episodes)]


@contextmanager
def _server(checkpoint: Path, folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "focusvla", "serve-vla-eval", str(checkpoint), "--port", str(port)]
    log = folder / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"focusvla serve-vla-eval did not start:\n{log.read_text('utf-8')}")
            time.sleep(0.2)
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except OSError:
        return False


def main() -> None:
    """Play, compare, print a line an episode and the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS, metavar="SUITE:TASK")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument(
        "--max-steps", type=int, default=0, help="how much of an episode; 0 means the protocol's"
    )
    arguments = parser.parse_args()
    checkpoint = open_checkpoint(arguments.checkpoint).folder
    select_rendering_back_end()  # for vla-eval as well
    figures = {"episodes": 0, "equal": 0, "action_difference": 0.0, "state_difference": 0.0}
    for name in arguments.tasks:
        suite, task = name.split(":")
        max_steps = arguments.max_steps or RULES.max_steps_of(suite)
        ours = play_in_focusvla(checkpoint, suite, int(task), arguments.trials)
        theirs = play_in_vla_eval(checkpoint, suite, int(task), arguments.trials, max_steps)
        for trial, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            our = our.until(max_steps)
            steps = min(len(their.actions), len(our.actions))
            action = float(np.abs(their.actions[:steps] - our.actions[:steps]).max())
            state = float(np.abs(their.states[:steps] - our.states[:steps]).max())
            same_end = their.success == our.success and len(their.actions) == len(our.actions)
            figures["episodes"] += 1
            figures["equal"] += same_end and action == state == 0
            figures["action_difference"] = max(figures["action_difference"], action)
            figures["state_difference"] = max(figures["state_difference"], state)
            print(
                f"{name}, trial {trial}: focusvla {_outcome(our)}; vla-eval {_outcome(their)}; actions differ by "
                f"{action:.2g}, states by {state:.2g}",
                flush=True,
            )
    print(json.dumps(figures))


def _outcome(episode: Episode) -> str:
    return f"{'success' if episode.success else 'no success'} after {len(episode.actions)}"


if __name__ == "__main__":
    main()
