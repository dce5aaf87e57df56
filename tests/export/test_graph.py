"""The graph that is exported answers as the policy does, whatever the policy is made of."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from focusvla.config import ExperimentConfig
from focusvla.data.normalization import Normalizer, Quantiles
from focusvla.data.pictures import compress
from focusvla.export.check import draw_questions
from focusvla.export.graph import NormalizationConstants, PolicyGraph, export_program
from focusvla.policy import FocusVLAPolicy, load_policy
from focusvla.presets import fitted, paper_tiny, tiny, with_policy_head
from focusvla.suites.libero import libero_spec
from focusvla_client import Camera, Observation
from untrained_checkpoints import write_checkpoint
from vla_adapter_runs import write_toy_run

VOCABULARY = ("bowl", "pick", "the", "up")
SPEC = dataclasses.replace(libero_spec(32), cameras=(Camera("image", 40, 48), Camera("image2", 32, 32)))
"""One camera is resized and is no square, the other stays."""


def load(folder: Path, experiment: ExperimentConfig) -> FocusVLAPolicy:
    return load_policy(write_checkpoint(folder, fitted(experiment, SPEC), SPEC, VOCABULARY))


def arguments(policy: FocusVLAPolicy, observations: list[Observation], length: int = 9) -> tuple:
    ids, mask = policy.model.tokenize([each.instruction for each in observations])
    padding = (0, length - ids.shape[1])
    images = {
        camera: torch.from_numpy(np.stack([each.images[camera] for each in observations]))
        for camera in policy.cameras
    }
    state = torch.from_numpy(np.stack([each.state for each in observations]))
    return images, torch.nn.functional.pad(ids, padding), torch.nn.functional.pad(mask, padding), state


def test_normalization_in_the_graph_is_that_of_numbers():
    normalizer = Normalizer(Quantiles(q01=(0.0, 1.0, -1.0), q99=(10.0, 1.0, 1.0)), limit=1.5, untouched=[2])
    binary = Normalizer(Quantiles(q01=(0.0, 0.0), q99=(10.0, 1.0)), limit=1.0, margin=1e-8, binary=[1])
    answers = np.array([[0.5, 0.6], [0.1, 0.5], [-3.0, 0.2]], np.float32)
    in_graph = NormalizationConstants(binary).unnormalize(torch.from_numpy(answers))
    np.testing.assert_array_equal(in_graph, binary.unnormalize(answers))
    constants = NormalizationConstants(normalizer)
    values = np.array([[5.0, 1.0, 7.0], [20.0, 2.0, -3.0]], np.float32)
    normalized = constants.normalize(torch.from_numpy(values))
    np.testing.assert_array_equal(normalized, [[0.0, 0.0, 7.0], [1.5, 0.0, -3.0]])
    np.testing.assert_array_equal(normalized, normalizer.normalize(values))
    np.testing.assert_array_equal(
        constants.unnormalize(normalized), normalizer.unnormalize(normalized.numpy())
    )


def test_the_graph_answers_as_a_policy_with_a_fused_loop_and_taps_on_its_attention(tmp_path):
    policy = load(tmp_path / "one", tiny())
    assert policy.model.language_model.is_fused
    seen = []
    for name, module in policy.model.named_modules():
        if name.endswith("attention_weights"):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    (_, question, _) = draw_questions(policy, seed=0)
    assert len(seen) == 6  # three questions, two policy layers
    graph = PolicyGraph(load_policy(tmp_path / "one"))
    assert not graph.model.language_model.is_fused
    with torch.no_grad():
        answer = graph(*arguments(policy, list(question.observations)))
    np.testing.assert_allclose(answer, question.answer, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "experiment",
    [
        tiny(),
        dataclasses.replace(
            tiny(),
            model=dataclasses.replace(
                tiny().model, vision=dataclasses.replace(tiny().model.vision, encoder="none")
            ),
        ),
        with_policy_head(tiny(), cascade="sequential", gate="head_wise", selection="shared"),
        with_policy_head(
            tiny(),
            cascade="sequential_residual",
            positions="rotary",
            selection="action_queries",
            latent="training_noise",
        ),
        with_policy_head(tiny(), attention="mixed", gate="scalar", num_kept_patches=32, values="vlm"),
        with_policy_head(paper_tiny(), values="vggt"),
        with_policy_head(paper_tiny(), pooling="2x2", num_kept_patches=8),
    ],
    ids=["tiny", "blind", "sequential", "residual", "mixed", "vggt", "pooled"],
)
def test_an_exported_program_takes_any_number_of_observations_and_of_tokens(experiment, tmp_path):
    policy = load(tmp_path / "checkpoint", experiment)
    questions = draw_questions(policy, seed=0)
    graph = export_program(load_policy(tmp_path / "checkpoint")).module()
    for question, length in zip(questions, (7, 9, 12), strict=True):
        answer = graph(*arguments(policy, list(question.observations), length))
        np.testing.assert_allclose(answer, question.answer, atol=1e-5)


@pytest.mark.parametrize("variant", ["base", "pro"])
def test_the_graph_of_a_vla_adapter_policy_takes_what_its_jpeg_gives(variant, tmp_path):
    policy = load_policy(write_toy_run(tmp_path / "run", variant))
    (_, question, _) = draw_questions(policy, seed=0)
    images, *others = arguments(policy, list(question.observations), length=250)
    compressed = {camera: compress(shown, 95) for camera, shown in images.items()}
    answered = PolicyGraph(policy)(compressed, *others)
    np.testing.assert_allclose(answered.numpy(), question.answer, atol=1e-5)
