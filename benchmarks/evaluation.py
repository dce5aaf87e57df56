"""How much faster a policy is evaluated than with the benchmark's own loop, on the same actions.

LIBERO-Object episodes of about 95 steps, solved by the scripted expert, are played again with its recorded actions. The
reference is the benchmark's `env.step` in one process, both cameras drawn at 256 px at every step. Ours is what
`focusvla evaluate` runs: players on all cores, one policy that answers them, both cameras at 256 px where the policy is
asked, every 8 actions. Episodes per minute count resets and settling on both sides; the first episode of each process
is left out, since it builds the environment. One episode is also timed in one process through both loops, alternating,
without its reset; both must end in the same state and picture, to the last bit.

With `--checkpoint RUN` a policy that looks plays instead: the whole command `focusvla evaluate`, imports and builds of
environments included, over all tasks of `--suites`, `--trials` each. `--profile` prints what its episodes waited for.

With `--vla-eval-python` such episodes are also played through the evaluation harness vla-eval, from reset to success
(`peer_vla_eval.py` says what is compared).

    python benchmarks/evaluation.py [--vla-eval-python PATH] [--quick]
    python benchmarks/evaluation.py --checkpoint RUN [--suites libero_goal ...] [--trials 5] [--profile] [--quick]

The last line is a JSON object: `speedup_over_reference_loop` is the ratio of episodes per minute, `one_process_speedup`
that of one episode's seconds, `speedup_over_vla_eval` that against vla-eval with one playing process on each side;
`player_mib` and `policy_mib` are the greatest memory of a process. With `--checkpoint` it has
`whole_command_episodes_per_minute`, `seconds` of the command, and `seconds_by_activity`, summed over episodes.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("LP_NUM_THREADS", "1")  # software rendering on one core, for both sides

import numpy as np
from peer_vla_eval import INSTRUCTIONS, compare, require_versions
from replay import CHUNK, RecordedPolicy, Recorder, Replay

from focusvla.config import EvaluationConfig
from focusvla.demonstrations.experts import ScriptedExpert
from focusvla.evaluation.evaluate import evaluate
from focusvla.evaluation.policies import PolicySource
from focusvla.evaluation.results import EpisodeResult
from focusvla.simulation.environment import suite_task
from focusvla.simulation.libero import CAMERAS, HOLD_ACTION, LiberoEnvironment
from focusvla.simulation.libero_tasks import bddl_file, quietly
from focusvla.suites import Start
from focusvla_client import rollout

TASK, INIT_STATE, IMAGE_SIZE = 2, 1, 256
SUITES = ["libero_object", "libero_spatial", "libero_goal", "libero_10"]
FULL = {"repeats": 3, "timed_episodes": 2}
QUICK = {"repeats": 1, "timed_episodes": 1, "max_steps": 2 * CHUNK}  # the first two chunks of each episode


class Started(LiberoEnvironment):
    """An environment that can be reset before an episode is timed: `rollout` starts it at None."""

    def reset(self, start: Start | None) -> None:
        """Begin an episode, or go on where the environment is."""
        if start is not None:
            super().reset(start)


def reference_episode(
    environment, init_state: np.ndarray, actions: list[np.ndarray]
) -> tuple[float, float, np.ndarray, dict[str, np.ndarray]]:
    """Seconds of the reset and of the episode, final joint positions and last observation, through the benchmark's own
    stepping."""
    with quietly():
        started = time.perf_counter()
        environment.reset()
        environment.set_init_state(init_state)
        for _ in range(10):
            environment.step(HOLD_ACTION.tolist())
        seen: dict[str, np.ndarray] = {}
        began = time.perf_counter()
        for action in actions:
            seen, _, done, _ = environment.step(np.asarray(action, np.float64).tolist())
            if done:
                break
    ended = time.perf_counter()
    return began - started, ended - began, environment.sim.data.qpos.copy(), seen


def our_episode(environment: LiberoEnvironment, actions: list[np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Seconds of the reset and of the episode through `rollout`, and the final joint positions."""
    began = time.perf_counter()
    environment.reset(Start(init_state=INIT_STATE))
    reset = time.perf_counter() - began
    environment.observe(list(CAMERAS))  # opens the renderer
    began = time.perf_counter()
    result = rollout(environment, Replay(actions), None, max_steps=len(actions), actions_per_inference=CHUNK)
    assert result.success
    return reset, time.perf_counter() - began, environment.scene.data.qpos.copy()


def record(environment: Started, init_state: int) -> list[np.ndarray]:
    """The scripted expert's actions from an init state to success."""
    recorder = Recorder()
    rollout(
        environment,
        ScriptedExpert(environment),
        Start(init_state=init_state),
        max_steps=280,
        actions_per_inference=1,
        observers=[recorder],
    )
    return recorder.actions


def evaluated_episodes(recorded: list[list[np.ndarray]]) -> dict[str, float]:
    """Episodes a minute of `evaluate` on all cores, and what its processes take at most."""
    source = PolicySource(
        RecordedPolicy, ([np.stack(actions) for actions in recorded], IMAGE_SIZE), "recorded"
    )
    config = EvaluationConfig(tasks=(TASK,), trials=len(recorded), videos=False)
    players = os.cpu_count() or 1
    ended: list[float] = []
    memory: list[float] = []

    def on_progress(done: int, total: int, result: EpisodeResult | None, remark: str) -> None:
        if result is not None:
            ended.append(time.perf_counter())
            assert result.success, "a recorded episode succeeds again"
        if done == total:
            memory.extend(children_mib())

    with tempfile.TemporaryDirectory() as folder:
        evaluate(source, config, Path(folder) / "results", on_progress)
    policy, *peaks = memory  # the policy is started first
    return {
        "episodes_per_minute": 60 * (len(ended) - players) / (ended[-1] - ended[players - 1]),
        "player_mib": max(peaks),
        "policy_mib": policy,
    }


def whole_command(checkpoint: Path, suites: list[str], trials: int, tasks: list[int]) -> dict[str, Any]:
    """Time `focusvla evaluate` as a user starts it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "focusvla", "evaluate", "--checkpoint", str(checkpoint), "--json"]
        command += ["--output", f"{folder}/results", "--suites", *suites, "--trials", str(trials)]
        command += ["--tasks", *map(str, tasks)] if tasks else []
        began = time.monotonic()
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - began
    told = json.loads(ended.stdout)
    episodes = told["success"]["episodes"]
    return {
        "whole_command_episodes_per_minute": round(60 * episodes / seconds, 2),
        "episodes": episodes,
        "successes": told["success"]["successes"],
        "seconds": round(seconds, 1),
        "seconds_by_activity": told["pace"]["seconds_by_activity"],
        "suites": suites,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def children_mib() -> list[float]:
    """Greatest resident memory so far of each process that this one started, oldest first."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"spawn_main" not in (path / "cmdline").read_bytes():
                continue
            status = dict(line.split(":", 1) for line in (path / "status").read_text().splitlines())
            if int(status["PPid"]) == os.getpid():
                found[int(path.name)] = int(status["VmHWM"].split()[0]) / 1024
    return [found[pid] for pid in sorted(found)]


def main() -> None:
    """Time both loops and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one repeat, under a minute")
    parser.add_argument("--vla-eval-python", type=Path, help="of a virtual environment with vla-eval")
    parser.add_argument("--checkpoint", type=Path, help="of a run or a checkpoint of LIBERO")
    parser.add_argument("--suites", nargs="+", default=SUITES)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="a table of what episodes waited for")
    arguments = parser.parse_args()
    if arguments.checkpoint:
        quick = (
            (arguments.suites[:1], 2, [0, 1]) if arguments.quick else (arguments.suites, arguments.trials, [])
        )
        figures = whole_command(arguments.checkpoint, *quick)
        if arguments.profile:
            print("| activity | seconds an episode |\n|---|---|")
            for activity, seconds in figures["seconds_by_activity"].items():
                print(f"| {activity} | {seconds / figures['episodes']:.2f} |")
        print(json.dumps(figures))
        return
    repeats = 1 if arguments.quick else 5
    if arguments.vla_eval_python:
        require_versions(arguments.vla_eval_python)
    task = suite_task("libero_object", TASK)
    ours = Started(task, IMAGE_SIZE)
    actions = record(ours, INIT_STATE)
    recorded = [record(ours, init_state) for init_state in range(4 if arguments.quick else 12)]
    with quietly():
        from libero.libero.envs import OffScreenRenderEnv

        reference = OffScreenRenderEnv(
            bddl_file_name=bddl_file(task), camera_heights=IMAGE_SIZE, camera_widths=IMAGE_SIZE
        )
        reference.seed(0)
    our_episode(ours, actions)  # warm-up
    times: dict[str, list[float]] = {"reference_reset": [], "reference": [], "ours": [], "reset": []}
    for repeat in range(repeats):
        ours.close()  # the benchmark frees its drawing context at a reset, and would free what is in ours
        reference_reset, seconds, expected, seen = reference_episode(
            reference, ours._init_states[INIT_STATE], actions
        )
        times["reference"].append(seconds)
        times["reference_reset"].append(reference_reset)
        reset, seconds, found = our_episode(ours, actions)
        times["ours"].append(seconds)
        times["reset"].append(reset)
        assert (found == expected).all(), "the two loops left each other"
        for name, image in ours.observe(list(CAMERAS)).images.items():
            assert (image == seen[f"{CAMERAS[name]}_image"][::-1, ::-1]).all(), (
                "the two loops saw different things"
            )
        print(
            f"repeat {repeat + 1}: reference {times['reference'][-1]:.2f} s, ours {seconds:.2f} s", flush=True
        )
    ours.close()
    with quietly():
        reference.close()
    ours_at_scale = evaluated_episodes(recorded)
    peer: list[dict[str, Any]] = []
    if arguments.vla_eval_python:
        scale = QUICK if arguments.quick else FULL
        for processes in (1,) if arguments.quick else (1, 2):
            comparison = compare(arguments.vla_eval_python, ours, processes=processes, **scale)
            peer.append(comparison.figures())
    else:
        print(
            "speedup_over_vla_eval is left out: it needs vla-eval in an environment of its own. To make it and run:\n"
            + INSTRUCTIONS
        )
    median = {name: statistics.median(values) for name, values in times.items()}
    reference_rate = 60 / (median["reference"] + median["reference_reset"])
    print(
        json.dumps(
            {
                "speedup_over_reference_loop": round(
                    ours_at_scale["episodes_per_minute"] / reference_rate, 2
                ),
                "one_process_speedup": round(median["reference"] / median["ours"], 2),
                **{name: round(value, 2) for name, value in ours_at_scale.items()},
                "reference_episodes_per_minute": round(reference_rate, 2),
                "reference_reset_seconds": round(median["reference_reset"], 3),
                "reference_seconds": round(median["reference"], 3),
                "ours_seconds": round(median["ours"], 3),
                "reset_seconds": round(median["reset"], 3),
                **({"speedup_over_vla_eval": peer[0]["speedup"], "vla_eval": peer} if peer else {}),
                "steps": len(actions),
                "repeats": repeats,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, {os.environ['MUJOCO_GL']}",
            }
        )
    )


if __name__ == "__main__":
    main()
