"""How fast training is fed, beside the lerobot library's own loader, on the same data set and the same machine.

A data set of 40 episodes of 150 steps, two cameras at 256 px that look at moving textures, is made and read by both
sides in batches of 64 with chunks of 8 actions. lerobot decodes each sample's frames when it is asked for them, in the
worker processes of torch's `DataLoader`, and gives float pictures of 256 px; its fastest of 2 and 4 workers and of its
two video backends is taken. Ours decodes everything once into the frame cache at 224 px and gives byte pictures.

*Warm* is the rate after the first batches, with our cache made before. *Cold* is all the time from opening the data set
to the end of one epoch, in which ours decodes the cache. Each run is a new process; imports are in neither figure. The
two sides take turns, and medians are compared.

    python benchmarks/dataloader.py [--lerobot-python PATH] [--quick]

The last line is a JSON object: `speedup_over_lerobot_warm` and `..._cold` are ratios of samples a second. CPU time,
imports left out, is what other work on the machine changes least. Memory is the greatest sum over a side's processes,
what they share counted once: `anonymous_mib` is what they hold, `mapped_mib` are pages of files, which the system takes
back when it needs them, `shared_mib` is what worker processes hand over.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from focusvla.config import Augmentation
from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.data.formats.lerobot_writer import LeRobotWriter
from focusvla.data.frame_cache import open_frame_cache
from focusvla.data.loader import BatchLoader
from focusvla.data.samples import build_samples
from focusvla.suites.libero import libero_spec

EPISODES, STEPS, SIZE, CACHED_SIZE, CHUNK, BATCH, SKIPPED = 40, 150, 256, 224, 8, 64, 2
STATE_LIMIT = 1.5
AUGMENTATION = Augmentation(shift_pixels=6, brightness=0.2, contrast=0.2, saturation=0.2)

INSTRUCTIONS = """\
    python3 -m venv lerobot-env
    lerobot-env/bin/python -m pip install lerobot==0.4.4     # and FFmpeg's libraries, which torchcodec loads
    python benchmarks/dataloader.py --lerobot-python lerobot-env/bin/python"""


def moving_texture(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """A window that wanders over a fixed background, and a patch that wanders within: what a wrist camera sees."""
    coarse = torch.from_numpy(rng.integers(0, 256, (1, 3, 48, 48)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, (SIZE + 80, SIZE + 80), mode="bicubic")[0]
    fine += torch.from_numpy(rng.normal(0, 4, fine.shape).astype(np.float32))
    background = fine.clamp(0, 255).byte().permute(1, 2, 0).numpy()
    patch = rng.integers(0, 256, 3, dtype=np.uint8)
    phase = rng.uniform(0, 6, 4)
    for step in range(STEPS):
        y, x, row, column = (0.5 + 0.5 * np.sin(phase + step / np.array([17, 23, 11, 13]))).tolist()
        frame = background[int(80 * y) :, int(80 * x) :][:SIZE, :SIZE].copy()
        frame[int(200 * row) :, int(200 * column) :][:40, :40] = patch
        yield frame


def make_dataset(path: Path, episodes: int) -> None:
    """Write the data set that both sides read."""
    spec, rng = libero_spec(SIZE), np.random.default_rng(0)
    with LeRobotWriter(path, spec, robot_type="panda") as writer:
        for _ in range(episodes):
            writer.add_episode(
                frames={camera.name: moving_texture(rng) for camera in spec.cameras},
                state=rng.normal(size=(STEPS, len(spec.state))),
                action=rng.uniform(-1, 1, (STEPS, len(spec.action))),
                instruction="follow the patch",
            )


def go_through(dataset: Path, cache: Path, augmentation: Augmentation, epochs: int) -> dict[str, Any]:
    """Our loader over the data set, from opening it; decodes the cache if there is none."""
    cpu_before, began = time.process_time(), time.perf_counter()
    source = LeRobotSource(dataset)
    frames = open_frame_cache(source, cache, size=CACHED_SIZE)
    decoded = time.perf_counter()
    samples = build_samples(
        source, statistics=source.statistics(), state_limit=STATE_LIMIT, chunk_length=CHUNK
    )
    loader = BatchLoader(
        samples,
        batch_size=BATCH,
        seed=0,
        tokenize=lambda texts: (torch.ones(len(texts), 1).long(), torch.ones(len(texts), 1).bool()),
        images=frames.images,
        augmentation=augmentation,
    )
    num_batches = epochs * -(-len(samples) // BATCH)
    warmed = began
    for number, batch in enumerate(loader.batches(0, num_batches)):
        assert batch.inputs.images is not None
        assert batch.inputs.images.shape == (BATCH, 2, CACHED_SIZE, CACHED_SIZE, 3)
        if number + 1 == SKIPPED:
            warmed = time.perf_counter()
    ended = time.perf_counter()
    return {
        "cold": {"seconds": ended - began, "samples": num_batches * BATCH},
        "warm": {"seconds": ended - warmed, "samples": (num_batches - SKIPPED) * BATCH},
        "decoding_seconds": decoded - began,
        "cpu_before": cpu_before,
    }


def measured(command: list[str]) -> dict[str, Any]:
    """The JSON object that a command prints last, and the memory and CPU that its processes take."""
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    cpu_before = children_cpu()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet)
    peak: dict[str, float] = {}

    def watch() -> None:
        while process.poll() is None:
            found = memory_mib(process.pid)
            if sum(found.values()) > sum(peak.values()):
                peak.update(found)
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with code {process.returncode}")
    found = json.loads(printed.splitlines()[-1]) | peak
    return found | {"cpu_seconds": children_cpu() - cpu_before - found["cpu_before"]}


def children_cpu() -> float:
    """Seconds of CPU that ended processes and those that they started have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mib(root: int) -> dict[str, float]:
    """Memory of a process and those that it started, what they share counted once."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended
            continue
    family = {root}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    total = {"anonymous_mib": 0.0, "mapped_mib": 0.0, "shared_mib": 0.0}
    for pid in family:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue
        facts = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
        for name, key in zip(total, ("Pss_Anon", "Pss_File", "Pss_Shmem"), strict=True):
            total[name] += facts.get(key, 0.0)
    return total


def rate(run: dict[str, Any], kind: str) -> float:
    """Samples a second."""
    return run[kind]["samples"] / run[kind]["seconds"]


def main() -> None:
    """Time both sides in turn and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="6 episodes, one repeat, about a minute")
    parser.add_argument("--lerobot-python", type=Path, help="of a virtual environment with lerobot")
    parser.add_argument("--ours", nargs=4, help=argparse.SUPPRESS)  # how this file starts itself
    arguments = parser.parse_args()
    if arguments.ours:
        dataset, cache, augmented, epochs = arguments.ours
        settings = AUGMENTATION if augmented == "augmented" else Augmentation()
        print(json.dumps(go_through(Path(dataset), Path(cache), settings, int(epochs))))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), arguments.lerobot_python, quick=arguments.quick)


def compare(folder: Path, lerobot_python: Path | None, *, quick: bool) -> None:
    """Make the data set, run both sides in turn, print what was found."""
    dataset, cache = folder / "dataset", folder / "cache"
    make_dataset(dataset, 6 if quick else EPISODES)
    megabytes = sum(file.stat().st_size for file in dataset.rglob("*.mp4")) / 1e6
    print(f"data set: {megabytes:.0f} MB of video", flush=True)

    def ours(kind: str, cache: Path, epochs: int) -> dict[str, Any]:
        return measured([sys.executable, __file__, "--ours", str(dataset), str(cache), kind, str(epochs)])

    def theirs(backend: str, workers: int, max_batches: int) -> dict[str, Any]:
        peer = Path(__file__).with_name("peer_lerobot_loader.py")
        return measured(
            [str(lerobot_python), str(peer), str(dataset), backend, str(workers), str(max_batches)]
        )

    choices = {}
    if lerobot_python:
        for backend in ("torchcodec", "pyav"):
            for workers in (2, 4):
                choices[backend, workers] = rate(theirs(backend, workers, 12), "warm")
                print(
                    f"lerobot, {backend}, {workers} workers: {choices[backend, workers]:.0f} samples/s",
                    flush=True,
                )
    else:
        print(f"lerobot is left out: it needs an environment of its own. To make it and run:\n{INSTRUCTIONS}")
    runs: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": [], "augmented": [], "lerobot": []}
    for repeat in range(1 if quick else 3):
        runs["cold"].append(ours("plain", folder / f"cache-{repeat}", 1))
        (folder / f"cache-{repeat}").rename(cache) if not repeat else remove(folder / f"cache-{repeat}")
        runs["warm"].append(ours("plain", cache, 5))
        runs["augmented"].append(ours("augmented", cache, 2))
        if choices:
            runs["lerobot"].append(theirs(*max(choices, key=choices.__getitem__), max_batches=0))
        print(
            f"repeat {repeat + 1}, samples/s, load {os.getloadavg()[0]:.1f}: "
            + ", ".join(
                f"{name} {rate(found[-1], 'cold' if name == 'cold' else 'warm'):.0f}"
                for name, found in runs.items()
                if found
            ),
            flush=True,
        )
    figures = summary(runs)
    if choices:
        backend, workers = max(choices, key=choices.__getitem__)
        figures["lerobot_chosen"] = f"{backend}, {workers} workers"
    figures["video_megabytes"] = round(megabytes)
    figures["machine"] = (
        f"{platform.machine()}, {os.cpu_count()} cores, torch {version('torch')}, av {version('av')}"
    )
    print(json.dumps(figures))


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over the repeats, ratios of medians, and the greatest memory."""
    rates = {
        "ours_cold": [rate(run, "cold") for run in runs["cold"]],
        "ours_warm": [rate(run, "warm") for run in runs["warm"]],
        "ours_warm_augmented": [rate(run, "warm") for run in runs["augmented"]],
        "lerobot_cold": [rate(run, "cold") for run in runs["lerobot"]],
        "lerobot_warm": [rate(run, "warm") for run in runs["lerobot"]],
    }
    median = {name: statistics.median(found) for name, found in rates.items() if found}
    figures: dict[str, Any] = {}
    if runs["lerobot"]:
        for kind in ("warm", "cold"):
            figures[f"speedup_over_lerobot_{kind}"] = round(
                median[f"ours_{kind}"] / median[f"lerobot_{kind}"], 2
            )
    figures |= {f"{name}_samples_per_second": round(value, 1) for name, value in median.items()}
    figures["range"] = {
        name: [round(min(found), 1), round(max(found), 1)] for name, found in rates.items() if found
    }
    for name, side in (("cold", "ours_cold"), ("lerobot", "lerobot")):
        if runs[name]:
            spent = [1000 * run["cpu_seconds"] / run["cold"]["samples"] for run in runs[name]]
            figures[f"{side}_cpu_ms_per_sample"] = round(statistics.median(spent), 2)
    figures["ours_decoding_seconds"] = round(
        statistics.median(r["decoding_seconds"] for r in runs["cold"]), 2
    )
    for name, side in (("cold", "ours_cold"), ("warm", "ours_warm"), ("lerobot", "lerobot")):
        for kind in ("anonymous_mib", "mapped_mib", "shared_mib"):
            if runs[name]:
                figures[f"{side}_{kind}"] = round(max(run.get(kind, 0.0) for run in runs[name]))
    return figures


def remove(folder: Path) -> None:
    """Delete a cache that has been timed."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


if __name__ == "__main__":
    main()
