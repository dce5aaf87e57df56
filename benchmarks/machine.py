"""What the machine can do at best, measured: what benchmarks set their figures against."""

import platform
import resource
import time
from collections.abc import Callable

import torch

REPEATED = 10
"""How often a GPU does what takes it a millisecond, so that giving it the work and waiting for it count for nothing."""


def matrix_flop_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of large matrix products, the best of three."""
    size = 8192 if device.type == "cuda" else 2048
    left = torch.randn(size, size, device=device, dtype=dtype)
    # One in float32 takes 20 ms.
    times = REPEATED if device.type == "cuda" and dtype.itemsize == 2 else 1
    return 2 * size**3 / _least_seconds(device, lambda: torch.mm(left, left), times)


def copied_bytes_per_second(device: torch.device) -> float:
    """Bytes read and written a second by large copies, the best of three."""
    source = torch.empty(1 << 30 if device.type == "cuda" else 1 << 28, dtype=torch.uint8, device=device)
    target = source.clone()
    times = REPEATED if device.type == "cuda" else 1
    return 2 * source.numel() / _least_seconds(device, lambda: target.copy_(source), times)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """In bytes, since the process began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def device_name(device: torch.device) -> str:
    """What was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s)"


def rounded(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")


def _least_seconds(device: torch.device, work: Callable[[], object], times: int) -> float:
    """Of `work`, done so many times at once."""
    best = float("inf")
    for _ in range(4):  # the first one also chooses a kernel
        synchronize(device)
        began = time.perf_counter()
        for _ in range(times):
            work()
        synchronize(device)
        best = min(best, (time.perf_counter() - began) / times)
    return best
