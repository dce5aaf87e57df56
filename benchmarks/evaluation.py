"""How much faster an evaluated episode is than the benchmark's own loop, on the same actions.

One LIBERO-Object episode of about 110 steps, solved by the scripted expert, is played twice in one process, alternating:
through the benchmark's `env.step` with both cameras drawn at 256 px every step, and through `focusvla`'s `rollout` with
a chunk of 8 actions per observation, also at 256 px. Both follow the same trajectory to the last bit, which is checked.
Resets are timed apart; inference is left out of both.

With `--vla-eval-python` such episodes are also played through the evaluation harness vla-eval, from reset to success
(`peer_vla_eval.py` says what is compared).

    python benchmarks/evaluation.py [--vla-eval-python PATH] [--quick]

The last line is a JSON object; `speedup_over_reference_loop` is the ratio of the median episode times,
`speedup_over_vla_eval` that with one playing process on each side, `vla_eval` the figures behind it and those with two.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("LP_NUM_THREADS", "1")  # software rendering on one core, for both sides

import numpy as np
from peer_vla_eval import INSTRUCTIONS, compare, require_versions
from replay import CHUNK, Recorder, Replay

from focusvla.demonstrations.experts import ScriptedExpert
from focusvla.simulation.environment import Start
from focusvla.simulation.libero import CAMERAS, HOLD_ACTION, LiberoEnvironment, _quietly, libero_task
from focusvla_client import rollout

TASK, INIT_STATE, IMAGE_SIZE = 2, 1, 256
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
) -> tuple[float, np.ndarray, dict[str, np.ndarray]]:
    """Seconds, final joint positions and last observation of the episode through the benchmark's own stepping."""
    with _quietly():
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
    return time.perf_counter() - began, environment.sim.data.qpos.copy(), seen


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


def main() -> None:
    """Time both loops and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one repeat, under a minute")
    parser.add_argument("--vla-eval-python", type=Path, help="of a virtual environment with vla-eval")
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else 5
    if arguments.vla_eval_python:
        require_versions(arguments.vla_eval_python)
    task = libero_task("libero_object", TASK)
    ours = Started(task, IMAGE_SIZE)
    recorder = Recorder()
    rollout(
        ours,
        ScriptedExpert(ours),
        Start(init_state=INIT_STATE),
        max_steps=280,
        actions_per_inference=1,
        observers=[recorder],
    )
    with _quietly():
        from libero.libero.envs import OffScreenRenderEnv

        reference = OffScreenRenderEnv(
            bddl_file_name=task.bddl_file, camera_heights=IMAGE_SIZE, camera_widths=IMAGE_SIZE
        )
        reference.seed(0)
    our_episode(ours, recorder.actions)  # warm-up
    times: dict[str, list[float]] = {"reference": [], "ours": [], "reset": []}
    for repeat in range(repeats):
        ours.close()  # the benchmark frees its drawing context at a reset, and would free what is in ours
        seconds, expected, seen = reference_episode(
            reference, ours._init_states[INIT_STATE], recorder.actions
        )
        times["reference"].append(seconds)
        reset, seconds, found = our_episode(ours, recorder.actions)
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
    with _quietly():
        reference.close()
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
    print(
        json.dumps(
            {
                "speedup_over_reference_loop": round(median["reference"] / median["ours"], 2),
                "reference_seconds": round(median["reference"], 3),
                "ours_seconds": round(median["ours"], 3),
                "reset_seconds": round(median["reset"], 3),
                **({"speedup_over_vla_eval": peer[0]["speedup"], "vla_eval": peer} if peer else {}),
                "steps": len(recorder.actions),
                "repeats": repeats,
                "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, {os.environ['MUJOCO_GL']}",
            }
        )
    )


if __name__ == "__main__":
    main()
