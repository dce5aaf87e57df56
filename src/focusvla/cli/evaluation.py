"""A checkpoint in the simulator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from focusvla.cli.output import AsJson, for_people, say, say_device, say_json
from focusvla.cli.progress import bar
from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError

if TYPE_CHECKING:
    from focusvla.evaluation.pace import Pace
    from focusvla.evaluation.policies import PolicySource

_EVALUATION = EvaluationConfig()


def evaluate(
    output: Path,
    checkpoint: Path | None = None,
    policy: str = "",
    config: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = _EVALUATION,
    as_json: AsJson = False,
) -> None:
    """Evaluate a checkpoint, or another policy, in the simulator.

    Example: focusvla evaluate --checkpoint runs/mini --output results/wide --protocol libero_wide

    Interrupted, the same command goes on with the episodes that are missing. With --json: {"results": FOLDER,
    "protocol", "success": RATE, "tasks": [{"suite", "task", "instruction", "success": RATE}], "broken": NUMBER,
    "robustness": TABLE, "paraphrases": [{"kind", "success": RATE, "pride"}], "perturbations": [{"axis", "success": RATE,
    "levels", "chosen", "missing"}]}, if the protocol disturbs "disturbed": {KIND: RATE, "closings_after": MEAN}; a RATE
    is {"successes", "episodes", "rate", "interval_95": [low, high]}, a TABLE as `focusvla tables` prints it.

    Args:
        output: Folder of the results: a JSON line per episode, videos.
        checkpoint: A checkpoint, a run (its newest), or an installed one's name.
        policy: Or another: websocket://HOST:PORT, MODULE:CLASS, lerobot:FOLDER.
        config: Which episodes.
    """
    from focusvla.evaluation.pace import Pace
    from focusvla.evaluation.paraphrases import read_paraphrases, render_paraphrases, score_paraphrases
    from focusvla.evaluation.perturbations import (
        chosen_plus_tasks,
        render_perturbations,
        score_perturbations,
    )
    from focusvla.evaluation.results import summarize
    from focusvla.evaluation.tables import render, table_of_robustness

    robustness, scores, perturbed, pace = None, [], [], Pace()
    with for_people(as_json):
        source = _source(checkpoint, policy, config)
        results = run_evaluation(source, output, config, pace=pace)
        if config.robustness is not None:
            robustness = table_of_robustness(results)
            say(render(robustness, "markdown"))
        if config.paraphrases:
            rows = read_paraphrases(config.paraphrases, config.tasks, config.paraphrase_sample)
            scores = score_paraphrases(results, rows)
            say(render_paraphrases(scores, len(rows)))
        if "plus" in (config.robustness or ()):
            perturbed = score_perturbations(results, chosen_plus_tasks(config))
            say(render_perturbations(perturbed))
    if as_json:
        table = robustness and robustness.to_dict()
        said = {"results": str(output), **summarize(results), "robustness": table, "pace": pace.to_dict()}
        said |= {"paraphrases": [each.to_dict() for each in scores]}
        say_json(said | {"perturbations": [each.to_dict() for each in perturbed]})


def _source(checkpoint: Path | None, policy: str, config: EvaluationConfig) -> "Path | PolicySource":
    if (checkpoint is None) == (not policy):
        got = "both" if policy else "neither"
        raise ConfigurationError(f"evaluate: expected either --checkpoint or --policy, got {got}.")
    if checkpoint is not None:
        return checkpoint
    from focusvla.evaluation.foreign import foreign_source

    return foreign_source(policy, config)


def play(
    policy: "Path | PolicySource",
    output: Path,
    config: EvaluationConfig,
    label: str,
    pace: "Pace | None" = None,
):
    """Evaluate a checkpoint or another policy with a progress bar; `pace` is told of what is played."""
    from focusvla.evaluation.evaluate import evaluate as run
    from focusvla.evaluation.pace import Pace
    from focusvla.evaluation.policies import source_of
    from focusvla.evaluation.results import EpisodeResult

    succeeded, pace = [0, 0], pace or Pace()

    with bar(label) as shown:

        def on_progress(done: int, total: int, result: EpisodeResult | None, remark: str) -> None:
            if result is not None:
                succeeded[0] += result.success
                succeeded[1] += 1
                pace.add(result)
            note = f"{succeeded[0]} of {succeeded[1]} succeeded, {pace}" if succeeded[1] else ""
            shown.update(done, total, note)
            if remark:
                shown.say(remark)

        source = source_of(policy, config) if isinstance(policy, Path) else policy
        if not source.is_foreign:
            say_device(source.device)
        return run(source, config, output, on_progress)


def run_evaluation(
    policy: "Path | PolicySource",
    output: Path,
    config: EvaluationConfig,
    label: str = "evaluation",
    pace: "Pace | None" = None,
):
    """Evaluate with a progress bar and a table; what `evaluate` and `quickstart` share."""
    from focusvla.evaluation.results import (
        clean_results,
        describe_disturbed,
        success_rate,
        success_rate_by_task,
    )
    from focusvla.suites import protocol_of

    results = play(policy, output, config, label, pace)
    clean = clean_results(results)
    rules = protocol_of(config.suites, config.protocol).name
    expert = expert_rates(rules)
    table = Table(
        *("suite", "task", "instruction", "success (Wilson 95 %)", *(["expert"] if expert else [])),
        title=", ".join(filter(None, [*config.suites, rules, str(config.chunks)])),
    )
    instructions = {(result.suite, result.task): result.instruction for result in clean}
    for (suite, task), rate in success_rate_by_task(clean).items():
        beside = [expert.get((suite, task), "-")] if expert else []
        table.add_row(suite, str(task), instructions[suite, task], str(rate), *beside)
    table.add_row("all", "", "", str(success_rate(clean)))
    say(table)
    if said := describe_disturbed(clean):
        say(said)
    broken = sum(bool(result.error) for result in results)
    if broken:
        say(
            f"{broken} episode(s) broke and are not counted; the same command plays them again. Their tracebacks are in "
            f"{output / 'results.jsonl'}"
        )
    return results


def expert_rates(protocol: str) -> dict[tuple[str, int], str]:
    """By suite and task, how often the scripted expert solves a protocol's starts, as text; empty if not measured."""
    from focusvla.suites import suites

    return {
        (suite, task): f"{solved}/{starts}"
        for suite, row in suites().items()
        for task, (solved, starts) in enumerate(row.expert_solves.get(protocol, ()))
    }
