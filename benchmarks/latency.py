"""How long a policy takes from an observation to a chunk of actions, beside what VLA-Adapter executes for it.

A preset with random weights is run in several ways, which take turns, call by call, on fresh random observations:

    plain            as `load_policy` gives it
    eager            prepared (`FocusVLAPolicy.prepare`): packed weights, kept prompts
    compiled         prepared, its layers compiled by torch.compile
    graph            prepared, one CUDA graph (GPU only); `compiled graph`: both
    reference        what VLA-Adapter executes (`reference_path.py`), with the same weights (DINOv2 and SigLIP only)

First each answers other observations, and its actions must be those of the plain policy in float32: on average to 1e-3
of their deviation in float32 and to a quarter of it in bfloat16. (Rounding also decides which of two equally good patches
is the last of the best K.) Then it is timed, everything included: resizing, upload, normalization. A way that cannot be
run, or answers otherwise, is named under `failed`, and the exit code is 1; the others are measured. The floor is the
larger of two times: the model's operations at the rate of this machine's own matrix product, and its weights at the rate
of its own copy.

    python benchmarks/latency.py [--presets mini paper] [--device cpu] [--precisions float32 bfloat16] [--threads 1]
                                 [--modes plain eager compiled reference] [--batch 1] [--calls 100] [--seconds 120]
                                 [--warm-up 3] [--write] [--quick]

A JSON line for each preset and precision, in a process of its own: under `modes` each one's `median_ms`, `p10_ms`,
`p90_ms`, `p99_ms`, `difference` and, on a GPU, `peak_memory_gb`; `median_ms` of the fastest, `floor_ms`, `times_floor`,
`speedup_over_reference_path`; `parts_ms` of the eager policy. `--write` makes a page of them in benchmarks/results/.
"""

import argparse
import datetime
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import MODES, NUM_TOKENS, Act, build, contender, has_reference, in_precision, observe, sized
from machine import (
    copied_bytes_per_second,
    device_name,
    matrix_flop_per_second,
    peak_memory,
    rounded,
    synchronize,
)

from focusvla.devices import choose_device
from focusvla.errors import ConfigurationError
from focusvla.model.accounting import count_parts
from focusvla.policy import FocusVLAPolicy
from focusvla.versions import versions

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.25}
NUM_CHECKED = 3
MIN_CALLS = 5
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure each preset in each precision, print the figures, and write the page."""
    arguments = parsed()
    if arguments.alone:
        figures = measure(arguments.presets[0], arguments)
        print(json.dumps(figures), flush=True)
        sys.exit("failed" in figures)
    lines, code = [], 0
    for name in arguments.presets:
        for precision in arguments.precisions:
            chosen = ["--alone", "--presets", name, "--precisions", precision]
            run = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], *chosen], stdout=subprocess.PIPE, text=True
            )
            code = code or run.returncode  # it has said why
            for line in run.stdout.splitlines()[-1:]:
                lines.append(line)
                print(line, flush=True)
    if lines and arguments.write:
        figures = [json.loads(line) for line in lines]
        hardware = f"{os.cpu_count()}cores" if arguments.device == "cpu" else figures[0]["device"]
        file = RESULTS / f"latency_{hardware.replace(' ', '_')}_{datetime.date.today()}.md"
        file.write_text(
            page(figures, shlex.join(["python", "benchmarks/latency.py", *sys.argv[1:]])), "utf-8"
        )
        print(file)
    sys.exit(code)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", help="`mini` and `paper` if not given")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--modes", nargs="+", choices=["plain", *MODES, "reference"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0: as `focusvla serve` chooses")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=120.0, help="for all calls; 5 are made in any case")
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two calls, of `mini` if no preset is given")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.presets = arguments.presets or (["mini"] if arguments.quick else ["mini", "paper"])
    if arguments.quick:
        arguments.calls, arguments.warm_up = 2, 1
    return arguments


@torch.inference_mode()
def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One preset's figures."""
    device = choose_device(arguments.device)
    dtype = torch.bfloat16 if arguments.precisions[0] == "bfloat16" else torch.float32
    experiment = sized(name)
    policy = build(experiment, device)
    if device.type == "cuda":
        torch.cuda.set_device(policy.device)  # with its number, which "cuda" lacks
    torch.set_num_threads(arguments.threads or policy.num_fitting_threads)
    rng = np.random.default_rng(0)
    questions = [[observe(policy, rng) for _ in range(arguments.batch)] for _ in range(NUM_CHECKED)]
    expected = np.stack([policy.infer_batch(question) for question in questions])
    in_precision(policy, dtype)
    modes = arguments.modes or ["plain", "eager", "compiled", "reference"]
    if arguments.modes is None and device.type == "cuda":
        modes += ["graph", "compiled graph"]
    modes = [
        each for each in modes if each != "reference" or (has_reference(policy) and arguments.batch == 1)
    ]
    if not set(modes) - {"reference"}:
        raise SystemExit(
            f"--modes: expected one of ours to time, got {' '.join(modes) or 'none that applies'}"
        )
    acts: dict[str, Act] = {}
    figures: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    eager: FocusVLAPolicy | None = None
    for mode in modes:
        try:
            prepared, acts[mode], figures[mode] = begun(policy, mode, questions, expected)
        except (RuntimeError, ConfigurationError) as error:
            traceback.print_exc()
            failed[mode] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            continue
        eager = prepared if mode == "eager" else eager
        took, far = figures[mode]["first_answers_seconds"], figures[mode]["difference"]
        if not far <= TOLERANCES[dtype]:
            failed[mode] = f"actions differ by {far:.3g} of their deviation"
        print(f"{mode}: first answers after {took:.3g} s, difference {far:.3g}", file=sys.stderr, flush=True)
    if not acts:
        raise SystemExit(f"{name}: none of {' '.join(modes)} could be run")
    seconds: dict[str, list[float]] = {mode: [] for mode in acts}
    ends = time.perf_counter() + arguments.seconds
    for call in range(arguments.warm_up + arguments.calls):
        if call >= arguments.warm_up + MIN_CALLS and time.perf_counter() > ends:
            break
        question = [observe(policy, rng) for _ in range(arguments.batch)]
        for mode in acts:
            took = timed(acts[mode], question, device)
            if call >= arguments.warm_up:
                seconds[mode].append(took)
    for mode in acts:
        for percent, label in ((50, "median_ms"), (10, "p10_ms"), (90, "p90_ms"), (99, "p99_ms")):
            figures[mode][label] = 1e3 * float(np.percentile(seconds[mode], percent))
    flop, weights = work(experiment)
    rate, bandwidth = matrix_flop_per_second(device, dtype), copied_bytes_per_second(device)
    floor = 1e3 * max(arguments.batch * flop / rate, weights * dtype.itemsize / bandwidth)
    found: dict[str, Any] = {
        "preset": name,
        "precision": arguments.precisions[0],
        "batch": arguments.batch,
        "modes": {
            mode: {key: rounded(each) for key, each in values.items()} for mode, values in figures.items()
        },
        "floor_ms": rounded(floor),
        "teraflop": rounded(flop / 1e12),
        "weights_gb": rounded(weights * dtype.itemsize / 1e9),
        "matrix_teraflops": rounded(rate / 1e12),
        "copied_gb_per_second": rounded(bandwidth / 1e9),
        "process_peak_memory_gb": rounded(peak_memory(torch.device("cpu")) / 1e9),
        "calls": len(next(iter(seconds.values()))),
        "device": device_name(device),
        "versions": versions(),
    }
    own = {mode: figures[mode]["median_ms"] for mode in acts if mode not in ("reference", *failed)}
    if own:
        fastest = min(own, key=lambda mode: own[mode])
        found |= {
            "fastest": fastest,
            "median_ms": rounded(own[fastest]),
            "times_floor": rounded(own[fastest] / floor),
        }
        if "reference" in acts and "reference" not in failed:
            found["speedup_over_reference_path"] = rounded(figures["reference"]["median_ms"] / own[fastest])
    if eager is not None:
        found["parts_ms"] = parts(eager, min(20, -(-found["calls"] // 2)), rng, device)
    return found | ({"failed": failed} if failed else {})


def begun(
    policy: FocusVLAPolicy, mode: str, questions: Sequence[Any], expected: np.ndarray
) -> tuple[FocusVLAPolicy | None, Act, dict[str, float]]:
    """The prepared policy of a mode, if it is one, what to call, and how it answered first.

    Raises:
        RuntimeError: it cannot be run, or no graph be recorded.
    """
    on_gpu = policy.device.type == "cuda"
    before = 0
    began = time.perf_counter()
    prepared, act = contender(policy, mode)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(policy.device)
        before = torch.cuda.memory_allocated(policy.device)
    answers = np.stack([act(question) for question in questions])
    figures = {
        "first_answers_seconds": time.perf_counter() - began,
        "difference": difference(answers, expected),
    }
    if on_gpu:
        beside = torch.cuda.max_memory_allocated(policy.device) - before
        figures["peak_memory_gb"] = (weights_of(prepared or policy) + beside) / 1e9
    if "graph" in mode and not (prepared and prepared.replays_graphs):
        raise RuntimeError(f"no CUDA graph was recorded on {policy.device}; if it is a GPU, the log says why")
    return prepared, act, figures


def difference(answers: np.ndarray, expected: np.ndarray) -> float:
    """The mean, as a share of the expected actions' deviation."""
    return float((np.abs(answers - expected) / expected.std(axis=(0, 1, 2))).mean())


def timed(act: Callable[[Any], object], question: Any, device: torch.device) -> float:
    """Seconds until the answer is there; on a GPU by its own events."""
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        act(question)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
    began = time.perf_counter()
    act(question)
    return time.perf_counter() - began


def weights_of(policy: FocusVLAPolicy) -> int:
    """Bytes."""
    tensors = [*policy.model.parameters(), *policy.model.buffers()]
    packed = policy.model.language_model.packed
    if packed is not None:
        tensors += [each for layer in packed.layers for each in layer if isinstance(each, torch.Tensor)]
    return sum({each.data_ptr(): each.nbytes for each in tensors}.values())


def work(experiment: Any) -> tuple[float, float]:
    """Operations of one inference, and weights that it reads."""
    counted = count_parts(experiment.model, NUM_TOKENS)
    return sum(each.inference_flop for each in counted), sum(each.streamed_parameters for each in counted)


def parts(
    policy: FocusVLAPolicy, calls: int, rng: np.random.Generator, device: torch.device
) -> dict[str, float]:
    """Medians of what an inference consists of, each done by itself: `language` is the rest, with the projector."""
    taken: dict[str, list[float]] = {}
    model = policy.model

    @contextmanager
    def clock(part: str) -> Iterator[None]:
        synchronize(device)
        began = time.perf_counter()
        yield
        synchronize(device)
        taken.setdefault(part, []).append(1e3 * (time.perf_counter() - began))

    given: list[Any] = []

    def keep(module: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        given.append((list(arguments[0]), *arguments[1:]))  # states are computed as they are asked for, once
        return given[-1]

    for _ in range(calls):
        observation = observe(policy, rng)
        with clock("all"):
            policy.infer(observation)
        with clock("preprocessing"):
            inputs = policy.model_inputs(observation)
        with clock("vision"):
            if inputs.images is not None and model.vision_encoder is not None:
                model.encode_images(inputs.images)
        hook = model.policy_head.register_forward_pre_hook(keep)
        policy.infer(observation)
        hook.remove()
        with clock("policy"):
            actions = model.policy_head(*given.pop())
        with clock("postprocessing"):
            policy.unnormalized(actions)
    medians = {part: statistics.median(values) for part, values in taken.items()}
    everything = medians.pop("all")
    medians["language"] = everything - sum(medians.values())
    return {part: rounded(value) for part, value in medians.items()}


def page(figures: list[dict[str, Any]], command: str) -> str:
    """The results file."""
    first = figures[0]
    packages = first["versions"]
    lines = [
        f"# Latency of an inference, {first['device'].partition(',')[0]}, {datetime.date.today()}",
        "",
        f"    {command}",
        "",
        f"Random weights, two cameras, a prompt of {NUM_TOKENS} tokens with `paper`; from the observation to actions in",
        "physical units. Modes and differences: `benchmarks/latency.py`.",
        f"torch {packages['torch']}, transformers {packages['transformers']}, Python {packages['python']}, commit "
        f"{(packages['commit'] or '')[:7]}.",
    ]
    for each in figures:
        lines += ["", *section(each)]
    return "\n".join(lines) + "\n"


def section(found: dict[str, Any]) -> list[str]:
    """One preset's in one precision."""
    lines = [
        f"## `{found['preset']}`, {found['precision']}, batch {found['batch']}",
        "",
        f"{found['device']}; {found['calls']} calls of each mode, in turns.",
        "",
        "| mode | median | p10 | p90 | p99 | difference | first answers |",
        "|---|---|---|---|---|---|---|",
    ]
    memory = []
    for mode, values in found["modes"].items():
        times = [f"{values[key]:,.4g} ms" for key in ("median_ms", "p10_ms", "p90_ms", "p99_ms")]
        cells = [mode, *times, f"{values['difference']:.2g}", f"{values['first_answers_seconds']:.3g} s"]
        lines.append(f"| {' | '.join(cells)} |")
        if "peak_memory_gb" in values:
            memory.append(f"{mode} {values['peak_memory_gb']:.3g}")
    lines += [
        "",
        f"- `median_ms` {found['median_ms']:,} ({found['fastest']}), `times_floor` {found['times_floor']:.3g}: the floor "
        f"is {found['floor_ms']:,} ms"
        if "median_ms" in found
        else f"- floor: {found['floor_ms']:,} ms",
        f"- {found['teraflop']:.3g} TFLOP at {found['matrix_teraflops']:.3g} TFLOP/s; {found['weights_gb']:.3g} GB of "
        f"weights at {found['copied_gb_per_second']:.3g} GB/s",
    ]
    lines += [f"- failed: {mode}: {reason}" for mode, reason in found.get("failed", {}).items()]
    if "speedup_over_reference_path" in found:
        lines.append(f"- `speedup_over_reference_path` {found['speedup_over_reference_path']:.3g}")
    if "parts_ms" in found:
        shown = ", ".join(f"{part} {value:,.3g}" for part, value in found["parts_ms"].items())
        lines.append(f"- parts of `eager`, in ms: {shown}")
    if not memory:
        memory = [
            f"{found['process_peak_memory_gb']:.3g}, the process's, with the weights once for each mode"
        ]
    lines.append(f"- peak memory in GB: {', '.join(memory)}")
    return lines


if __name__ == "__main__":
    main()
