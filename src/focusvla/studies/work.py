"""Carrying a study out: a process for each training and then for its evaluation, as many at once as there is room."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from focusvla.checkpoint import checkpoint_folder, checkpoint_steps
from focusvla.evaluation.results import EpisodeResult, read_results
from focusvla.storage import complete_lines
from focusvla.studies.plan import Study, Training
from focusvla.studies.runners import LocalRunner, Runner

_SHARE_OF_TRAINING = 0.5
"""Of a training's and its evaluation's time together, for the time left while neither was timed."""
_SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where one training runs at a time."""

    variables: Mapping[str, str]
    """Of the environment, beside this process's own."""
    training_arguments: tuple[str, ...] = ()
    evaluation_arguments: tuple[str, ...] = ()


def slots_of(num_gpus: int, num_cores: int, num_jobs: int = 0, *, of_cluster: bool = False) -> list[Slot]:
    """One for each GPU with a share of the cores, or one for each core with one thread: threads that share a small
    model's operations wait for each other. `num_jobs` of them, if given. A cluster itself says which GPU is whose."""
    if num_gpus:
        workers = ("--workers", str(max(1, num_cores // num_gpus)))
        count = min(num_jobs or num_gpus, num_gpus)
        return [
            Slot(
                variables={} if of_cluster else {"CUDA_VISIBLE_DEVICES": str(gpu)},
                evaluation_arguments=workers,
            )
            for gpu in range(count)
        ]
    alone = Slot(
        variables={"OMP_NUM_THREADS": "1"},
        training_arguments=("--threads", "1"),
        evaluation_arguments=("--workers", "1"),
    )
    return [alone] * (num_jobs or num_cores)


@dataclass(kw_only=True)
class Progress:
    """How far a study is."""

    fraction: float
    finished: int
    """Trainings that are played to the end."""
    problems: dict[str, str] = field(default_factory=dict)
    """What went wrong, by the training's name."""


def carry_out(
    study: Study,
    trainings: Sequence[Training],
    slots: Sequence[Slot],
    logs: Path,
    on_progress: Callable[[Progress], None],
    expected_episodes: int,
    make_runner: Callable[[], Runner] = LocalRunner,
) -> dict[str, str]:
    """Train and play what is missing; what fails is returned, by the training's name, and the rest goes on.

    Stopped, the commands that run are told to stop, and the same call goes on.
    """
    free = [(slot, make_runner()) for slot in slots]
    runners = [runner for _, runner in free]
    lock, ended = threading.Lock(), threading.Event()
    problems: dict[str, str] = {}

    def do(training: Training) -> None:
        with lock:
            slot, runner = free.pop()
        try:
            log = logs / f"{training.folder.name}-*.log"
            said = "" if ended.is_set() else runner.run(commands(training, study, slot), slot.variables, log)
        finally:
            with lock:
                free.append((slot, runner))
        if not said and _share_done(training, expected_episodes) < 1:
            said = f"some episodes broke or are missing (see {training.results / 'results.jsonl'})"
        if said and not ended.is_set():
            problems[training.name] = said

    shares = dict.fromkeys((each.name for each in trainings), 0.0)

    def report() -> None:
        for each in trainings:
            if shares[each.name] < 1:  # what is finished is not read again
                shares[each.name] = _share_done(each, expected_episodes)
        done = sum(share >= 1 for share in shares.values())
        fraction = sum(shares.values()) / len(shares)
        on_progress(Progress(fraction=fraction, finished=done, problems=dict(problems)))

    report()
    missing = [each for each in trainings if shares[each.name] < 1]
    with ThreadPoolExecutor(len(slots)) as pool:
        futures = [pool.submit(do, training) for training in missing]
        try:
            while not all(each.done() for each in futures):
                report()
                ended.wait(_SECONDS_BETWEEN_LOOKS)
        except BaseException:
            ended.set()
            for runner in runners:
                runner.stop()
            pool.shutdown(cancel_futures=True)
            raise
    for each in futures:
        each.result()
    report()
    return problems


def commands(training: Training, study: Study, slot: Slot) -> list[list[str]]:
    """What is to be run for it, in order; finished parts notice that they are."""
    found = []
    steps = training.row.experiment.training.steps
    if checkpoint_steps(training.folder)[-1:] != [steps]:
        preset, *own = training.row.arguments  # which come last, and win
        of_training = ["--seed", str(training.seed), "--output", str(training.folder)]
        found.append(["train", preset, *of_training, *slot.training_arguments, *own])
    checkpoint = checkpoint_folder(training.folder, steps)
    given = () if "--workers" in study.evaluation_arguments else slot.evaluation_arguments
    of_evaluation = ["--checkpoint", str(checkpoint), "--output", str(training.results), "--no-videos"]
    found.append(["evaluate", *of_evaluation, *study.evaluation_arguments, *given])
    return found


def results_of(training: Training) -> list[EpisodeResult]:
    """Those that ended; none before its evaluation begins."""
    path = training.results / "results.jsonl"
    return [each for each in read_results(path) if not each.error] if path.exists() else []


def _share_done(training: Training, expected_episodes: int) -> float:
    steps = training.row.experiment.training.steps
    played = len(results_of(training)) / expected_episodes
    learned = 1.0 if played else _last_step(training.folder / "metrics.jsonl") / steps
    return _SHARE_OF_TRAINING * min(learned, 1.0) + (1 - _SHARE_OF_TRAINING) * played


def _last_step(metrics: Path) -> int:
    if not metrics.exists():
        return 0
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - 65536))
        tail = file.read().decode("utf-8", "replace")
    lines = complete_lines(tail)
    return json.loads(list(lines)[-1])["step"] if lines else 0
