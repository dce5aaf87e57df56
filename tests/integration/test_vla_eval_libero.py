# pyright: reportMissingImports=false
"""`libero_vla_eval` is what the harness vla-eval does: its LIBERO benchmark under its own episode loop.

vla-eval is not among the packages of `constraints.txt`, though it installs beside them: pip install -c constraints.txt
'.[libero,mini,vla-eval]' pytest, then pytest -m vla_eval.
"""

import asyncio
import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from focusvla.simulation.rendering import select_rendering_back_end
from focusvla.suites import protocol
from libero_harnesses import (
    TASKS,
    TRIALS,
    Episode,
    known_limits,
    play,
    require_equal,
    solving_actions,
    wild_actions,
)

pytestmark = [
    pytest.mark.vla_eval,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("vla_eval", "libero"))),
        reason="needs vla-eval: pip install -c constraints.txt '.[libero,mini,vla-eval]'",
    ),
    # Warnings of the harness and of what it imports are not ours to fix.
    pytest.mark.filterwarnings("default"),
]

RULES = protocol("libero_vla_eval")
CAMERAS = {"image": "agentview", "image2": "wrist"}


class Recorded:
    """The harness's connection to a model server that answers with recorded actions and keeps what it is shown."""

    def __init__(self, actions: np.ndarray):
        self._actions, self.played = actions, Episode()

    async def start_episode(self, info: Any) -> None:
        """Nothing."""

    async def act(self, shown: dict[str, Any]) -> dict[str, Any]:
        """The next action."""
        self.played.images.append({ours: shown["images"][theirs] for ours, theirs in CAMERAS.items()})
        self.played.states.append(shown["states"])
        return {"actions": self._actions[len(self.played.states) - 1]}

    async def end_episode(self, result: dict[str, Any]) -> None:
        """Keep how it went."""
        self.played.success = bool(result["metrics"]["success"])
        self.played.steps = result["steps"]


def play_in_vla_eval(
    suite: str, task: int, actions: Mapping[int, np.ndarray], max_steps: int | None = None
) -> dict[int, Episode]:
    """All trials up to the last one asked for, in order, as one process of the harness plays them; those without actions
    for one step only."""
    select_rendering_back_end()
    from vla_eval.benchmarks.libero.benchmark import LIBEROBenchmark
    from vla_eval.runners.sync_runner import SyncEpisodeRunner

    # `quat_no_antipodal` keeps the sign of quaternions, as everyone else does; all else is the harness's default.
    benchmark = LIBEROBenchmark(suite=suite, send_wrist_image=True, send_state=True, quat_no_antipodal=True)
    described = benchmark.get_tasks()[task]
    limit = max_steps or benchmark.get_metadata()["max_steps"]
    played = {}
    for trial in range(max(actions) + 1):
        connection = Recorded(actions.get(trial, np.zeros((1, 7), np.float32)))
        asyncio.run(
            SyncEpisodeRunner().run_episode(
                benchmark,
                {**described, "episode_idx": trial},
                connection,
                max_steps=limit if trial in actions else 1,
            )
        )
        played[trial] = connection.played
    benchmark.cleanup()
    return played


@pytest.mark.parametrize(("suite", "task"), TASKS)
def test_an_episode_is_vla_evals_whichever_was_played_before(suite, task):
    actions = {trial: wild_actions(trial, 6) for trial in TRIALS}
    ours = {
        trial: play(RULES, suite, task, trial, actions[trial], size=RULES.drawn_size, max_steps=6)
        for trial in TRIALS
    }
    theirs = play_in_vla_eval(suite, task, actions, max_steps=6)
    for trial, episode in ours.items():
        require_equal(episode, theirs[trial])
        assert episode.steps == 6


def test_success_comes_at_the_same_step():
    suite, task, trial = "libero_object", 0, 1
    actions = solving_actions(suite, task, RULES.start(suite, trial))
    ours = play(RULES, suite, task, trial, actions, size=RULES.drawn_size)
    assert ours.success
    require_equal(ours, play_in_vla_eval(suite, task, {trial: actions})[trial])


def test_steps_are_limited_as_there():
    from vla_eval.benchmarks.libero.benchmark import MAX_STEP_MAPPING

    assert known_limits(RULES, MAX_STEP_MAPPING) == RULES.max_steps
