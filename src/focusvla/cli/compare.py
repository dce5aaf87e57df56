"""Which of two presets learns faster."""

from pathlib import Path
from typing import Annotated

import tyro

from focusvla.cli.output import AsJson, for_people, say, say_json
from focusvla.cli.overrides import NO_OVERRIDES, OverrideFlags, changed
from focusvla.cli.training import DataChoice, PeriodicEvaluation, run_training
from focusvla.errors import ConfigurationError

_NO_EVALUATION = PeriodicEvaluation()


def compare(
    first: tyro.conf.Positional[str],
    second: tyro.conf.Positional[str],
    data: Annotated[DataChoice, tyro.conf.arg(name="")],
    output: Path,
    seeds: tuple[int, ...] = (0,),
    target: float | None = None,
    overrides: OverrideFlags = NO_OVERRIDES,
    periodic: Annotated[PeriodicEvaluation, tyro.conf.arg(name="")] = _NO_EVALUATION,
    as_json: AsJson = False,
) -> None:
    """Train two presets on the same data, in the same order, and compare their steps.

    Example: focusvla compare mini mini_mixed --data data/object --output compare --evaluate-every 600

    Writes comparison.json, .md and .svg: success against steps, as the paper's Fig. 7, or the validation loss if nothing
    is evaluated. Interrupted, the same command goes on where it stopped. With --json, what comparison.json holds:
    {"measure", "target", "speedup", "presets": {NAME: {"mean_steps_to_target", "runs": [{"seed", "steps_to_target",
    "points": [[step, value]]}]}}}; null where the target is not reached.

    Args:
        first: Name of a preset.
        second: Name of the one to compare it with.
        data: What both learn from.
        output: Folder of the runs, one a preset and seed, and of the comparison.
        seeds: Each preset is trained once with each.
        target: Success rate or loss to reach; not given, the worst of the runs' best.
        overrides: What to change in both presets.
        periodic: Evaluation in the simulator on the way.
    """
    from focusvla.presets import preset as find_preset
    from focusvla.visualization.learning_curves import Comparison, LearningCurve

    training = overrides.get("training", {})
    if first == second or not seeds or len(set(seeds)) < len(seeds) or "seed" in training:
        raise ConfigurationError(
            f"compare: expected two presets and each seed once in `seeds`, got {first!r}, {second!r}, seeds={seeds}, "
            f"seed={training.get('seed')}."
        )
    for name in (first, second):
        share = changed(find_preset(name).training, training).validation_share
        if not (share or periodic.evaluate_every):
            raise ConfigurationError(
                f"compare: expected something to measure of {name}, which holds no episodes out, got none. Give "
                "--validation-share 0.05, or --evaluate-every."
            )
    curves: dict[str, list[LearningCurve]] = {first: [], second: []}
    with for_people(as_json):
        for seed in seeds:
            for name, found in curves.items():
                run = output / f"{name}-seed-{seed}"
                given = overrides | {"training": training | {"seed": seed}}
                run_training(find_preset(name), data, run, given, label=run.name, periodic=periodic)
                found.append(LearningCurve.of(run, seed))
        comparison = Comparison.of(curves, target)
        comparison.write(output)
        say(comparison.to_markdown())
        say(f"comparison: {output / 'comparison.svg'}")
    if as_json:
        say_json(comparison.to_dict())
