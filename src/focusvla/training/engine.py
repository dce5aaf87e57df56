"""Where a model is computed: in one process or many, on one host or several, in which precision, in how many passes.

torchrun or `accelerate launch` starts the processes, accelerate tells which this one is. The whole model is inside the
wrapper, so that every gradient is reduced, and a gradient is that of the joined batch: a share's loss is divided by what
the whole batch counts, and shares need not be equal.
"""

import atexit
import hashlib
import math
import re
import sys
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState, is_initialized
from accelerate.utils import InitProcessGroupKwargs
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from focusvla.config import ExecutionConfig, ExperimentConfig
from focusvla.devices import choose_device, explained_device_errors, free_memory, taken_by_others
from focusvla.errors import ConfigurationError, MissingDependencyError
from focusvla.model.compilation import compiled_for_each_shape
from focusvla.model.focusvla import FocusVLA
from focusvla.training.memory import fit_device

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_LONGEST_WAIT = timedelta(hours=6)
"""For one process that encodes frames or evaluates in the simulator while the others wait."""


class Engine:
    """The processes that train together, and this one's part."""

    def __init__(self, execution: ExecutionConfig, precision: str, run: Path):
        """Join the processes that were started together; alone, be one of one."""
        self._execution = execution
        self._computes_in_bfloat16 = precision == "bfloat16"
        for tracker in execution.trackers:
            _require_installed(tracker)
        device = choose_device(execution.device)
        _forget_another_kind(device)
        self._accelerator = Accelerator(
            # Without being told so, accelerate lets each of torchrun's processes be alone where there is no accelerator.
            cpu=device.type == "cpu",
            log_with=list(execution.trackers) or None,
            project_dir=run / "tracking",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_LONGEST_WAIT)],
        )
        if execution.threads:
            torch.set_num_threads(execution.threads)
        self.device: torch.device = self._accelerator.device
        with self.explained_errors():
            torch.zeros(1, device=self.device)
        self.num_processes: int = self._accelerator.num_processes
        self.process: int = self._accelerator.process_index
        self.is_main: bool = self._accelerator.is_main_process
        if self.num_processes > 1:
            # A process that ends inside its group is now and then aborted (pytorch/pytorch#190489).
            atexit.register(self.leave)

    def leave(self) -> None:
        """Work with the other processes no more; what one still has to do alone, none waits for."""
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
            # Threads of gloo live on, and one that frees the last sum's tensors needs the interpreter, which may be about
            # to go.
            time.sleep(0.2)

    def fit(self, experiment: ExperimentConfig) -> ExperimentConfig:
        """The same experiment in passes for which the device of every process has memory; on a CPU as it is.

        Raises:
            ConfigurationError: there are none, or those that were chosen have none; the flags that mend it are named.
        """
        free = free_memory(self.device)
        if free is None:
            return experiment
        of_all: Any = self._accelerator.gather(torch.tensor([free], device=self.device))
        others = taken_by_others(self.device)
        fitting = fit_device(experiment, float(of_all.min()), self.num_processes, others)
        self._execution = fitting.execution
        return fitting

    def passes(self, batch_size: int) -> int:
        """How many times each process computes a part of a step's batch.

        A batch of 64 on 4 devices that hold 8 samples takes 2 passes; on 3 devices 3, of 7 or 8 samples.

        Raises:
            ConfigurationError: there are fewer samples than parts.
        """
        micro = self._execution.micro_batch_size or math.ceil(batch_size / self.num_processes)
        passes = math.ceil(batch_size / (self.num_processes * micro))
        if batch_size < self.num_processes * passes:
            raise ConfigurationError(
                f"batch_size={batch_size}: expected at least {self.num_processes * passes}, a sample for each of "
                f"{self.num_processes} processes in each of {passes} pass(es). Use fewer processes."
            )
        return passes

    def prepare(self, model: FocusVLA) -> nn.Module:
        """The module to call in place of `model`, whose parameters it shares; they are moved, and may be divided."""
        model.to(self.device)
        if self._computes_in_bfloat16:
            for parameter in model.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(torch.bfloat16)
        blocks = model.blocks()
        if self._execution.compiled:  # before recomputation, inside which nothing would be
            for block in blocks:
                block.forward = compiled_for_each_shape(block.forward)
        if self._execution.gradient_checkpointing:
            for block in blocks:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if self.num_processes == 1:
            return model
        if self._execution.parallelism == "ddp":
            return DistributedDataParallel(model, gradient_as_bucket_view=True)
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard  # half a second

        # Weights are gathered as they are: autocast casts them, and the model computes as with one process. Gathered in
        # bfloat16 they would bring it into norms and into the residual stream.
        policy = MixedPrecisionPolicy(cast_forward_inputs=False)
        for part in (*blocks, model):
            divided = fully_shard(part, mp_policy=policy)
            # Not left to the group: gloo took a mean for a sum up to torch 2.8 and said nothing.
            divided.set_force_sum_reduction_for_comms(True)
        return model

    def explained_errors(self) -> AbstractContextManager[None]:
        """Tells in one message, in the block, that the device has too little memory or is another process's."""
        return explained_device_errors(
            self.device,
            "give a smaller --micro-batch-size, --gradient-checkpointing, or with several GPUs --parallelism fsdp2",
        )

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the training's precision."""
        return (
            torch.autocast(self.device.type, torch.bfloat16) if self._computes_in_bfloat16 else nullcontext()
        )

    @contextmanager
    def gradients_of(self, module: nn.Module, is_last_pass: bool) -> Generator[None]:
        """Keep the gradients of a pass here, and reduce all passes' after the last one; those of divided weights after
        each, since whole ones may have no room.

        Reducing averages over the processes: multiply the loss by their number to get the sum.
        """
        if isinstance(module, DistributedDataParallel) and not is_last_pass:
            with module.no_sync():
                yield
            return
        yield

    def clip(self, model: nn.Module, max_norm: float) -> Float[Tensor, ""]:
        """Scale the gradients to a norm of at most `max_norm`, or leave them alone with 0; return the norm they had."""
        # Infinity scales by exactly 1.
        return full(nn.utils.clip_grad_norm_(model.parameters(), max_norm or math.inf, foreach=True))

    def sum(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Over all processes."""
        return self._accelerator.reduce(values, "sum")  # type: ignore[return-value]

    def first_on_host(self) -> AbstractContextManager[Any]:
        """One process of each host does what is in the block, then the others do."""
        return self._accelerator.local_main_process_first()

    def wait(self) -> None:
        """Until all processes are here."""
        self._accelerator.wait_for_everyone()

    def start_trackers(self, run: Path, configuration: dict[str, Any]) -> None:
        """Tell the trackers what is trained; a continued run goes on under its folder's name.

        Raises:
            ConfigurationError: one cannot be started.
        """
        trackers = self._execution.trackers
        if not trackers:
            return
        place = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:8]
        name = run.resolve().name
        identity = re.sub(r"[^\w-]+", "-", name, flags=re.ASCII)
        settings = {"wandb": {"name": name, "id": f"{identity}-{place}", "resume": "allow"}}
        try:
            self._accelerator.init_trackers("focusvla", _flat(configuration, text=True), settings)
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            raise ConfigurationError(
                f"trackers: {' and '.join(trackers)} cannot be started ({reason}). See to its key and network, for wandb "
                "with WANDB_API_KEY or WANDB_MODE=offline, or leave --trackers out."
            ) from error

    def track(self, values: dict[str, Any], step: int) -> None:
        """Pass metrics on to the trackers."""
        if self._execution.trackers:
            self._accelerator.log(_flat(values), step=step)

    def end_trackers(self) -> None:
        """Write what they still hold."""
        if self._execution.trackers:
            self._accelerator.end_training()


def _forget_another_kind(device: torch.device) -> None:
    """Accelerate keeps a process's first device: a run on another kind of it would be refused, or be on the first."""
    if not is_initialized():
        return
    known = PartialState()
    if known.num_processes == 1 and known.device is not None and known.device.type != device.type:
        # Nothing public forgets it.
        AcceleratorState._reset_state(reset_partial_state=True)  # pyright: ignore[reportPrivateUsage]


def _is_divided(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether processes hold a part of it each. Who has not imported that class, half a second, has none of it."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, detached and sharing its memory."""
    detached = tensor.detach()
    return detached.to_local() if _is_divided(detached) else detached


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be divided; then all processes have to ask for it."""
    return tensor.full_tensor() if _is_divided(tensor) else tensor


def assign(target: Tensor, values: Tensor) -> None:
    """Copy the whole `values` into a tensor that may be divided, into each process its part."""
    if _is_divided(target):
        from torch.distributed.tensor import distribute_tensor

        values = distribute_tensor(values.to(target.device), target.device_mesh, target.placements)
    local(target).copy_(local(values))


def _flat(values: dict[str, Any], prefix: str = "", text: bool = False) -> dict[str, Any]:
    """Nested dictionaries and lists with their keys joined by slashes; trackers take no others."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}/", text)
        elif isinstance(value, list | tuple) and not text:
            found |= {f"{prefix}{key}/{index}": each for index, each in enumerate(value)}
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, int | float | str) else str(value)
    return found


def _require_installed(tracker: str) -> None:
    if find_spec(tracker) is None:
        raise MissingDependencyError(tracker, tracker, f"trackers={tracker!r}")
