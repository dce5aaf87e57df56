"""Whether pictures come as fast as a GPU learns from them: 64 samples of `paper` in 0.4 s, a step's time on an H100.

A frame cache of textures that move (two cameras, 224 px) is made as it is and as JPEG files, and batches of 64 are drawn
from random rows, as training draws them: read, decoded by the threads that prepare batches, uploaded, and varied on the
device by `paper`'s augmentation. *Host* is without augmentation, which on a GPU is the device's.

    python benchmarks/loading.py [--device auto] [--episodes 24] [--batches 40] [--threads 2 8] [--cache FOLDER] [--quick]

A JSON line for each format: for each number of threads `host` and `varied` samples a second, and how many times as many
as are needed; `cache_gb_of_libero`, what the four suites' 273,465 steps would take.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import device_name, rounded, synchronize

from focusvla.config import Augmentation
from focusvla.data.compressed_frames import CompressedFrames
from focusvla.data.frame_cache import FrameFormat, open_frame_cache
from focusvla.data.loader import BatchLoader
from focusvla.data.memory import MemorySource, random_source
from focusvla.data.samples import build_samples
from focusvla.devices import choose_device
from focusvla.presets import preset
from focusvla.suites.libero import libero_spec

SIZE, BATCH, STEPS = 224, 64, 100
NEEDED = BATCH / 0.4
"""Samples a second."""
LIBERO_STEPS = 273_465
"""Of the four suites without no-ops, as their published data sets count them."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--episodes", type=int, default=24, help=f"of {STEPS} steps")
    parser.add_argument("--batches", type=int, default=40, help="timed, for each figure")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 8], help="that prepare batches")
    parser.add_argument("--cache", type=Path, help="where caches lie; a temporary folder if not given")
    parser.add_argument("--quick", action="store_true", help="2 episodes, 2 batches")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.episodes, arguments.batches, arguments.threads = 2, 2, [2]
    with tempfile.TemporaryDirectory() as folder:
        for figures in measure(arguments.cache or Path(folder), arguments):
            print(json.dumps(figures), flush=True)


def measure(folder: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each format's figures."""
    device = choose_device(arguments.device)
    source = moving_pictures(arguments.episodes)
    where = {"device": device_name(device), "cores": len(os.sched_getaffinity(0))}
    formats: Sequence[FrameFormat] = ("raw", "jpeg")
    for frame_format in formats:
        began = time.perf_counter()
        cache = open_frame_cache(source, folder, size=SIZE, frame_format=frame_format)
        made = time.perf_counter() - began
        files = [path for path in folder.iterdir() if path.name.startswith(cache.path.stem + ".")]
        size = sum(path.stat().st_size for path in files if path.suffix != ".lock")
        figures: dict[str, Any] = {
            "cache_gb_of_libero": rounded(size / len(cache) * LIBERO_STEPS / 1e9),
            "made_in_seconds": rounded(made),
        }
        for threads in arguments.threads:
            for name, augmentation in (
                ("host", Augmentation()),
                ("varied", preset("paper").training.augmentation),
            ):
                rate = samples_per_second(
                    source, cache.images, augmentation, threads, arguments.batches, device
                )
                figures[f"{name}_{threads}_threads"] = rounded(rate)
                figures[f"{name}_{threads}_threads_times_needed"] = rounded(rate / NEEDED)
        yield {"needed_samples_per_second": NEEDED, "formats": {frame_format: figures}} | where


def samples_per_second(
    source: MemorySource,
    images: np.ndarray | CompressedFrames,
    augmentation: Augmentation,
    threads: int,
    batches: int,
    device: torch.device,
) -> float:
    """Of batches that are made and thrown away."""
    samples = build_samples(source, statistics=source.statistics(), state_limit=1.5, chunk_length=8)
    loader = BatchLoader(
        samples,
        batch_size=BATCH,
        seed=0,
        tokenize=lambda texts: (
            torch.ones(len(texts), 1, dtype=torch.int64),
            torch.ones(len(texts), 1, dtype=torch.bool),
        ),
        images=images,
        augmentation=augmentation,
        device=device,
    )
    began = time.perf_counter()
    for number, _ in enumerate(loader.batches(0, batches + threads, prefetch=threads)):
        if number + 1 == threads:  # those were made while the first was waited for
            synchronize(device)
            began = time.perf_counter()
    synchronize(device)
    return batches * BATCH / (time.perf_counter() - began)


def moving_pictures(episodes: int) -> MemorySource:
    """Smooth textures with fine noise over which a window wanders: about as hard for JPEG as a simulator's pictures."""
    spec, rng = libero_spec(SIZE), np.random.default_rng(0)
    plain = random_source(libero_spec(1), (STEPS,) * episodes)
    images = []
    for _ in range(episodes):
        coarse = torch.from_numpy(rng.integers(0, 256, (1, 3, 24, 24)).astype(np.float32))
        wide = torch.nn.functional.interpolate(coarse, (SIZE + STEPS, SIZE + STEPS), mode="bicubic")[0]
        wide += torch.from_numpy(rng.normal(0, 2, wide.shape).astype(np.float32))
        background = wide.clamp(0, 255).byte().permute(1, 2, 0).numpy()
        frames = np.stack([background[step:, step:][:SIZE, :SIZE] for step in range(STEPS)])
        images.append({camera.name: frames for camera in spec.cameras})
    return MemorySource(spec, [plain.episode(index) for index in range(episodes)], images)


if __name__ == "__main__":
    main()
