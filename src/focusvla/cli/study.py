"""Several designs, several trainings each: whether one is better than another."""

import contextlib
import os
import shlex
import time
import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from focusvla.cli.evaluation import evaluate
from focusvla.cli.output import AsJson, for_people, say, say_json
from focusvla.cli.overrides import changed
from focusvla.cli.parsing import parse
from focusvla.cli.progress import bar
from focusvla.cli.training import train
from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError, DataError, FocusVLAError

if TYPE_CHECKING:
    from focusvla.studies.plan import Row, Study

_FIELDS = ("question", "data", "train", "evaluate", "seeds", "rows", "claims")
_WORTH_SEEING = 0.06
"""About twice what the paper finds between mixed and cascaded attention."""
_OF_STUDY = ("--seed", "--output")


def study(
    file: tyro.conf.Positional[Path],
    output: Path,
    runs: Path | None = None,
    jobs: int = 0,
    ray_address: str = "",
    plan: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    as_json: AsJson = False,
) -> None:
    """Train and play the designs of a study, and say which of them differ.

    Example: focusvla study attention.toml --output studies/attention

    The file's `rows` are designs, each the arguments of `focusvla train`; `data`, `train` and `evaluate` are flags for
    all of them, `seeds` what each is trained with, `claims` what somebody has said of two rows. Writes study.html and
    study.json: success with intervals over trainings and starts, and whether each claim is supported, contradicted or
    open. Interrupted, the same command goes on; what fails is named, and the rest goes on. With --json, what study.json
    holds, or the plan.

    Args:
        file: The study, in TOML.
        output: Folder of the page, its numbers and the logs.
        runs: Folder of the trainings and their results, which several studies may share; OUTPUT/runs if not given.
        jobs: Trainings at once; 0 means one per GPU or, without any, per core.
        ray_address: Of a running Ray cluster whose hosts see the same folders, `auto` for the one this host belongs to
            (extra `ray`); empty for this host alone.
        plan: Only say what would be done, and which difference could be seen.
    """
    from focusvla.devices import num_gpus
    from focusvla.evaluation.agenda import plan_episodes
    from focusvla.evaluation.ray_actors import RaySystem
    from focusvla.storage import only_writer, replace_json
    from focusvla.studies.findings import find_out
    from focusvla.studies.runners import ActorRunner, LocalRunner
    from focusvla.studies.work import Progress, carry_out, slots_of
    from focusvla.suites import protocol_of
    from focusvla.visualization.study_page import write_study_page

    if jobs < 0:
        raise ConfigurationError(f"jobs: expected 0 or more, got {jobs}.")
    read = read_study(file)
    rules = protocol_of(read.evaluation.suites, read.evaluation.protocol)
    episodes = len(plan_episodes(read.evaluation, rules))
    trainings = read.trainings(runs or output / "runs")
    with contextlib.ExitStack() as held:
        slots, make_runner = slots_of(num_gpus(), len(os.sched_getaffinity(0)), jobs), LocalRunner
        if ray_address:
            system = RaySystem(ray_address)
            held.callback(system.close)
            slots = slots_of(system.num_gpus(), system.num_cores(), jobs, of_cluster=True)
            make_runner = partial(ActorRunner, system, min(system.num_gpus(), 1))
        planning = planned(read, episodes, len(slots))
        if plan and as_json:
            say_json(planning)
            return
        held.enter_context(for_people(as_json))
        for line in described(planning):
            say(line)
        if plan:
            return
        held.enter_context(only_writer(output, "study"))
        shown = held.enter_context(bar("study"))
        told: set[str] = set()
        began: tuple[float, float] | None = None

        def on_progress(progress: Progress) -> None:
            nonlocal began
            for name, problem in progress.problems.items():
                if name not in told:
                    told.add(name)
                    shown.say(f"{name} failed, and the rest goes on: {problem}")
            now = time.monotonic(), progress.fraction
            began = began or now
            note = f"{progress.finished} of {len(trainings)} trainings are played{_time_left(began, now)}"
            shown.update(round(1000 * progress.fraction), 1000, note)

        problems = carry_out(read, trainings, slots, output / "logs", on_progress, episodes, make_runner)
        found = find_out(read, trainings, problems, rules.name, episodes)
        replace_json(output / "study.json", found.to_dict())
        page = write_study_page(output / "study.html", found.to_dict())
        say(found.to_markdown())
        say(f"page: {page}")
    if as_json:
        say_json(found.to_dict())
    if found.missing:
        raise DataError(
            f"{len(found.missing)} part(s) of the study are missing: {'; '.join(found.missing)}. Mend them, and the same "
            "command goes on."
        )


def _time_left(first: tuple[float, float], last: tuple[float, float]) -> str:
    """By what was done since the command began; nothing in its first minute."""
    (began, before), (now, done) = first, last
    if now - began < 60 or done <= before:
        return ""
    return f", {(1 - done) / (done - before) * (now - began) / 3600:.1f} h left"


def planned(read: "Study", episodes: int, jobs: int) -> dict[str, Any]:
    """What would be done, and what it could show, JSON-ready."""
    from focusvla.evaluation.crossed import detectable_difference

    def seen(seeds: int) -> float:
        return detectable_difference(seeds, episodes, 0.5, spread_of_trainings=0.03, spread_of_starts=0.3)

    count = len(read.seeds)
    return {
        "question": read.question,
        "rows": [row.name for row in read.rows],
        "refused": read.refused,
        "seeds": list(read.seeds),
        "episodes": episodes,
        "at_once": jobs,
        "detectable_difference": min(seen(count), 1.0) if count > 1 else None,
        "seeds_for_six_points": next((n for n in range(2, 100) if seen(n) <= _WORTH_SEEING), None),
    }


def described(plan: Mapping[str, Any]) -> list[str]:
    """A plan in words."""
    rows, seeds, difference = len(plan["rows"]), len(plan["seeds"]), plan["detectable_difference"]
    lines = [
        plan["question"],
        *(
            f"row {name!r} cannot be built, and the rest goes on: {why}"
            for name, why in plan["refused"].items()
        ),
        f"{rows} rows x {seeds} seeds, each trained and played on {plan['episodes']} episodes; {plan['at_once']} at once",
    ]
    if difference is None:
        return [*lines, "one seed: no interval can be said, and every claim stays open"]
    found = f"a difference of {100 * difference:.0f} points" if difference < 1 else "no difference at all"
    return [
        *lines,
        f"seen in 80 of 100 such studies: {found}, if half succeed, seeds differ by 3 points and what a start is worth "
        f"by 30; {100 * _WORTH_SEEING:.0f} points with {plan['seeds_for_six_points'] or 'over 99'} seeds",
    ]


def read_study(path: Path) -> "Study":
    """What a study's file says, its flags checked as the commands would.

    Raises:
        ConfigurationError: it is no such file; a field, a flag or a claim's name is unknown.
    """
    from focusvla.studies.plan import Claim, Study, repeated

    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"study={path}: expected a TOML file, got {error}.") from error
    _require_fields(values, _FIELDS, ("data", "evaluate", "seeds", "rows"), f"study={path}")
    if not isinstance(values["rows"], dict):
        raise ConfigurationError(f"rows: expected a table of names and arguments, got {values['rows']!r}.")
    stated = values.get("claims", [])
    if not isinstance(stated, list) or not all(isinstance(each, dict) for each in stated):
        raise ConfigurationError(f"claims: expected tables, each under [[claims]], got {stated!r}.")
    shared = [*_flags(values, "data"), *_flags(values, "train")]
    rows, refused = [], {}
    for name, text in values["rows"].items():
        try:
            preset, *own = _split(text, f"rows.{name}") or [""]
            rows.append(_row(name, (preset, *shared, *own)))
        except FocusVLAError as error:
            refused[name] = " ".join(str(error).split())
    refused |= (again := repeated(rows))
    rows = [row for row in rows if row.name not in again]
    if not rows:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise ConfigurationError(f"study={path}: expected rows that can be built, got none ({reasons}).")
    evaluation = _flags(values, "evaluate")
    claims = []
    for number, claim in enumerate(stated):
        where = f"claims[{number}]"
        _require_fields(claim, ("better", "worse", "source", "target"), ("better", "worse"), where)
        texts = {name: _text(value, f"{where}.{name}") for name, value in claim.items() if name != "target"}
        claims.append(Claim(**texts, target=_number(claim.get("target"), f"{where}.target")))
    seeds = values["seeds"]
    if not isinstance(seeds, list) or not all(type(each) is int for each in seeds):
        raise ConfigurationError(f"seeds: expected a list of whole numbers, got {seeds!r}.")
    return Study(
        question=_text(values.get("question", ""), "question"),
        rows=tuple(rows),
        refused=refused,
        seeds=tuple(seeds),
        evaluation=_evaluation(evaluation),
        evaluation_arguments=tuple(evaluation),
        claims=tuple(claims),
    )


def _row(name: str, arguments: Sequence[str]) -> "Row":
    """What `focusvla train` would train, before it has seen the data.

    Raises:
        ConfigurationError: a flag is unknown, or its value is refused.
    """
    from focusvla.presets import preset
    from focusvla.studies.plan import Row

    if not arguments[0] or arguments[0].startswith("-"):
        raise ConfigurationError(f"expected a preset first, got {arguments[0]!r}")
    _require_none_of(arguments, _OF_STUDY)
    call: Any = parse("train", train, [*arguments, "--output", "run"])
    data = {field: value for field, value in vars(call.keywords["data"]).items() if field != "cache"}
    experiment = changed(preset(call.keywords["preset"]), call.keywords["overrides"])
    return Row(name=name, arguments=tuple(arguments), experiment=experiment, data=data)


def _evaluation(arguments: Sequence[str]) -> EvaluationConfig:
    _require_none_of(arguments, ("--checkpoint", "--policy", "--output", "--shard", "--num-shards"))
    call: Any = parse("evaluate", evaluate, [*arguments, "--checkpoint", "run", "--output", "results"])
    return call.keywords["config"]


def _require_none_of(arguments: Sequence[str], flags: Sequence[str]) -> None:
    for each in arguments:
        if each.split("=")[0] in flags:
            raise ConfigurationError(f"{each}: expected none, since the study gives it. Leave it out.")


def _require_fields(
    values: Mapping[str, Any], known: Sequence[str], needed: Sequence[str], where: str
) -> None:
    unknown, missing = set(values) - set(known), set(needed) - set(values)
    if unknown or missing:
        raise ConfigurationError(
            f"{where}: expected the fields {', '.join(known)}, "
            + (
                f"got {', '.join(sorted(unknown))} as well"
                if unknown
                else f"got no {', '.join(sorted(missing))}"
            )
            + "."
        )


def _flags(values: Mapping[str, Any], name: str) -> list[str]:
    return _split(values.get(name, ""), name)


def _split(value: object, name: str) -> list[str]:
    """Arguments as a shell reads them."""
    text = _text(value, name)
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{name}: expected arguments as in a shell, got {text!r} ({error})."
        ) from error


def _number(value: Any, name: str) -> float | None:
    if value is not None and type(value) not in (int, float):
        raise ConfigurationError(f"{name}: expected a number, got {value!r}.")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: expected text, got {value!r}.")
    return value
