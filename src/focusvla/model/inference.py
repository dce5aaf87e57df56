"""A model that only answers: its forward pass, prepared once, for the least time between pictures and actions.

Prepared means: adapters merged, all weights in the chosen precision, the language model's packed as its loop multiplies
them, and what an instruction is to the model kept for the next time; by choice also compiled layers and, on a GPU, one
CUDA graph for each shape, in which the two encoders run side by side and the policy beside the language model.

Adding a hook to the policy's layers (`focusvla.model.taps`) leads around what was compiled or recorded, which would not
call it.
"""

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from focusvla.model.adapters import merge_adapters
from focusvla.model.focusvla import FocusVLA, Prompt
from focusvla.model.vision_transformer import DinoSiglipEncoder

MAX_KEPT_PROMPTS = 256
TOKENS_STEP = 16
"""Where shapes are fixed, a prompt is padded to a multiple of so many positions, so that few shapes serve all."""
MAX_GRAPHS = 64
"""Each keeps memory. Shapes beyond are computed without one."""
PASSES_BEFORE_CAPTURE = 3
"""Kernels are chosen and memory is reserved in the first ones."""

_log = logging.getLogger(__name__)
_Forward = Callable[..., Tensor]


class InferenceModel:
    """Answers as `model` does, up to rounding. Several threads may call it."""

    def __init__(self, model: FocusVLA, *, dtype: torch.dtype, compiled: bool, graphs: bool):
        """Take over `model`, where it lies: from now on it neither learns nor is saved nor moved."""
        self.model = model
        merge_adapters(model)
        model.requires_grad_(False).eval()
        packed = model.language_model.pack(dtype)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and not name.endswith(("mean", "std")):
                tensor.data = tensor.data.to(dtype)
        if compiled:
            packed.compile()
            encoder = model.vision_encoder
            whole = [] if encoder is None or isinstance(encoder, DinoSiglipEncoder) else [encoder]
            for module in [*model.blocks(), *whole]:
                module.compile()
        self._has_fixed_shapes = compiled or graphs
        self.records_graphs = graphs and self._device.type == "cuda"
        self._graphs: dict[tuple[torch.Size, ...], CapturedGraph] = {}
        # One memory for all graphs: they run one after the other, and an output is copied before the next.
        self._pool = torch.cuda.graph_pool_handle() if self.records_graphs else None
        self._capture_stream = torch.cuda.Stream(self._device) if self.records_graphs else None
        self._one_at_a_time = threading.Lock()
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()
        self._last: tuple[tuple[str, ...], Prompt] | None = None
        self._tapped = [*model.policy_head.modules()]

    @property
    def _device(self) -> torch.device:
        return self.model.feature_mean.device

    @torch.inference_mode()
    def __call__(
        self,
        images: UInt8[Tensor, "batch cameras height width 3"] | None,
        instructions: Sequence[str],
        state: Float[Tensor, "batch state"],
    ) -> Float[Tensor, "batch chunk action"]:
        """Normalized actions in float32.

        Raises:
            ConfigurationError: as the model.
        """
        rows = len(instructions)
        prompt = self._joined(tuple(instructions))
        if any(map(attrgetter("_forward_hooks"), self._tapped)) or any(
            map(attrgetter("_forward_pre_hooks"), self._tapped)
        ):
            with torch.compiler.set_stance("force_eager"):
                return self._predict(images, state, prompt.before, prompt.after, prompt.first_query)
        inputs = [images, state, prompt.before, prompt.after, prompt.first_query]
        if self._has_fixed_shapes:
            inputs = [
                None if each is None else _repeat_last(each, next_power_of_two(rows)) for each in inputs
            ]
        return self._run(*inputs)[:rows]

    def _run(self, images: Tensor | None, *others: Tensor) -> Float[Tensor, "batch chunk action"]:
        if not self.records_graphs or images is None:
            return self._predict(images, *others)
        inputs = (images, *others)
        shapes = tuple(each.shape for each in inputs)
        with self._one_at_a_time, torch.cuda.device(self._device):
            is_new = shapes not in self._graphs
            if is_new and (len(self._graphs) >= MAX_GRAPHS or not self._record(shapes, inputs)):
                return self._predict(*inputs)
            return self._graphs[shapes](*inputs)

    def _record(self, shapes: tuple[torch.Size, ...], inputs: Sequence[Tensor]) -> bool:
        stream = self._capture_stream
        assert stream is not None
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(PASSES_BEFORE_CAPTURE):
                self._predict(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        try:
            with torch.cuda.stream(torch.cuda.current_stream()):  # comes back to it, however the capture ends
                self._graphs[shapes] = CapturedGraph(self._predict, inputs, stream, self._pool)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            _log.exception("no CUDA graph could be recorded; inference goes on without one, and slower")
            self.records_graphs = False
            torch.cuda.synchronize(self._device)
        return self.records_graphs

    def _predict(
        self, images: Tensor | None, state: Tensor, before: Tensor, after: Tensor, first_query: Tensor
    ) -> Float[Tensor, "batch chunk action"]:
        return self.model.predict(images, None, Prompt(before, after, first_query), state).float()

    def _prompt(self, instruction: str) -> Prompt:
        prompt = self._prompts.get(instruction)
        if prompt is None:
            prompt = self.model.read_prompt(*self.model.tokenize([instruction]))
            while len(self._prompts) >= MAX_KEPT_PROMPTS:
                with contextlib.suppress(KeyError):  # another thread may have taken it
                    self._prompts.popitem(last=False)
            self._prompts[instruction] = prompt
        return prompt

    def _joined(self, instructions: tuple[str, ...]) -> Prompt:
        last = self._last
        if last is None or last[0] != instructions:
            last = instructions, self._join([self._prompt(each) for each in instructions])
            self._last = last
        return last[1]

    def _join(self, prompts: Sequence[Prompt]) -> Prompt:
        length = max(prompt.after.shape[1] for prompt in prompts)
        if self._has_fixed_shapes:
            length = -(-length // TOKENS_STEP) * TOKENS_STEP
        return Prompt(
            torch.cat([prompt.before for prompt in prompts]),
            torch.cat([F.pad(prompt.after, (0, 0, 0, length - prompt.after.shape[1])) for prompt in prompts]),
            torch.cat([prompt.first_query for prompt in prompts]),
        )


class CapturedGraph:
    """A function's work on a GPU, recorded for inputs of one shape and replayed at once."""

    def __init__(self, function: _Forward, inputs: Sequence[Tensor], stream: torch.cuda.Stream, pool: Any):
        """Record `function`, which has run before, on `stream` and with its memory in `pool`.

        Raises:
            RuntimeError: it waits for the device, or does something else that cannot be recorded.
        """
        self._inputs = [each.clone() for each in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._output = function(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's output for other inputs."""
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._output.clone()


def next_power_of_two(number: int) -> int:
    """5 becomes 8, 8 stays."""
    return 1 << (number - 1).bit_length()


def _repeat_last(rows: Tensor, number: int) -> Tensor:
    missing = number - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows
