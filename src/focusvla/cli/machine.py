"""What can be asked of a machine before anything runs on it."""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Literal

from packaging.specifiers import SpecifierSet

from focusvla.cli.packages import DEVELOPMENT, Package, install_command, required_packages
from focusvla.errors import FocusVLAError

FREE_GIGABYTES = 5


@dataclass(frozen=True)
class Check:
    """What one question was answered with."""

    name: str
    status: Literal["ok", "note", "failed"]
    """`note`: something works otherwise than it could; `failed`: what the quickstart needs is missing."""
    finding: str
    advice: str = ""
    """What to do; empty if nothing."""


def check_machine() -> Iterator[Check]:
    """Answers in the order in which they matter."""
    try:
        metadata("focusvla")
    except PackageNotFoundError:
        yield Check(
            "focusvla", "failed", "runs from its source, not installed", "In its folder: pip install ."
        )
        return
    yield _python()
    yield _packages()
    yield _tested_set()
    yield from _torch()
    yield _needed_extra("simulator", "libero")
    yield _needed_extra("encoder weights", "mini")
    rendering = _rendering()
    yield rendering
    if rendering.status == "ok":
        yield _starts()
    yield _disk()
    yield from _optional_extras()


def _python() -> Check:
    expected, found = metadata("focusvla")["Requires-Python"], platform.python_version()
    if not SpecifierSet(expected).contains(found, prereleases=True):
        return Check(
            "Python", "failed", f"{found}, expected {expected}", "Make a virtual environment with another."
        )
    return Check("Python", "ok", found)


def _packages() -> Check:
    packages = required_packages()
    if wrong := [each for each in packages if not each.fits]:
        return Check("packages", "failed", ", ".join(map(str, wrong)), install_command(wrong))
    return Check("packages", "ok", f"all {len(packages)} within the stated ranges")


def _tested_set() -> Check:
    other = [each for each in required_packages() if each.fits and not each.is_tested]
    if other:
        found = ", ".join(f"{each.requirement.name} {each.version} (tested: {each.tested})" for each in other)
        advice = "If something fails that should not, install what was tested: pip install " + " ".join(
            f"{each.requirement.name}=={each.tested}" for each in other
        )
        return Check("tested set", "note", found, advice)
    return Check("tested set", "ok", "the versions that focusvla was tested with")


def _torch() -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("torch", "failed", f"cannot be imported: {error}", "pip install --force-reinstall torch")
        return
    yield Check("torch", "ok", torch.__version__)
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
        name = torch.cuda.get_device_name()
        found = (
            f"{torch.cuda.device_count()} x {name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, {bfloat16}"
        )
        advice = "" if bfloat16 == "bfloat16" else "Train with --precision float32."
        yield Check("device", "note" if advice else "ok", found, advice)
    elif shutil.which("nvidia-smi"):
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs only"
        advice = "Update the driver." if torch.version.cuda else "Install a build for CUDA: see pytorch.org."
        yield Check("device", "note", f"a GPU that torch, built {built}, cannot use", advice)
    else:
        yield Check("device", "ok", f"CPU {platform.machine()}, {_memory_gigabytes():.0f} GB memory")
    yield check_threads(torch.get_num_threads(), _usable_cores(), os.environ.get("OMP_NUM_THREADS"))


def check_threads(threads: int, cores: int, set_to: str | None) -> Check:
    """Whether torch's `threads` suit the usable `cores`, `set_to` being OMP_NUM_THREADS."""
    found = f"torch uses {threads} on {cores} usable core(s)" + (
        f", OMP_NUM_THREADS={set_to}" if set_to else ""
    )
    if threads > cores:
        return Check("threads", "note", found, f"They wait for each other: export OMP_NUM_THREADS={cores}")
    if set_to and threads < cores:
        return Check("threads", "note", found, "To use all: unset OMP_NUM_THREADS")
    return Check("threads", "ok", found)


def _needed_extra(name: str, extra: str) -> Check:
    packages = required_packages(extra)
    if any(not each.fits for each in packages):
        return Check(name, "failed", _misfits(packages), f"pip install 'focusvla[{extra}]'")
    return Check(name, "ok", ", ".join(map(str, packages)))


def _optional_extras() -> Iterator[Check]:
    for extra in metadata("focusvla").get_all("Provides-Extra") or ():
        if extra in ("libero", "mini", DEVELOPMENT):
            continue
        packages = required_packages(extra)
        if all(each.fits for each in packages):
            yield Check(f"extra {extra}", "ok", ", ".join(map(str, packages)))
        else:
            yield Check(
                f"extra {extra}",
                "note",
                _misfits(packages),
                f"If you need it: pip install 'focusvla[{extra}]'",
            )


def _misfits(packages: list[Package]) -> str:
    return ", ".join(str(each) for each in packages if not each.fits)


def _rendering() -> Check:
    from focusvla.simulation.rendering import select_rendering_back_end

    try:
        return Check("rendering", "ok", f"MUJOCO_GL={select_rendering_back_end()} draws")
    except FocusVLAError as error:
        return Check("rendering", "failed", str(error))


_START = """
from focusvla.suites import Start
from focusvla.simulation.environment import only_environment
environment = only_environment("libero_object", 0, image_size=64)
environment.reset(Start(init_state=0))
environment.observe([camera.name for camera in environment.spec.cameras])
environment.close()
"""


def _starts() -> Check:
    """In a process of its own, as evaluations have it."""
    began = time.monotonic()
    try:
        ended = subprocess.run(
            [sys.executable, "-c", _START],
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Check(
            "simulation", "failed", "a task of LIBERO has not started after 300 s", "See what else runs here."
        )
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        return Check(
            "simulation", "failed", f"a task of LIBERO does not start: {reason}", "Mend that, and ask again."
        )
    return Check(
        "simulation", "ok", f"a task of LIBERO starts and is drawn in {time.monotonic() - began:.0f} s"
    )


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    found = f"{free:.0f} GB free in {Path.cwd()}"
    if free < FREE_GIGABYTES:
        return Check(
            "disk", "failed", f"{found}, expected {FREE_GIGABYTES}", "Free some, or work in another folder."
        )
    return Check("disk", "ok", found)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _memory_gigabytes() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
