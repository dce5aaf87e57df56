"""How far actions are from those of float32 where training and where prepared inference computes in bfloat16.

In training what a layer adds is computed in bfloat16, and what it adds it to, the residual stream of language model and
policy, stays float32, as autocast leaves it: action queries and policy learn in float32. A prepared policy holds all
weights in bfloat16, and its residual stream as well. Both answer the same observations with the same weights, drawn at
random, adapters merged.

    python benchmarks/precision.py [--preset paper] [--observations 16] [--device cpu] [--threads 2] [--quick]

The last line is a JSON object. Differences are means of absolute ones, as shares of the actions' deviation over
observations: `training` and `prepared` from float32, and `prepared_from_training`.
"""

import argparse
import json
from typing import Any

import numpy as np
import torch
from contenders import build, contender, observe, sized
from latency import difference
from machine import device_name, rounded

from focusvla.devices import choose_device
from focusvla.training.promotion import PromotedAsOnCUDA
from focusvla.versions import versions


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--observations", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="2 observations of `paper_tiny`")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.preset, arguments.observations = "paper_tiny", 2
    torch.set_num_threads(arguments.threads)
    print(json.dumps(measure(arguments.preset, arguments.observations, choose_device(arguments.device))))


@torch.inference_mode()
def measure(name: str, observations: int, device: torch.device) -> dict[str, Any]:
    """The figures."""
    policy = build(sized(name), device)
    rng = np.random.default_rng(0)
    questions = [[observe(policy, rng)] for _ in range(observations)]
    expected = np.stack([policy.infer_batch(question) for question in questions])
    model = policy.model
    for part in (model.vision_encoder, model.projector, model.language_model):  # what does not learn
        if part is not None:
            for parameter in part.parameters():
                parameter.data = parameter.data.to(torch.bfloat16)
    with torch.autocast(device.type, torch.bfloat16), PromotedAsOnCUDA():
        training = np.stack([policy.infer_batch(question) for question in questions])
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    _, act = contender(policy, "eager")
    prepared = np.stack([act(question) for question in questions])
    return {
        "preset": name,
        "observations": observations,
        "training": rounded(difference(training, expected)),
        "prepared": rounded(difference(prepared, expected)),
        "prepared_from_training": rounded(difference(prepared, training)),
        "device": device_name(device),
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
