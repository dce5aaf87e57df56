"""A seeing policy with random weights, and folders like those that training and evaluation leave behind."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from focusvla.checkpoint import checkpoint_folder
from focusvla.config import ExperimentConfig
from focusvla.data.memory import MemorySource
from focusvla.data.normalization import Statistics
from focusvla.data.video import encode_video
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.results import EpisodeResult, result_line
from focusvla.model.focusvla import FocusVLA
from focusvla.policy import FocusVLAPolicy
from focusvla.presets import tiny
from focusvla.suites import protocol
from focusvla.suites.libero import libero_spec
from focusvla.visualization.report import Evaluation, TrainingRun
from focusvla_client import Camera, Observation

INSTRUCTION = "pick up the <b>ketchup</b> & place it in the basket"
SIZE = 32
NUM_KEPT = 9
NUM_STEPS = 40
"""Of every episode: 5 inferences of 8 actions, 11 video frames 4 steps apart."""


@pytest.fixture
def experiment() -> ExperimentConfig:
    """`tiny`, keeping 9 of its 2 x 16 patches."""
    experiment = tiny()
    model = experiment.model
    head = dataclasses.replace(model.policy_head, num_kept_patches=NUM_KEPT)
    language = dataclasses.replace(model.language, vocabulary=("basket", "ketchup", "pick", "up"))
    return dataclasses.replace(
        experiment, model=dataclasses.replace(model, policy_head=head, language=language)
    )


@pytest.fixture
def blind_experiment(experiment: ExperimentConfig) -> ExperimentConfig:
    vision = dataclasses.replace(experiment.model.vision, encoder="none")
    return dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, vision=vision))


@pytest.fixture
def make_policy(arm_source: Callable[..., MemorySource]) -> Callable[[ExperimentConfig], FocusVLAPolicy]:
    def make(experiment: ExperimentConfig) -> FocusVLAPolicy:
        torch.manual_seed(0)
        source = arm_source()
        return FocusVLAPolicy(
            FocusVLA(experiment.model), source.spec, Statistics.from_source(source), experiment
        )

    return make


@pytest.fixture
def observation() -> Observation:
    rng = np.random.default_rng(0)
    return Observation(
        images={
            camera.name: rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            for camera in libero_spec(SIZE).cameras
        },
        state=np.zeros(8, np.float32),
        instruction="pick up ketchup",
    )


@pytest.fixture
def save_run(tmp_path: Path, arm_source: Callable[..., MemorySource]) -> Callable[..., TrainingRun]:
    """Write a training run with 20 logged steps and a checkpoint of random weights."""

    def save(name: str, experiment: ExperimentConfig) -> TrainingRun:
        run = tmp_path / name.replace(" ", "-")
        folder = checkpoint_folder(run, 20)
        folder.mkdir(parents=True)
        source = arm_source()
        for file, values in {
            run / "experiment.json": asdict(experiment),
            folder / "config.json": asdict(experiment),
            folder / "spec.json": source.spec.to_dict(),
            folder / "statistics.json": Statistics.from_source(source).to_dict(),
            folder / "versions.json": {"torch": "9.8.7", "commit": None},
        }.items():
            file.write_text(json.dumps(values))
        torch.manual_seed(0)
        save_file(FocusVLA(experiment.model).state_dict(), folder / "model.safetensors")
        lines = [{"step": step, "loss": 1 / step, "learning_rate": 1e-3} for step in range(1, 21)]
        lines += [{"step": 10, "validation_loss": 0.35}, {"step": 20, "validation_loss": 0.1234}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return TrainingRun(name=name, path=run, command=f"focusvla train {name.split()[0]}")

    return save


@pytest.fixture
def save_evaluation(tmp_path: Path) -> Callable[..., Evaluation]:
    """Write an evaluation of task 3 with `outcomes`; the last episode broke if `error` is given."""

    def save(
        name: str,
        protocol_name: str,
        outcomes: Sequence[bool],
        *,
        is_blind: bool = False,
        error: str = "",
        checkpoint: Path = Path("runs/mini"),
        precision: str = "",
    ) -> Evaluation:
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        rules = protocol(protocol_name)
        weights = checkpoint / "model.safetensors"
        policy = hashlib.sha256(weights.read_bytes()).hexdigest()[:16] if weights.is_file() else "none"
        episodes = [
            EpisodeResult(
                suite="libero_object",
                task=3,
                instruction=INSTRUCTION,
                trial=trial,
                condition="",
                seed=rules.start("libero_object", trial).seed,
                success=success,
                steps=NUM_STEPS,
                inferences=5,
                seconds=2.5,
                protocol=protocol_name,
                policy=PolicyIdentity(weights=policy, precision=precision),
                actions_per_inference=8,
                error=error if trial == len(outcomes) - 1 else "",
                versions={"torch": "1.2.3"},
            )
            for trial, success in enumerate(outcomes)
        ]
        (folder / "results.jsonl").write_text("".join(map(result_line, episodes)))
        (folder / "protocol.json").write_text(json.dumps(rules.to_dict() | {"checkpoint": str(checkpoint)}))
        return Evaluation(
            label="widened starts" if rules.displacement_meters else "standard starts",
            results=folder,
            policy="vision-blind baseline" if is_blind else "FocusVLA",
            is_blind=is_blind,
        )

    return save


@pytest.fixture
def save_drawing() -> Callable[..., Path]:
    """Write the video, whose frame n is 20 n bright, and the trajectory of an episode of task 3, whose actions count the
    steps."""

    def save(evaluation: Evaluation, trial: int, success: bool) -> Path:
        outcome = "success" if success else "failure"
        path = evaluation.results / "videos" / f"{_episode_name(trial)}-{outcome}.mp4"
        path.parent.mkdir(exist_ok=True)
        frames = [np.full((SIZE, 2 * SIZE, 3), 20 * index, np.uint8) for index in range(11)]
        encode_video(path, frames, Camera("both", SIZE, 2 * SIZE), 5.0)
        trajectory = evaluation.results / "trajectories" / f"{_episode_name(trial)}.safetensors"
        trajectory.parent.mkdir(exist_ok=True)
        actions = np.tile(np.arange(NUM_STEPS, dtype=np.float32)[:, None], 7)
        states = np.tile(np.arange(NUM_STEPS + 1, dtype=np.float32)[:, None], 8) / 10
        save_arrays({"actions": actions, "states": states, "snapshots": states}, trajectory)
        return path

    return save


@pytest.fixture
def save_observations() -> Callable[..., Path]:
    """Write `count` observations of a trial of task 3."""

    def save(evaluation: Evaluation, trial: int = 0, count: int = 5) -> Path:
        path = evaluation.results / "observations" / f"{_episode_name(trial)}.safetensors"
        path.parent.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        shape = (count, SIZE, SIZE, 3)
        images = {f"image.{c.name}": rng.integers(0, 256, shape, np.uint8) for c in libero_spec(SIZE).cameras}
        save_arrays(images | {"state": np.zeros((count, 8), np.float32)}, path)
        return path

    return save


def _episode_name(trial: int) -> str:
    return f"libero_object-task-003-trial-{trial:03d}"


@pytest.fixture
def save_demonstrations(tmp_path: Path) -> Callable[[], Path]:
    """Write the summary of 7 attempts of which 5 were kept."""

    def save() -> Path:
        folder = tmp_path / "data set"
        (folder / "meta").mkdir(parents=True)
        summary = {
            "config": {
                "suite": "libero_object",
                "tasks": [3],
                "episodes_per_task": 5,
                "seed": 77,
                "workers": 0,
            },
            "tasks": {"3": {"instruction": INSTRUCTION, "kept": 5, "attempts": 7}},
            "rejected": [],
        }
        (folder / "meta" / "demonstrations.json").write_text(json.dumps(summary))
        return folder

    return save
