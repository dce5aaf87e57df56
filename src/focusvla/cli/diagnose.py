"""Which shortcuts a policy takes."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from focusvla.cli.evaluation import play
from focusvla.cli.output import AsJson, for_people, say, say_device, say_json
from focusvla.cli.progress import bar
from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError

if TYPE_CHECKING:
    from focusvla.evaluation.diagnosis import Diagnosis

_EVALUATION = EvaluationConfig(videos=False)


def diagnose(
    checkpoint: tyro.conf.Positional[Path | None] = None,
    policy: str = "",
    data: tuple[str, ...] = (),
    output: Path | None = None,
    config: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = _EVALUATION,
    as_json: AsJson = False,
) -> None:
    """Keep from a policy what it should need, and see what it loses.

    Example: focusvla diagnose runs/mini --data data/object --output results/diagnosis

    With `data`, by its error on held-out episodes; with `output`, by its success when played. With --json:
    {CONTROL: {"l1": MEAN, "l1_difference": MEAN, "success": RATE}}, CONTROL as in results.jsonl, MEAN {"mean",
    "interval_95", "frames", "episodes"}, RATE as of `evaluate`.

    Args:
        checkpoint: A checkpoint, a run (its newest), or an installed one's name.
        policy: Or another, as of `evaluate`, with `output` alone.
        data: Its training data; of a mixture a part, or all if joint.
        output: Folder of the episodes to play.
        config: Which episodes, under all controls if none are named.
    """
    from focusvla.checkpoint import open_checkpoint
    from focusvla.data.formats.opening import open_source
    from focusvla.data.mixture import open_mixture
    from focusvla.evaluation.diagnosis import Diagnosis, controls_of, measure_action_errors, part_of_data
    from focusvla.evaluation.parts import choose_parts
    from focusvla.policy import load_policy

    if not data and output is None:
        raise ConfigurationError(
            "diagnose: expected --data, --output or both, got none. Say what to measure on."
        )
    if config.robustness is not None:
        raise ConfigurationError("robustness: expected none here, got --robustness. Use `focusvla evaluate`.")
    errors, results = None, []
    if checkpoint is None:
        _show(Diagnosis(None, _play_foreign(policy, data, output, config, as_json)), as_json)
        return
    if policy:
        raise ConfigurationError("diagnose: expected a checkpoint or --policy, got both.")
    opened = open_checkpoint(checkpoint)
    with for_people(as_json):
        statistics = opened.statistics
        part = None
        if output is not None or config.statistics:  # what does not fit is told before anything is measured
            part = next(iter(choose_parts(statistics.parts, config.suites, config.statistics).values()), None)
        source = None
        if data:
            source = open_mixture(
                [Path(each) for each in data], normalized_by="joint", open_source=open_source
            )
            part = part_of_data(statistics, source)
        loaded = load_policy(opened.folder, say_device(config.device), part, config.pictures)
        if source is not None:
            with bar("errors") as shown:
                errors = measure_action_errors(loaded, source, shown.update)
        if output is not None:
            config = replace(config, controls=config.controls or controls_of(loaded))
            results = play(opened.folder, output, config, "diagnosis")
    _show(Diagnosis(errors, results), as_json)


def _show(found: "Diagnosis", as_json: bool) -> None:
    if as_json:
        say_json(found.to_dict())
    else:
        say(found.to_markdown())


def _play_foreign(
    policy: str, data: tuple[str, ...], output: Path | None, config: EvaluationConfig, as_json: bool
):
    """The episodes of a policy that is no checkpoint, under the controls that need nothing of its inside."""
    from focusvla.evaluation.foreign import foreign_source

    if not policy:
        raise ConfigurationError("diagnose: expected a checkpoint or --policy, got neither.")
    if data or output is None:
        raise ConfigurationError(
            "diagnose: expected --output and no --data with --policy: only a checkpoint is measured on data."
        )
    with for_people(as_json):
        config = replace(config, controls=config.controls or ("language_blind", "vision_blind"))
        return play(foreign_source(policy, config), output, config, "diagnosis")
