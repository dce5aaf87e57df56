"""Whether an exported policy answers as the policy does, asked in a process of its own that never imports focusvla."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from focusvla.errors import ExportError
from focusvla.policy import FocusVLAPolicy
from focusvla_client import Observation

BATCH_SIZES = (1, 2, 5)
TOLERANCE = 1e-4
"""Greatest difference of a number of an action, as a share of half the range that the dimension had in training; where it
was constant, in physical units."""
_WORDS = ("pick", "up", "the", "bowl", "zyx")
"""Of instructions, where a policy has no vocabulary; the last is unknown to those that have one."""


@dataclass(frozen=True)
class Question:
    """Observations that are asked about as one batch, and what the policy answered."""

    observations: Sequence[Observation]
    answer: Float32[np.ndarray, "observations chunk action"]


def draw_questions(policy: FocusVLAPolicy, seed: int) -> list[Question]:
    """Batches of random observations: noise for pictures, states within twice the training range, instructions of
    different lengths."""
    rng = np.random.default_rng(seed)
    questions = []
    for size in BATCH_SIZES:
        observations = [_draw(policy, rng) for _ in range(size)]
        questions.append(Question(observations, policy.infer_batch(observations)))
    return questions


def _draw(policy: FocusVLAPolicy, rng: np.random.Generator) -> Observation:
    normalizer = policy.state_normalizer
    words = [*policy.experiment.model.language.vocabulary, *_WORDS]
    return Observation(
        images={
            camera.name: rng.integers(0, 256, (camera.height, camera.width, 3), np.uint8)
            for camera in policy.spec.cameras
            if camera.name in policy.cameras
        },
        state=(normalizer.center + normalizer.half_range * rng.uniform(-2, 2, len(policy.spec.state))).astype(
            np.float32
        ),
        instruction=" ".join(rng.choice(words, rng.integers(1, 8))),
    )


def require_equal_answers(folder: Path, questions: Sequence[Question], policy: FocusVLAPolicy) -> float:
    """Ask the exported policy in `folder`; the greatest difference, in the unit of `TOLERANCE`.

    Raises:
        ExportError: it cannot be loaded, or a difference is greater than `TOLERANCE`.
    """
    half_range = policy.action_normalizer.half_range
    unit = np.where(half_range > 0, half_range, 1.0)
    differences = []
    answers = _ask(folder, [question.observations for question in questions])
    for answer, question in zip(answers, questions, strict=True):
        if answer.shape != question.answer.shape or not np.isfinite(answer).all():
            raise ExportError(
                f"{folder.name}: expected finite actions of shape {question.answer.shape}, got shape {answer.shape}. "
                "Nothing has been written."
            )
        differences.append(np.abs((answer - question.answer) / unit).max())
    greatest = float(np.max(differences))
    if not greatest <= TOLERANCE:
        raise ExportError(
            f"the exported policy answers otherwise than the checkpoint: expected differences of {TOLERANCE:g} of half "
            f"an action's range at most, got {greatest:.3g}. Nothing has been written."
        )
    return greatest


def _ask(folder: Path, batches: Sequence[Sequence[Observation]]) -> list[Float[np.ndarray, "..."]]:
    with tempfile.TemporaryDirectory() as temporary:
        files = []
        for number, observations in enumerate(batches):
            files += [Path(temporary) / f"asked-{number}.npz", Path(temporary) / f"answered-{number}.npz"]
            images: dict[str, Any] = {
                f"images.{camera}": np.stack([each.images[camera] for each in observations])
                for camera in observations[0].images
            }
            np.savez(
                files[-2],
                allow_pickle=False,
                **images,
                state=np.stack([each.state for each in observations]),
                instructions=np.array([each.instruction for each in observations]),
            )
        # Isolated, so that no path of ours reaches it.
        command = [sys.executable, "-I", str(folder / "run.py"), *map(str, files)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            raise ExportError(
                f"the exported policy cannot be run: {run.stderr.strip()[-500:]}. Nothing has been written."
            )
        answers = []
        for file in files[1::2]:
            with np.load(file) as saved:
                answers.append(saved["actions"])
        return answers
