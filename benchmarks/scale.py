"""How many episodes an evaluation can schedule and write down in a second: players that end each at once, in Ray.

The whole command runs, but the players are fakes whose episodes succeed when they begin; all else, from the agenda to the
results file, is the product's. Starting Ray and its processes is not counted.

    python benchmarks/scale.py [--players 64] [--episodes 100000] [--executor ray] [--quick]

The last line is a JSON object: `episodes_per_second`, those of the second and the last tenth, and the memory of this
process in MB.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from machine import rounded

from focusvla.config import EvaluationConfig
from focusvla.evaluation import scheduler
from focusvla.evaluation.episodes import PlannedEpisode, PlayedEpisode, PolicyTraits, Setting
from focusvla.evaluation.evaluate import evaluate
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.policies import PolicySource
from focusvla.evaluation.results import EpisodeResult
from focusvla.suites.libero import libero_spec

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
PROTOCOL = "libero_validation"
"""Its trials are as many as one likes."""


class AtOnce:
    """A player whose episodes have ended when they begin."""

    def begin(self, setting: Setting, planned: PlannedEpisode, stand_in: np.ndarray | None) -> PlayedEpisode:
        result = EpisodeResult(
            suite=planned.suite,
            task=planned.task,
            instruction="put it there",
            trial=planned.trial,
            condition=planned.condition,
            seed=planned.trial,
            success=True,
            steps=100,
            inferences=13,
            seconds=1.0,
            protocol=setting.protocol.name,
            protocol_revision=setting.protocol.revision,
            policy=setting.traits.identity,
            actions_per_inference=setting.actions_per_inference,
            error="",
            versions={},
        )
        return PlayedEpisode(result, {})


class Unasked:
    """The policy of such players."""

    def traits(self) -> PolicyTraits:
        return PolicyTraits(
            spec=libero_spec(256),
            cameras=("image",),
            chunk_length=8,
            identity=PolicyIdentity(weights="0" * 16),
            attends=False,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--players", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--executor", choices=("ray", "processes"), default="ray")
    parser.add_argument("--quick", action="store_true", help="8 players, 4000 episodes")
    arguments = parser.parse_args()
    players, episodes = (8, 4000) if arguments.quick else (arguments.players, arguments.episodes)
    if arguments.executor == "ray":
        import ray

        ray.init(num_cpus=players, log_to_driver=False)
    scheduler.EpisodePlayer = AtOnce
    process, marks = psutil.Process(), []
    tenth = max(1, episodes // 10)

    def mark(done: int, planned: int, result: EpisodeResult | None, remark: str) -> None:
        if result is not None and done % tenth == 0:
            marks.append((time.monotonic(), process.memory_info().rss / 1e6))
            print(f"{done}/{planned} episodes", flush=True)

    config = EvaluationConfig(
        suites=SUITES,
        protocol=PROTOCOL,
        trials=-(-episodes // 40),
        workers=players,
        executor=arguments.executor,
        videos=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        source = PolicySource(Unasked, (), "none", "cpu", {})
        evaluate(source, config, Path(folder) / "results", mark)
        size = (Path(folder) / "results" / "results.jsonl").stat().st_size
    rates = [tenth / (later - earlier) for (earlier, _), (later, _) in itertools.pairwise(marks)]
    whole = (len(marks) - 1) * tenth / (marks[-1][0] - marks[0][0])
    found = {
        "executor": arguments.executor,
        "players": players,
        "episodes": episodes,
        "episodes_per_second": whole,
        "of_the_second_tenth": rates[0],
        "of_the_last_tenth": rates[-1],
        "memory_mb_after_a_tenth": marks[0][1],
        "memory_mb_at_the_end": marks[-1][1],
        "results_bytes_an_episode": size / episodes,
    }
    print(
        json.dumps(
            {name: rounded(value) if isinstance(value, float) else value for name, value in found.items()}
        )
    )


if __name__ == "__main__":
    main()
