"""What a checkpoint restores: a run that goes on, and a new one that begins with what another has learned."""

import dataclasses

import pytest
import torch
from torch import nn

from focusvla.checkpoint import open_checkpoint
from focusvla.config import WeightsConfig
from focusvla.errors import ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.presets import tiny
from focusvla.suites.libero import libero_spec
from focusvla.training.checkpoint import fill_training, start_from
from focusvla.training.trainer import train, with_vocabulary
from focusvla.types import ModelInputs
from untrained_checkpoints import write_checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    words = ("lift", "the", "bowl", "plate")
    return write_checkpoint(tmp_path_factory.mktemp("trained") / "checkpoint", tiny(), libero_spec(32), words)


def answer(model: FocusVLA, instruction: str) -> torch.Tensor:
    images = torch.arange(2 * 32 * 32 * 3).reshape(1, 2, 32, 32, 3).to(torch.uint8)
    ids, mask = model.tokenize([instruction])
    with torch.inference_mode():
        return model.eval()(ModelInputs(images, None, ids, mask, torch.ones(1, 8)))


def test_a_run_that_starts_from_a_checkpoint_knows_what_it_knows_among_other_words(trained):
    torch.manual_seed(7)
    model = FocusVLA(with_vocabulary(tiny(), ["a bowl", "lift the zebra", "push"]).model)
    start_from(trained, model)
    before = open_checkpoint(trained)
    torch.testing.assert_close(
        answer(model, "lift the bowl"),
        answer(before.load_model(before.experiment.model), "lift the bowl"),
        rtol=0,
        atol=0,
    )
    assert not torch.equal(answer(model, "lift the zebra"), answer(model, "lift the bowl"))


def test_a_checkpoint_of_another_model_is_no_start_and_what_differs_is_listed(trained):
    model = tiny().model
    vision = dataclasses.replace(model.vision, image_size=64)
    other = dataclasses.replace(model, chunk_length=8, num_action_queries=8, vision=vision)
    with pytest.raises(
        ConfigurationError,
        match=r"same model, .*\(model.vision.image_size: 32 there, 64 here; model.chunk_length: 4 there, 8 here; "
        r"model.num_action",
    ):
        start_from(trained, FocusVLA(other))


def test_an_encoder_that_was_frozen_may_learn_from_a_checkpoint_on(trained):
    model = tiny().model
    learning = FocusVLA(dataclasses.replace(model, vision=dataclasses.replace(model.vision, trainable=True)))
    start_from(trained, learning)
    before = open_checkpoint(trained)
    frozen = before.load_model(before.experiment.model)
    name = "vision_encoder.convolution.weight"
    torch.testing.assert_close(learning.get_parameter(name), frozen.get_parameter(name), check_device=False)
    assert [each.get_parameter(name).requires_grad for each in (learning, frozen)] == [True, False]


def test_training_from_a_checkpoint_standardizes_features_as_it_did_also_after_an_interruption(
    trained, arm_source, tmp_path
):
    experiment = dataclasses.replace(tiny(), weights=WeightsConfig(checkpoint=str(trained)))
    before = open_checkpoint(trained)
    mean = before.load_model(before.experiment.model).feature_mean
    for steps in (10, 20):
        settings = dataclasses.replace(experiment.training, steps=steps, schedule="constant")
        folder = train(
            dataclasses.replace(experiment, training=settings),
            arm_source(),
            tmp_path / "run",
            cache_folder=tmp_path,
        )
        after = open_checkpoint(folder)
        assert torch.equal(after.load_model(after.experiment.model).feature_mean, mean)
        assert f"Begun with what {trained} had learned." in (folder / "README.md").read_text("utf-8")


def test_all_of_a_restored_optimizers_state_lies_on_the_device_of_its_parameters():
    """On a GPU AdamW is fused and wants its step there too. `capturable` asks the same of it on the meta device, which
    needs no GPU; what is read from a file lies on the CPU."""
    shapes = {"weight": (2, 3), "bias": (2,)}
    saved = {
        f"{kind}.{name}": torch.ones(shape)
        for kind in ("weight", "exp_avg", "exp_avg_sq")
        for name, shape in shapes.items()
    }
    parameters = {name: nn.Parameter(torch.empty(shape, device="meta")) for name, shape in shapes.items()}
    groups = [{"params": [parameters["bias"]]}, {"params": [parameters["weight"]], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, capturable=True)
    fill_training(parameters, optimizer, saved, step=5)
    for name, parameter in parameters.items():
        state = optimizer.state[parameter]
        assert {value.device.type for value in state.values()} == {"meta"}
        assert state["exp_avg"].shape == shapes[name]
