"""What an inference costs as it has more to do: cameras, kept patches, action steps, observations at once.

A preset with random weights is prepared (`FocusVLAPolicy.prepare`) and timed from observations to actions, each point by
itself, one thing changed at a time; medians.

    python benchmarks/cost_against_work.py [--preset mini] [--device cpu] [--precision float32] [--mode eager]
                                           [--threads 1] [--calls 30] [--batches 1 8 64] [--plot FILE.png] [--quick]

The last line is a JSON object: for each of `cameras`, `kept_patches`, `action_steps` and `batch` a list of points with
`value`, `median_ms` and `per_second` (observations), and `best_batch`, whose throughput is the highest.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import MODES, build, contender, in_precision, observe, sized
from latency import timed
from machine import device_name, rounded

from focusvla.presets import preset
from focusvla.versions import versions

LABELS = {
    "cameras": "cameras",
    "kept_patches": "kept patches (K)",
    "action_steps": "actions in a chunk",
    "batch": "observations at once",
}


def main() -> None:
    """Time each point, draw, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--mode", default="eager", choices=list(MODES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--quick", action="store_true", help="a call each")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.calls, arguments.batches = 1, [1, 2]
    torch.set_num_threads(arguments.threads)
    found: dict[str, Any] = {
        thing: [point(arguments, thing, value) for value in values]
        for thing, values in questions(arguments).items()
    }
    best = max(found["batch"], key=lambda each: each["per_second"])
    found |= {
        "best_batch": best["value"],
        "preset": arguments.preset,
        "precision": arguments.precision,
        "mode": arguments.mode,
        "device": device_name(torch.device(arguments.device)),
        "versions": versions(),
    }
    if arguments.plot:
        draw(found, arguments.plot)
    print(json.dumps(found), flush=True)


def questions(arguments: argparse.Namespace) -> dict[str, list[int]]:
    """What is changed, and to what: patches of both cameras by eighths."""
    patches = preset(arguments.preset).model.num_patches
    return {
        "cameras": [1, 2, 3],
        "kept_patches": [patches // 8, patches // 4, patches // 2, patches],
        "action_steps": [8, 16, 32],
        "batch": arguments.batches,
    }


@torch.inference_mode()
def point(arguments: argparse.Namespace, thing: str, value: int) -> dict[str, float]:
    """The median of some calls."""
    device = torch.device(arguments.device)
    names = {"cameras": "cameras", "kept_patches": "kept", "action_steps": "chunk"}
    experiment = sized(arguments.preset, **({names[thing]: value} if thing in names else {}))
    policy = build(experiment, device)
    in_precision(policy, torch.bfloat16 if arguments.precision == "bfloat16" else torch.float32)
    _, act = contender(policy, arguments.mode)
    rng = np.random.default_rng(0)
    rows = value if thing == "batch" else 1
    seconds = [
        timed(act, [observe(policy, rng) for _ in range(rows)], device) for _ in range(arguments.calls + 3)
    ]
    median = float(np.median(seconds[3:]))
    return {"value": value, "median_ms": rounded(1e3 * median), "per_second": rounded(rows / median)}


def draw(found: dict[str, Any], file: Path) -> None:
    """One panel for each thing, the last with its throughput."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(LABELS), figsize=(13, 3.2), layout="constrained")
    for panel, (thing, label) in zip(panels, LABELS.items(), strict=True):
        values = [each["value"] for each in found[thing]]
        times = [each["median_ms"] for each in found[thing]]
        panel.plot(values, times, "o-", color="#1b6ca8")
        panel.set(xlabel=label, ylabel="ms" if thing == "cameras" else None, xticks=values)
        panel.spines[["top", "right"]].set_visible(False)
        if thing != "batch":
            panel.set_ylim(0, 1.15 * max(times))
    batch = panels[-1]
    batch.set(xscale="log", yscale="log")
    batch.set_xticks(
        [each["value"] for each in found["batch"]], [str(each["value"]) for each in found["batch"]]
    )
    batch.minorticks_off()
    throughput = batch.twinx()
    rates = [each["per_second"] for each in found["batch"]]
    throughput.plot([each["value"] for each in found["batch"]], rates, "s--", color="#c0572a")
    throughput.set_ylim(0, 1.15 * max(rates))
    throughput.set_ylabel("observations a second (dashed)", color="#c0572a")
    figure.suptitle(f"{found['preset']}, {found['precision']}, {found['device']}", fontsize=10)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
