"""Whether 8-bit products make the vision encoder, most of an inference, faster, and how far its features move.

`paper`'s encoder with random weights reads random pictures of two cameras in bfloat16; beside it, in the same process,
copies whose linear layers torchao (`pip install torchao`, not a dependency) multiplies in 8 bits, activations scaled by
token: int8, and float8 on a GPU that has it. Layers are compiled. Medians.

    python benchmarks/quantized_encoder.py [--preset paper] [--device cpu] [--threads 2] [--calls 10]

The last line is a JSON object: for each precision `median_ms`, and `relative_error` of its features against bfloat16.
"""

import argparse
import copy
import json
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from contenders import sized
from latency import timed
from machine import device_name, rounded
from torchao.quantization import (  # pyright: ignore[reportMissingImports]
    Float8DynamicActivationFloat8WeightConfig,
    Int8DynamicActivationInt8WeightConfig,
    quantize_,
)

from focusvla.model.focusvla import FocusVLA
from focusvla.versions import versions

CONFIGS = {
    "int8": Int8DynamicActivationInt8WeightConfig,
    "float8": Float8DynamicActivationFloat8WeightConfig,
}


@torch.inference_mode()
def main() -> None:
    """Time each precision, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calls", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch._dynamo.config.recompile_limit = 64
    device = torch.device(arguments.device)
    config = sized(arguments.preset).model
    torch.manual_seed(0)
    with device:
        plain = FocusVLA(config).requires_grad_(False).eval().bfloat16()
        shape = (1, 2, config.vision.image_size, config.vision.image_size, 3)
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
    has_float8 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)
    expected = plain.encode_images(images).float()
    found: dict[str, Any] = {}
    for precision in ["bfloat16", "int8", *(["float8"] if has_float8 else [])]:
        model = copy.deepcopy(plain)
        assert model.vision_encoder is not None
        if precision in CONFIGS:
            quantize_(model.vision_encoder, CONFIGS[precision]())  # its linear layers
        for block in model.blocks():
            block.compile()
        moved = model.encode_images(images).float() - expected
        seconds = [timed(model.encode_images, images, device) for _ in range(2 + arguments.calls)][2:]
        found[precision] = {
            "median_ms": rounded(1e3 * median(seconds)),
            "relative_error": rounded(float(moved.norm() / expected.norm())),
        }
        print(precision, found[precision], flush=True)
    found |= {"preset": arguments.preset, "device": device_name(device)}
    found["versions"] = {**versions(), "torchao": version("torchao")}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
