"""Evaluation of a training's checkpoints, in a process beside the training that never waits for it before its end."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from focusvla.checkpoint import WEIGHTS, checkpoint_step
from focusvla.child_commands import start_command, wait_for
from focusvla.cli.training import PeriodicEvaluation
from focusvla.config import EvaluationConfig
from focusvla.data.episodes import EpisodeSource
from focusvla.devices import GB, choose_device, free_memory
from focusvla.errors import FocusVLAError

_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_", "ACCELERATE_")
"""What begins the names of the variables that would make the process beside one of the training's."""
_GPU_BYTES_BESIDE_WEIGHTS = 3 * GB
"""What an evaluation takes of a GPU besides its policy: the context, kernels' workspaces, states of a batch."""


def checked(periodic: PeriodicEvaluation, source: EpisodeSource, chunk_length: int) -> PeriodicEvaluation:
    """With the suites, and their tasks if these are the same, that the data show, where none are named; what would fail
    after the first checkpoint fails here.

    Raises:
        ConfigurationError: no suite, or several, fit the data, or a policy of them cannot be evaluated so.
        SpecMismatchError: it is for another environment.
    """
    from focusvla.data.mixture import statistics_by_part
    from focusvla.evaluation.evaluate import require_evaluable
    from focusvla.evaluation.parts import choose_parts

    evaluation = _completed(periodic.evaluation, source)
    require_evaluable(source.spec, chunk_length, evaluation)
    choose_parts(statistics_by_part(source).parts, evaluation.suites, evaluation.statistics)
    return replace(periodic, evaluation=evaluation)


def described(periodic: PeriodicEvaluation) -> str:
    """When it is and how much, in a sentence."""
    from focusvla.evaluation.agenda import plan_episodes
    from focusvla.suites import protocol_of

    evaluation = periodic.evaluation
    episodes = len(plan_episodes(evaluation, protocol_of(evaluation.suites, evaluation.protocol)))
    tasks = f", tasks {' '.join(map(str, evaluation.tasks))}" if evaluation.tasks else ""
    return (
        f"evaluation: {episodes} episodes of {', '.join(evaluation.suites)}{tasks} every "
        f"{periodic.evaluate_every} steps, beside the training"
    )


def _completed(evaluation: EvaluationConfig, source: EpisodeSource) -> EvaluationConfig:
    from focusvla.evaluation.data_suites import tasks_of_data

    if evaluation.suites:
        return evaluation
    found = tasks_of_data(source)
    alike = len(set(found.values())) == 1
    tasks = evaluation.tasks or (next(iter(found.values())) if alike else ())
    return replace(evaluation, suites=tuple(found), tasks=tasks)


@dataclass
class Evaluations:
    """Of one run's checkpoints, one at a time and in their order; a context manager that ends what is not finished."""

    output: Path
    """The training run."""
    steps: int
    """Of the whole training; what it ends with is evaluated."""
    periodic: PeriodicEvaluation
    """With suites."""
    device: torch.device
    """The training's."""
    on_remark: Callable[[str], None]
    _queue: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _ended: bool = field(default=False, init=False)

    def __enter__(self) -> "Evaluations":
        return self

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._ended = True
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
        self._queue.shutdown(cancel_futures=True)

    def begin(self, checkpoint: Path) -> Future[dict[str, Any]] | dict[str, Any]:
        """The success rate of a checkpoint once it is known, if it is its turn; nothing if it cannot be had, which is
        remarked on."""
        step = checkpoint_step(checkpoint)
        every = self.periodic.evaluate_every
        if not every or (step % every and step < self.steps):
            return {}
        device = self._device_with_room(checkpoint)
        return self._queue.submit(self._evaluate, checkpoint, step, device)

    def _device_with_room(self, checkpoint: Path) -> str:
        """The training's GPU if the training leaves room on it even at its peak, else the CPU."""
        asked = self.periodic.evaluation.device
        if asked != "auto":
            return asked
        if self.device.type != "cuda":
            return str(self.device)
        torch.cuda.empty_cache()
        free = free_memory(self.device) or 0
        will_take = torch.cuda.max_memory_reserved(self.device) - torch.cuda.memory_reserved(self.device)
        needed = (checkpoint / WEIGHTS).stat().st_size + _GPU_BYTES_BESIDE_WEIGHTS
        if free - will_take >= needed:
            return str(self.device)
        self.on_remark(
            f"evaluation: {self.device} has {max(free - will_take, 0) / GB:.1f} GB beside the training, of "
            f"{needed / GB:.1f} GB needed: the policy answers on the CPU. Lower --memory-gb to make "
            "room, or name another GPU with --evaluation.device."
        )
        return "cpu"

    def _evaluate(self, checkpoint: Path, step: int, device: str) -> dict[str, Any]:
        from focusvla.evaluation.results import clean_results, read_results, success_rate

        results = self.output / "evaluations" / checkpoint.name
        log = results.with_suffix(".log")
        evaluation = replace(
            self.periodic.evaluation,
            device=device,
            workers=self.periodic.evaluation.workers or max(1, (os.cpu_count() or 1) // 2),
        )
        command = [
            "evaluate",
            "--checkpoint",
            checkpoint,
            "--output",
            results,
            *flags(evaluation, EvaluationConfig()),
        ]
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as file:
                with self._lock:
                    if self._ended:
                        return {}
                    self._process = start_command(
                        list(map(str, command)),
                        file,
                        {k: v for k, v in os.environ.items() if not k.startswith(_OF_TORCHRUN)},
                    )
                code = wait_for(self._process)
            if self._ended:
                return {}
            if code:
                said = log.read_text("utf-8", "replace").strip().splitlines() or [f"exit code {code}"]
                self.on_remark(
                    f"evaluation after step {step} failed, and the training goes on: {said[-1]} (see {log})"
                )
                return {}
            rate = success_rate(clean_results(read_results(results / "results.jsonl")))
        except (OSError, FocusVLAError) as error:
            self.on_remark(f"evaluation after step {step} failed, and the training goes on: {error}")
            return {}
        self.on_remark(f"evaluation after step {step}: {rate}")
        return {"success_rate": rate.rate, "successes": rate.successes, "episodes": rate.episodes}


def flags(config: Any, default: Any, prefix: str = "") -> list[str]:
    """What to type for the fields of a configuration that are not `default`'s."""
    typed: list[str] = []
    for each in fields(config):
        value, usual = getattr(config, each.name), getattr(default, each.name)
        name = f"{prefix}{each.name.replace('_', '-')}"
        if is_dataclass(value):
            typed += flags(value, usual, f"{name}.")
        elif value == usual:
            continue
        elif isinstance(value, bool):
            head, _, last = name.rpartition(".")
            typed.append(f"--{head}{'.' if head else ''}{'' if value else 'no-'}{last}")
        else:
            typed += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return typed


def device_of_training(name: str) -> torch.device:
    """The main process's."""
    device = choose_device(name)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if device.type == "cuda" else device
