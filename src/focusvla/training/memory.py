"""How much memory training takes on each device, before it is taken: counted, not measured.

The model is computed once, forward and backward, with tensors that have shapes and no memory: what autograd keeps for the
gradient is added up, and what the backward pass needs beside it, so that the count follows the model. In bfloat16 it is
computed as CUDA's autocast does, layer norm and softmax in float32. What cannot be counted has room in `reserve`.
"""

import functools
import math
import weakref
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from focusvla.config import ExecutionConfig, ExperimentConfig, ModelConfig, TrainingConfig
from focusvla.errors import ConfigurationError
from focusvla.model.focusvla import FocusVLA, absolute_errors
from focusvla.model.without_memory import as_if_on_cpu
from focusvla.training.promotion import PromotedAsOnCUDA
from focusvla.types import ModelInputs

GB = 10**9
CONTEXT = 0.6 * GB
"""A CUDA context with the code of torch's kernels."""
WORKSPACES = 0.3 * GB
"""What cuBLAS and cuDNN compute in: 32 MiB for a stream of the first on Hopper, as a convolution asks for the second."""
COMMUNICATION = 0.6 * GB
"""NCCL's channels to other processes."""
FRAGMENTATION = 0.08
"""Share of what is allocated that lies in blocks too small for what is asked next. Of tensors of few sizes, which come
again each step, torch's allocator loses a few hundredths."""
_NUM_TOKENS = 50
"""Of a prompt with an instruction."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on each device when they are most: at the end of a forward pass, or soon after it."""

    weights: int
    gradients: int
    moments: int
    average: int
    activations: int
    """Kept for the gradient by one pass."""
    temporaries: int
    """What the backward pass needs beside what is kept, when both are most together."""
    reserve: int
    """For what is not counted: the context, workspaces, communication, fragmentation."""
    samples: int
    """Of one pass."""
    passes: int

    @property
    def allocated(self) -> int:
        """Of all that is counted: what torch reports as its peak."""
        kept = self.weights + self.gradients + self.moments + self.average
        return kept + self.activations + self.temporaries

    @property
    def total(self) -> int:
        """What has to be free on a device before training."""
        return self.allocated + self.reserve

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "moments": self.moments,
            "average": self.average,
            f"activations of {self.samples} samples": self.activations,
            "temporaries": self.temporaries,
            "reserve for a GPU's context, workspaces and fragmentation": self.reserve,
        }
        counted = ", ".join(f"{name} {size / GB:.2f}" for name, size in parts.items() if size)
        return f"memory plan: {self.total / GB:.2f} GB a device ({counted}), {self.passes} pass(es) a step"


def plan_memory(experiment: ExperimentConfig, num_processes: int = 1) -> MemoryPlan:
    """Count what `experiment` takes on each of `num_processes` devices."""
    count = _count(experiment.model, experiment.training.precision)
    return count.plan(experiment.training, experiment.execution, num_processes)


def fit_memory(experiment: ExperimentConfig, capacity: float, num_processes: int = 1) -> ExperimentConfig:
    """The same experiment in as few passes as fit into `capacity` bytes a device, with states computed a second time, or
    with weights divided among the devices, only if that is needed.

    Raises:
        ConfigurationError: a single sample does not fit; the plan is given.
    """
    fitting, tried = _search(experiment, capacity, num_processes)
    if fitting is None:
        raise ConfigurationError(
            f"memory: expected a plan of at most {capacity / GB:.1f} GB, the least is {tried}. Use larger devices, or "
            "more of them."
        )
    return replace(experiment, execution=fitting)


def fit_device(
    experiment: ExperimentConfig, free: float, num_processes: int = 1, others: str = ""
) -> ExperimentConfig:
    """The same experiment, changed as little as fits into the `free` bytes of each device: not at all if it fits as it
    is, and not if its passes were chosen. `others` says what else is on the device.

    Raises:
        ConfigurationError: it does not fit; the flags with which it would are named.
    """
    plan = plan_memory(experiment, num_processes)
    if plan.total <= free:
        return experiment
    fitting, least = _search(experiment, free, num_processes)
    is_chosen = experiment.execution.micro_batch_size > 0
    if fitting is not None and not is_chosen:
        return replace(experiment, execution=fitting)
    begin = f"memory: expected a plan of at most {free / GB:.1f} GB, which are free, got {plan}. "
    end = f" {others}." if others else ""
    if fitting is not None:
        raise ConfigurationError(f"{begin}Give {flags_of(fitting)}.{end}")
    raise ConfigurationError(
        f"{begin}The least is {least}: use larger devices, or more of them by torchrun.{end}"
    )


def flags_of(execution: ExecutionConfig) -> str:
    """What to write on the command line for the memory that `execution` takes."""
    flags = [f"--micro-batch-size {execution.micro_batch_size}"]
    if execution.gradient_checkpointing:
        flags.append("--gradient-checkpointing")
    if execution.parallelism != "ddp":
        flags.append(f"--parallelism {execution.parallelism}")
    return " ".join(flags)


def _search(
    experiment: ExperimentConfig, capacity: float, num_processes: int
) -> tuple[ExecutionConfig | None, MemoryPlan]:
    """The execution that fits and costs least time, if any does, and the last plan that was tried."""
    count = _count(experiment.model, experiment.training.precision)
    share = math.ceil(experiment.training.batch_size / num_processes)
    tried = plan_memory(experiment, num_processes)
    for parallelism in ("ddp", "fsdp2") if num_processes > 1 else ("ddp",):
        for recomputes in (False, True):
            for passes in range(1, share + 1):
                execution = replace(
                    experiment.execution,
                    micro_batch_size=math.ceil(share / passes),
                    gradient_checkpointing=recomputes,
                    parallelism=parallelism,
                )
                tried = count.plan(experiment.training, execution, num_processes)
                # A third more time for the gradient is less than passes of two or three samples lose.
                is_too_small = not recomputes and tried.samples < min(4, share)
                if tried.total <= capacity and not is_too_small:
                    return execution, tried
    return None, tried


class _Count:
    """What does not depend on how a training is executed."""

    def __init__(self, config: ModelConfig, precision: str):
        in_bfloat16 = precision == "bfloat16"
        with torch.device("meta"):
            model = FocusVLA(config)
        self._learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self._frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
        frozen_bytes = 2 if in_bfloat16 else 4
        in_blocks = [_bytes(block, frozen_bytes) for block in model.blocks()]
        self._largest_block = max(in_blocks, default=0)
        self._root = _bytes(model, frozen_bytes) - sum(in_blocks)
        with FakeTensorMode():
            as_if_on_cpu(model, torch.bfloat16 if in_bfloat16 else None)
            one, two = (_kept_for_gradient(model, size, in_bfloat16) for size in (1, 2))
        # What two samples keep more than one grows with the batch; the rest, such as cast weights, does not.
        self._whole = max(0, 2 * one.whole - two.whole), two.whole - one.whole
        self._recomputed = max(0, 2 * one.recomputed - two.recomputed), two.recomputed - one.recomputed
        self._temporaries = one.temporaries

    def plan(self, training: TrainingConfig, execution: ExecutionConfig, num_processes: int) -> MemoryPlan:
        share = math.ceil(training.batch_size / num_processes)
        samples = min(execution.micro_batch_size or share, share)
        is_divided = execution.parallelism == "fsdp2" and num_processes > 1
        parts = num_processes if is_divided else 1
        frozen_bytes = 2 if training.precision == "bfloat16" else 4
        weights = (4 * self._learning + frozen_bytes * self._frozen) // parts
        if (
            is_divided
        ):  # what is in no block is whole throughout, and two blocks at a time: one is computed, one gathered
            weights += self._root + 2 * self._largest_block
        constant, per_sample = self._recomputed if execution.gradient_checkpointing else self._whole
        plan = MemoryPlan(
            weights=weights,
            gradients=4 * self._learning // parts,
            moments=8 * self._learning // parts,
            average=4 * self._learning // parts if training.ema_decay else 0,
            activations=constant + samples * per_sample,
            temporaries=samples * self._temporaries,
            reserve=0,
            samples=samples,
            passes=math.ceil(share / samples),
        )
        fixed = CONTEXT + WORKSPACES + (COMMUNICATION if num_processes > 1 else 0)
        return replace(plan, reserve=int(fixed + FRAGMENTATION * plan.allocated))


_count = functools.lru_cache(maxsize=4)(_Count)


def _bytes(module: nn.Module, frozen_bytes: int) -> int:
    return sum(p.numel() * (4 if p.requires_grad else frozen_bytes) for p in module.parameters())


def _loss(model: FocusVLA, batch: ModelInputs, in_bfloat16: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16), _promoted(in_bfloat16):
        predicted = model(batch)
        mask = torch.ones(predicted.shape[:2], dtype=torch.bool)
        loss = absolute_errors(predicted, torch.zeros_like(predicted), mask).sum()
    assert loss.requires_grad
    return loss


@contextmanager
def _promoted(in_bfloat16: bool) -> Generator[None]:
    with PromotedAsOnCUDA() if in_bfloat16 else nullcontext():
        yield


class _Allocated(TorchDispatchMode):
    """Counts the bytes of tensors that operations make in the block, while these live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._living: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given: set[int] | None = None
        for made in result if isinstance(result, list | tuple) else (result,):
            if not isinstance(made, Tensor) or (key := _key(made)) in self._living:
                continue
            if given is None:
                given = {_key(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
            if key not in given:  # no view
                size = _size(made)
                self._living.add(key)
                self.now += size
                weakref.finalize(made.untyped_storage(), self._free, key, size)
        self.peak = max(self.peak, self.now)
        return result

    def _free(self, key: int, size: int) -> None:
        self._living.discard(key)
        self.now -= size


def _key(tensor: Tensor) -> int:
    # A storage that is not allocated has no other address.
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


@dataclass(frozen=True)
class _Kept:
    """Bytes of a pass."""

    whole: int
    """Kept by autograd."""
    recomputed: int
    """When blocks keep their inputs alone and are computed a second time, one after the other."""
    temporaries: int
    """Of the backward pass beside what is kept, when both are most together; only counted for one sample."""


def _kept_for_gradient(model: FocusVLA, batch_size: int, in_bfloat16: bool) -> _Kept:
    parameters = {_key(p) for p in [*model.parameters(), *model.buffers()]}
    kept: dict[nn.Module | None, dict[int, Tensor]] = {None: {}}
    inputs: dict[int, Tensor] = {}
    current: list[nn.Module | None] = [None]

    def enter(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        current.append(block)
        kept[block] = {}
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor):
                inputs[_key(value)] = value

    def leave(block: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        current.pop()

    def keep(tensor: Tensor) -> Tensor:
        key = _key(tensor)
        if key not in parameters and not any(key in known for known in kept.values()):
            kept[current[-1]][key] = tensor
        return tensor

    handles = [block.register_forward_pre_hook(enter, with_kwargs=True) for block in model.blocks()]
    handles += [block.register_forward_hook(leave) for block in model.blocks()]
    batch = _example(model, batch_size)
    for parameter in model.parameters():  # so that the backward pass adds to gradients and makes none
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    with _Allocated() if batch_size == 1 else nullcontext() as allocated:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = _loss(model, batch, in_bfloat16)
        sizes = {block: sum(map(_size, tensors.values())) for block, tensors in kept.items()}
        sizes_of_inputs = sum(map(_size, inputs.values()))
        kept.clear()
        inputs.clear()
        temporaries = 0
        if allocated is not None:
            forward = allocated.now
            loss.backward()
            temporaries = allocated.peak - forward
    for handle in handles:
        handle.remove()
    outside = sizes.pop(None) + sum(map(_size, _pictures(batch)))
    return _Kept(
        whole=outside + sum(sizes.values()),
        recomputed=outside + sizes_of_inputs + max(sizes.values(), default=0),
        temporaries=temporaries,
    )


def _size(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _pictures(inputs: ModelInputs) -> list[Tensor]:
    return [tensor for tensor in (inputs.images, inputs.features) if tensor is not None]


def _example(model: FocusVLA, batch_size: int) -> ModelInputs:
    config = model.config
    images = features = None
    if config.needs_images:
        side = config.vision.image_size
        images = torch.zeros(batch_size, config.num_cameras, side, side, 3, dtype=torch.uint8)
    elif model.vision_encoder is not None:
        features = torch.zeros(batch_size, config.num_patches, len(model.feature_mean))
    return ModelInputs(
        images=images,
        features=features,
        token_ids=torch.zeros(batch_size, _NUM_TOKENS, dtype=torch.int64),
        token_mask=torch.ones(batch_size, _NUM_TOKENS, dtype=torch.bool),
        state=torch.zeros(batch_size, config.state_dim),
    )
