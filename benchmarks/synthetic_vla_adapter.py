"""A run folder of VLA-Adapter's at full size, with the real names and shapes and random values: it loads and answers.

Who has no released weights sees with it that a folder of their form is read, in how much time and memory. Its actions
mean nothing, and a score needs the real ones (docs/how-to/vla-adapter.md).

    python benchmarks/synthetic_vla_adapter.py [--variant pro] [--output FOLDER] [--precision float32] [--calls 3]

Writes 2.7 to 3 GB, by default to a temporary folder that goes afterwards, then loads it in a process of its own and
prints a JSON line: `written_gb`, seconds to digest, to load and to prepare and the peak memory of that process after
each, seconds of the first answer and the median of the others, and the form of an answer. The prompt is split at its
spaces, since Qwen2.5's tokenizer is not at hand: about as many tokens as with its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import device_name, peak_memory, rounded
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

sys.path.insert(
    0, str(Path(__file__).parents[1] / "tests")
)  # where published names and shapes are written down
from focusvla.checkpoint import open_checkpoint
from focusvla.config import InferenceConfig
from focusvla.model.prompt import PROMPT
from focusvla.policy import load_policy
from focusvla.presets import baseline_mixed
from focusvla.versions import versions
from focusvla_client import Observation
from published_weights import merged_vla_adapter, vla_adapter_head

CPU = torch.device("cpu")


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Norms that change nothing, scales of a tenth, and matrices that neither grow nor vanish through the layers."""
    generator = torch.Generator().manual_seed(0)

    def make(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        if "norm" in name or "ffn.0" in name:
            return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        if name.endswith(("scale_factor", "gating_factor")):
            return torch.full(shape, 0.1)
        return torch.empty(shape).normal_(0, 0.02, generator=generator)

    return {name: make(name, shape).to(torch.bfloat16) for name, shape in shapes.items()}


def write_run(folder: Path, variant: str) -> int:
    """Fill `folder`, and return its size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    model = baseline_mixed().model
    language = model.language
    merged = merged_vla_adapter(model, language.vocabulary_size)
    del merged["language_model.lm_head.weight"]  # tied to the embedding
    save_file(random_weights(merged), folder / "model.safetensors")
    head = vla_adapter_head(variant, language.num_layers, language.hidden_size, model.action_dim)
    width, state_dim = language.hidden_size, model.state_dim
    proprioception = {
        "fc1.weight": (width, state_dim), "fc1.bias": (width,), "fc2.weight": (width, width), "fc2.bias": (width,),
    }  # fmt: skip
    for name, prefix, shapes in (
        ("action_head", "module.model.", head),
        ("proprio_projector", "module.", proprioception),
    ):
        tensors = {prefix + key: tensor for key, tensor in random_weights(shapes).items()}
        torch.save(tensors, folder / f"{name}--checkpoint.pt")
    text = {
        "hidden_size": width,
        "num_attention_heads": language.num_heads,
        "rope_theta": language.rope_theta,
    }
    text["num_key_value_heads"] = language.num_key_value_heads
    action = {"q01": [-0.9] * 6 + [0.0], "q99": [0.9] * 6 + [1.0], "mask": [True] * 6 + [False]}
    entry = {"action": action, "proprio": {"q01": [-1.0] * state_dim, "q99": [3.0] * state_dim}}
    (folder / "config.json").write_text(json.dumps({"model_type": "openvla", "text_config": text}))
    (folder / "dataset_statistics.json").write_text(json.dumps({"libero_spatial_no_noops": entry}))
    words = {word: number for number, word in enumerate(sorted({*PROMPT.split(), "?"}))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return sum(path.stat().st_size for path in folder.iterdir())


def measure(folder: Path, precision: str, calls: int) -> dict[str, object]:
    """Load and ask the policy in `folder`; what it took."""
    found: dict[str, object] = {}

    def timed(name: str, began: float) -> None:
        found[f"{name}_seconds"] = rounded(time.perf_counter() - began)
        found[f"{name}_peak_memory_gb"] = rounded(peak_memory(CPU) / 1e9)

    began = time.perf_counter()
    found["digest"] = open_checkpoint(folder).digest
    timed("digest", began)
    began = time.perf_counter()
    policy = load_policy(folder)
    timed("load", began)
    began = time.perf_counter()
    policy.prepare(InferenceConfig(precision="bfloat16" if precision == "bfloat16" else "float32"))
    timed("prepare", began)
    rng = np.random.default_rng(0)
    pictures = {
        camera: rng.integers(0, 256, (256, 256, 3), np.uint8).astype(np.uint8) for camera in policy.cameras
    }
    observation = Observation(
        pictures, policy.middle_state, "pick up the black bowl and place it on the plate"
    )
    seconds = []
    chunk = np.zeros(())
    for _ in range(calls):
        began = time.perf_counter()
        chunk = policy.infer(observation)
        seconds.append(time.perf_counter() - began)
    found["first_answer_seconds"] = rounded(seconds[0])
    found["answer_seconds"] = rounded(statistics.median(seconds[1:] or seconds))
    found["answer_peak_memory_gb"] = rounded(peak_memory(CPU) / 1e9)
    found["answer"] = {"shape": list(chunk.shape), "finite": bool(np.isfinite(chunk).all())}
    found["grippers"] = sorted(set(chunk[:, 6].tolist()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--variant", choices=("base", "pro"), default="pro")
    parser.add_argument(
        "--output", type=Path, help="folder to write and to keep; what is there is measured as it is"
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--measure-only", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure_only:
        print(json.dumps(measure(given.output, given.precision, given.calls)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.output or Path(temporary) / "run"
        exists = (folder / "model.safetensors").is_file()
        size = (
            sum(path.stat().st_size for path in folder.iterdir())
            if exists
            else write_run(folder, given.variant)
        )
        command = [sys.executable, __file__, "--measure-only", "--output", str(folder)]
        command += ["--precision", given.precision, "--calls", str(given.calls)]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode:
            sys.exit(ended.stderr)
        about = {
            "variant": given.variant,
            "precision": given.precision,
            "written_gb": rounded(size / 1e9),
            "device": device_name(CPU),
            "threads": torch.get_num_threads(),
        }
        print(json.dumps({**about, **json.loads(ended.stdout), "versions": versions()}))


if __name__ == "__main__":
    main()
