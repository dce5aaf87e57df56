"""Where torch computes: which device a name means, what it has free, and in one sentence why it cannot be used."""

import contextlib
import shutil
import subprocess
import warnings
from collections.abc import Generator
from typing import cast

import torch
import torch.nn.functional as F

from focusvla.errors import ConfigurationError

GB = 10**9


def num_gpus() -> int:
    """How many of CUDA's this process sees."""
    return torch.cuda.device_count() if _has_cuda() else 0


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name: `auto`, or one of torch's such as `cpu`, `cuda`, `cuda:1` or `mps`.

    `auto` is CUDA, then MPS where everything that is used exists there, then the CPU. A GPU whose driver is too old is an
    error with `auto` as well, and not a run that takes days on the CPU. Nothing is allocated on a CUDA device, so that
    each of several processes may choose without taking memory of another's.

    Raises:
        ConfigurationError: there is no such device, or it cannot be used; what to do is said.
    """
    if name == "auto":
        if _has_cuda():
            return torch.device("cuda")
        if _is_driver_too_old():
            raise ConfigurationError(_why_no_cuda(name))
        return torch.device("mps" if _mps_computes_all() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(
            f"device={name!r}: expected auto, cpu, cuda, cuda:0 or another of torch's, got one that it does not know."
        ) from error
    if device.type == "cuda":
        if not _has_cuda():
            raise ConfigurationError(_why_no_cuda(name))
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            known = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
            raise ConfigurationError(
                f"device={name!r}: expected {known}, the visible GPU(s), got number {device.index}. Choose one of them; "
                "CUDA_VISIBLE_DEVICES decides which are visible."
            )
    elif device.type != "cpu":
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:  # torch built without it asserts
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"device={name!r}: cannot be used here ({reason}). Give --device cpu."
            ) from error
    return device


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A CPU's tensor on `device`. To a GPU it goes from pinned memory, so that neither does the copy wait for the
    computation nor the caller for the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    # A thread begins at the first GPU, where pinning would take a context's memory.
    with torch.cuda.device(device):
        return tensor.pin_memory().to(device, non_blocking=True)


def described(device: torch.device) -> str:
    """The device in one line, such as "cuda:0, NVIDIA H100 80GB HBM3, 79.2 of 85.0 GB free"."""
    if device.type != "cuda":
        return str(device)
    given = cast(int | None, device.index)  # torch's types say that there always is one
    index = torch.cuda.current_device() if given is None else given
    free, total = torch.cuda.mem_get_info(index)
    return f"cuda:{index}, {torch.cuda.get_device_name(index)}, {free / GB:.1f} of {total / GB:.1f} GB free"


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can have of a GPU's memory: what is free, and what torch holds unused. None elsewhere,
    where memory is not a device's own."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def taken_by_others(device: torch.device) -> str:
    """What other processes hold of a GPU's memory, as a clause such as "62.1 of 85.0 GB are other processes' (4711
    python)"; empty if it is less than a twentieth, which a display or a context takes."""
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    if others < total / 20:
        return ""
    named = _processes_on(device)
    return (
        f"{others / GB:.1f} of {total / GB:.1f} GB are other processes'{f' ({named})' if named else ''}: end them, or "
        "choose another GPU by CUDA_VISIBLE_DEVICES"
    )


@contextlib.contextmanager
def explained_device_errors(device: torch.device, remedy: str) -> Generator[None]:
    """Turn memory that ran out and a GPU that another process keeps to itself into errors for people; `remedy` says what
    to do against the first.

    Raises:
        ConfigurationError: in place of those.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        others = taken_by_others(device)
        advice = f"{others}; or {remedy}" if others else remedy
        raise ConfigurationError(
            f"memory: {device} has too little ({str(error).partition('. ')[0]}). {advice}."
        ) from error
    except RuntimeError as error:
        if "busy or unavailable" not in str(error):
            raise
        raise ConfigurationError(
            f"device={device}: another process keeps this GPU to itself (compute mode exclusive). End it, choose another "
            "GPU by CUDA_VISIBLE_DEVICES, or give --device cpu."
        ) from error


def _has_cuda() -> bool:
    with warnings.catch_warnings():  # an old driver is told in one message, which is ours
        warnings.simplefilter("ignore")
        return torch.cuda.is_available()


def _failure_of_cuda() -> str:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return ""


def _is_driver_too_old() -> bool:
    return "too old" in _failure_of_cuda()


def _why_no_cuda(name: str) -> str:
    begin, end = f"device={name!r}: ", "or give --device cpu."
    if not (torch.version.cuda or torch.version.hip):
        return (
            f"{begin}expected torch built for CUDA, got {torch.__version__}, built for CPUs only. Install a build for "
            f"CUDA (pytorch.org says which), {end}"
        )
    reason = _failure_of_cuda()
    if "too old" in reason:
        found = reason.partition("(found version ")[2].partition(")")[0]
        shown = (
            f", which knows CUDA {int(found) // 1000}.{int(found) % 1000 // 10}" if found.isdigit() else ""
        )
        return (
            f"{begin}the NVIDIA driver{shown}, is too old for the torch installed, {torch.__version__}, built for CUDA "
            f"{torch.version.cuda}. Update the driver, install torch built for an older CUDA, {end}"
        )
    return (
        f"{begin}expected a GPU, got none that torch {torch.__version__} can use ({reason or 'no device is visible'}). "
        f"See what nvidia-smi says and whether CUDA_VISIBLE_DEVICES hides it, {end}"
    )


def _mps_computes_all() -> bool:
    """Whether MPS is there and has what versions of torch and macOS were found to lack."""
    if not torch.backends.mps.is_available():
        return False
    try:
        picture = torch.zeros(1, 3, 8, 8, device="mps")
        F.interpolate(picture, (4, 4), mode="bicubic", antialias=True)
        F.interpolate(picture, (4, 4), mode="bilinear", antialias=True)
        torch.arange(4, device="mps").argsort(dim=0)
        torch.zeros(2, 300, device="mps").topk(200, dim=-1, sorted=False)
        torch.view_as_real(torch.view_as_complex(torch.ones(4, 2, device="mps")) * 1j)
    except (NotImplementedError, RuntimeError, TypeError):
        return False
    return True


def _processes_on(device: torch.device) -> str:
    """Those that the driver names, at most three; empty in a container that does not see them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    identity = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    query = [tool, "--query-compute-apps=pid,process_name", "--format=csv,noheader", f"--id={identity}"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(line.replace(",", "") for line in said.splitlines()[:3])
