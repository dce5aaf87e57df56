"""The whole path at the paper's full size on a CPU, with weight files of the published names, keys, shapes and dtypes
and random values: what a user with the real ones does, in the user's own commands.

    python benchmarks/full_size_path.py [--folder FOLDER] [--write] [--lerobot-python PYTHON]

Writes the files (about 6 GB), trains `paper` for three steps with accumulation, kills it after its first checkpoint,
goes on, evaluates two episodes in LIBERO, serves and asks once, exports and, in an environment with LeRobot and this
package (LEROBOT_PYTHON), converts there and back. A JSON line for each stage: seconds and the peak memory of its largest
process. Interrupted, the same command with the same folder goes on with the stage that was not finished. `--write` leaves
a log in benchmarks/results. Takes about 20 minutes of two cores that multiply in bfloat16, 30 of others, 22 GB of memory
and 30 GB of disk.
"""

import argparse
import datetime
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import device_name, rounded
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

sys.path.insert(
    0, str(Path(__file__).parents[1] / "tests")
)  # where published names and shapes are written down
from synthetic_vla_adapter import random_weights

from focusvla.checkpoint import WEIGHTS, checkpoint_steps, open_checkpoint
from focusvla.config import ModelConfig, TransformerConfig
from focusvla.data.memory import random_source
from focusvla.model.prompt import PROMPT
from focusvla.presets import paper
from focusvla.suites.libero import libero_spec
from focusvla.versions import versions
from focusvla_client import Observation
from focusvla_client.websocket import WebsocketPolicy
from published_weights import projector, qwen2
from written_datasets import write_lerobot

PORT = 8143
FOCUSVLA = [sys.executable, "-m", "focusvla"]


def write_weights(folder: Path) -> str:
    """Published encoders, language model and Prismatic checkpoint, each in a folder or file of its published form."""
    model: ModelConfig = paper().model

    torch.manual_seed(0)

    def sizes(vision: TransformerConfig) -> dict[str, Any]:
        return {
            "hidden_size": vision.hidden_size,
            "num_hidden_layers": vision.num_layers,
            "patch_size": 14,
            "num_attention_heads": vision.num_heads,
        }

    dinov2, siglip = model.vision.dinov2, model.vision.siglip
    Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(**sizes(dinov2), mlp_ratio=4, image_size=518, num_register_tokens=4)
    ).save_pretrained(folder / "dinov2")
    SiglipVisionModel(
        SiglipVisionConfig(**sizes(siglip), intermediate_size=siglip.intermediate_size, image_size=224)
    ).save_pretrained(folder / "siglip")
    language = qwen2(model, model.language.vocabulary_size, "")
    del language["lm_head.weight"]  # tied to the embedding
    (folder / "qwen").mkdir(parents=True, exist_ok=True)
    save_file(random_weights(language), folder / "qwen" / "model.safetensors")
    words = {word: number for number, word in enumerate(sorted({*PROMPT.split(), "?"}))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "qwen" / "tokenizer.json"))
    parts = {
        "projector": projector(model, ("projector.0", "projector.2", "projector.4")),
        "llm_backbone": qwen2(model, model.language.vocabulary_size, "llm."),
    }
    held = {name: {k: t.float() for k, t in random_weights(shapes).items()} for name, shapes in parts.items()}
    file = folder / "prismatic" / "checkpoints" / "step-020792-epoch-01-loss=0.5268.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": held}, file)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e9:.1f} GB"


def run(*command: object, environment: dict[str, str] | None = None) -> str:
    """Run a command to its end and return what it said; its failure ends the benchmark with its own words."""
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)
    if ended.returncode:
        sys.exit(
            f"{' '.join(map(str, command))}\nexit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        )
    return ended.stdout


def precision() -> str:
    """bfloat16 where the processor multiplies in it; without its instructions a step in it takes 20 minutes."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags.split()) else "float32"


def training(folder: Path) -> list[object]:
    """The command."""
    weights = folder / "weights"
    return [
        *(
            *FOCUSVLA,
            "train",
            "paper",
            "--data",
            folder / "data",
            "--output",
            folder / "run",
            "--device",
            "cpu",
        ),
        *("--weights.dinov2", weights / "dinov2", "--weights.siglip", weights / "siglip"),
        *("--weights.language", weights / "qwen", "--weights.prismatic", weights / "prismatic"),
        *(
            "--steps",
            3,
            "--batch-size",
            2,
            "--micro-batch-size",
            1,
            "--precision",
            precision(),
            "--checkpoint-every",
            1,
            "--keep-checkpoints",
            1,
        ),
    ]


def train_and_kill(folder: Path) -> str:
    """Until the first checkpoint is there."""
    with (folder / "train.log").open("w") as log:
        process = subprocess.Popen([*map(str, training(folder))], stdout=log, stderr=log)
        while not checkpoint_steps(folder / "run"):
            if process.poll() is not None:
                sys.exit((folder / "train.log").read_text())
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return f"killed with step {checkpoint_steps(folder / 'run')[-1]} saved"


def go_on(folder: Path) -> str:
    """To the third step."""
    run(*training(folder))
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return "losses " + ", ".join(f"{line['loss']:.4f}" for line in lines if "loss" in line)


def evaluate(folder: Path) -> str:
    """Two episodes."""
    run(
        *(
            *FOCUSVLA,
            "evaluate",
            "--checkpoint",
            folder / "run",
            "--output",
            folder / "results",
            "--device",
            "cpu",
        ),
        *("--tasks", 2, "--trials", 2, "--workers", 1, "--no-videos", "--inference.precision", precision()),
    )
    results = [json.loads(line) for line in (folder / "results/results.jsonl").read_text().splitlines()]
    assert not any(result["error"] for result in results), results
    return f"{len(results)} episodes, {sum(result['inferences'] for result in results)} answers"


def serve(folder: Path) -> str:
    """One answer over a websocket."""
    how = ("--device", "cpu", "--max-batch", 1, "--inference.precision", precision())
    command = [*FOCUSVLA, "serve", folder / "run", "--port", PORT, *how]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "serving" in line:
            break
    try:
        policy = WebsocketPolicy("127.0.0.1", PORT, timeout_seconds=120)
        pictures = {name: random_source(libero_spec(256), (1,)).frames(0, name) for name in policy.cameras}
        state = random_source(libero_spec(256), (1,)).episode(0).state[0]
        chunk = policy.infer(
            Observation({k: next(iter(v)) for k, v in pictures.items()}, state, "lift the cup")
        )
    finally:
        process.terminate()
    if code := process.wait():
        sys.exit(f"focusvla serve ended with exit code {code}")
    return f"a chunk of {chunk.shape}"


def export(folder: Path) -> str:
    """A file that runs without focusvla."""
    shutil.rmtree(folder / "exported", ignore_errors=True)
    return run(*FOCUSVLA, "export", folder / "run", "--output", folder / "exported").splitlines()[-1]


def convert(folder: Path, python: str) -> str:
    """To LeRobot's form and back: equal tensors."""
    module = [python, "-m", "lerobot_policy_focusvla.convert"]
    there, back = folder / "lerobot", folder / "back"
    for made in (there, back):
        shutil.rmtree(made, ignore_errors=True)
    run(*module, "to-lerobot", folder / "run", there)
    run(*module, "from-lerobot", there, back)
    ours, theirs = (load_file(path / WEIGHTS) for path in (open_checkpoint(folder / "run").folder, back))
    unequal = [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]
    assert not unequal, unequal
    assert ours.keys() == theirs.keys()
    return f"{len(ours)} tensors equal after both ways"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, help="where to work and to leave everything; else a temporary folder"
    )
    parser.add_argument("--lerobot-python", default=os.environ.get("LEROBOT_PYTHON", ""))
    parser.add_argument("--write", action="store_true", help="leave the log in benchmarks/results")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        stages: dict[str, Callable[[], str]] = {
            "write weights": lambda: write_weights(folder / "weights"),
            "write data": lambda: str(
                write_lerobot(folder / "data", random_source(libero_spec(256), (12, 9))).name
            ),
            "train to a checkpoint and kill -9": lambda: train_and_kill(folder),
            "go on to step 3": lambda: go_on(folder),
            "evaluate two episodes": lambda: evaluate(folder),
            "serve one answer": lambda: serve(folder),
            "export": lambda: export(folder),
        }
        if given.lerobot_python:
            stages["convert to LeRobot and back"] = lambda: convert(folder, given.lerobot_python)
        done = folder / "stages.jsonl"
        lines = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
        for name, stage in stages.items():
            if any(line["stage"] == name for line in lines):
                continue
            lines.append(measured(name, stage))
            print(json.dumps(lines[-1]), flush=True)
            done.write_text("".join(json.dumps(line) + "\n" for line in lines))
        if not given.lerobot_python:
            print(json.dumps({"left_out": "LeRobot's conversion: no --lerobot-python"}))
    if given.write:
        write_log(lines)


def measured(name: str, stage: Callable[[], str]) -> dict[str, object]:
    """Seconds, and the greatest peak of a process so far if this stage raised it."""
    before, began = _peak(), time.perf_counter()
    shown = stage()
    seconds, peak = time.perf_counter() - began, _peak()
    raised = (
        {"peak_memory_gb": rounded(peak / 1e9)}
        if peak > before
        else {"peak_memory_gb_below": rounded(before / 1e9)}
    )
    return {"stage": name, "seconds": rounded(seconds), **raised, "shown": shown}


def _peak() -> int:
    own, children = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return 1024 * max(own, children)


def write_log(lines: list[dict[str, object]]) -> None:
    """As Markdown, under the day's date."""
    cores, today = len(os.sched_getaffinity(0)), datetime.date.today().isoformat()
    rows = [
        f"| {line['stage']} | {line['seconds']:g} | {line.get('peak_memory_gb', '')} | {line['shown']} |"
        for line in lines
    ]
    text = "\n".join(
        [
            "# The whole path of `paper` at full size, with random weights",
            "",
            f"`python benchmarks/full_size_path.py --write`, {device_name(torch.device('cpu'))}, {versions()}.",
            f"Computed in {precision()}. Peak memory is of the largest process, where a stage raised it.",
            "",
            "| stage | seconds | peak memory, GB | what it showed |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
    (Path(__file__).parent / "results" / f"full_size_path_{cores}cores_{today}.md").write_text(text)


if __name__ == "__main__":
    main()
