"""A prepared model answers as the plain one does, whatever was done to it to be fast."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from focusvla.config import ExperimentConfig, ModelConfig
from focusvla.model import inference
from focusvla.model.focusvla import FocusVLA
from focusvla.model.inference import InferenceModel, next_power_of_two
from focusvla.model.taps import recorded_layers, without_stream
from focusvla.presets import paper_tiny, with_policy_head

INSTRUCTIONS = ("lift the cup", "push", "push the bowl the bowl the bowl")


def compiles(test):
    """Marks a test that compiles, to which shape checks are not transparent."""
    test = pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")(test)  # torch's own
    return pytest.mark.long(pytest.mark.usefixtures("without_shape_checks")(test))


def with_vocabulary(experiment: ExperimentConfig) -> ModelConfig:
    language = replace(experiment.model.language, vocabulary=("bowl", "cup", "lift", "push", "the"))
    return replace(experiment.model, language=language)


@pytest.fixture
def model(tiny_config, build) -> FocusVLA:
    return build(tiny_config).eval()


def of_the_paper(num_action_queries: int = 8, **changes: object) -> ModelConfig:
    experiment = paper_tiny()
    model = replace(experiment.model, num_action_queries=num_action_queries)
    return with_vocabulary(with_policy_head(replace(experiment, model=model), **changes))


CONFIGURATIONS = {
    "paper": of_the_paper(),
    "sequential": of_the_paper(cascade="sequential", gate="head_wise", selection="shared"),
    "residual": of_the_paper(
        cascade="sequential_residual", gate="scalar", initial_gate=0.5, selection="action_queries"
    ),
    "no positions": of_the_paper(positions="none", latent="noise", selection="action_queries"),
    "mixed": of_the_paper(
        attention="mixed", positions="none", gate="scalar", num_kept_patches=32, values="vlm"
    ),
    "mixed, separate": of_the_paper(
        attention="mixed",
        positions="none",
        gate="scalar",
        num_kept_patches=32,
        values="vlm",
        streams="separate",
    ),
    "mlp": of_the_paper(
        56,
        attention="mlp",
        positions="none",
        num_layers=2,
        latent="action_queries",
        gate="none",
        values="vlm",
        num_kept_patches=32,
    ),
    "VGGT": of_the_paper(values="vggt"),
    "pooled": of_the_paper(pooling="2x2", num_kept_patches=8),
    "one too early": replace(of_the_paper(), alignment="vla_adapter"),
}


def answers_of_both(
    model: FocusVLA, make_inputs, instructions: Sequence[str], **prepared: object
) -> tuple[Tensor, Tensor]:
    """The plain model's answers, and those of a prepared copy."""
    inputs = make_inputs(model, *instructions)
    with torch.inference_mode():
        expected = model(inputs)
    options = {"dtype": torch.float32, "compiled": False, "graphs": False, **prepared}
    fast = InferenceModel(copy.deepcopy(model), **options)
    return expected, fast(inputs.images, instructions, inputs.state)


@pytest.mark.parametrize("graphs", [False, True], ids=["shapes as they come", "fixed shapes"])
@pytest.mark.parametrize("config", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_prepared_model_answers_as_the_plain_one(config, graphs, build, make_inputs):
    model = build(config).eval()
    for name, parameter in model.named_parameters():  # adapters begin at zero
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    expected, answers = answers_of_both(model, make_inputs, INSTRUCTIONS, graphs=graphs)
    torch.testing.assert_close(answers, expected, rtol=1e-4, atol=1e-5)


def test_a_blind_model_is_prepared_as_well(tiny_config, build, make_inputs):
    blind = replace(tiny_config, vision=replace(tiny_config.vision, encoder="none"))
    expected, answers = answers_of_both(build(blind).eval(), make_inputs, INSTRUCTIONS)
    torch.testing.assert_close(answers, expected, rtol=1e-4, atol=1e-5)


def test_features_are_standardized_in_a_prepared_model_too(model, make_inputs):
    model.set_feature_statistics(torch.randn(32), torch.rand(32) + 0.5)
    expected, answers = answers_of_both(model, make_inputs, INSTRUCTIONS)
    torch.testing.assert_close(answers, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_answers_are_near_and_are_float32(build, make_inputs):
    model = build(CONFIGURATIONS["paper"]).eval()
    expected, answers = answers_of_both(model, make_inputs, INSTRUCTIONS, dtype=torch.bfloat16)
    assert answers.dtype == torch.float32
    assert not torch.equal(answers, expected)
    torch.testing.assert_close(answers, expected, rtol=0, atol=0.05 * float(expected.abs().max()))


def test_positions_keep_their_angles_in_bfloat16(model):
    expected = InferenceModel(copy.deepcopy(model), dtype=torch.float32, compiled=False, graphs=False)
    rounded = InferenceModel(model, dtype=torch.bfloat16, compiled=False, graphs=False)
    packed = [each.model.language_model.packed for each in (expected, rounded)]
    assert torch.equal(*(each.turns(200) for each in packed if each is not None))


@compiles
def test_a_compiled_model_answers_as_the_plain_one(build, make_inputs):
    model = build(CONFIGURATIONS["paper"]).eval()
    expected, answers = answers_of_both(model, make_inputs, INSTRUCTIONS, compiled=True)
    torch.testing.assert_close(answers, expected, rtol=1e-4, atol=1e-5)


@compiles
def test_who_looks_at_a_compiled_model_sees_it_and_who_silences_a_stream_is_obeyed(model, make_inputs):
    inputs = make_inputs(model, "push")
    with torch.inference_mode(), without_stream(model, "vision"):
        expected = model(inputs)
    fast = InferenceModel(model, dtype=torch.float32, compiled=True, graphs=False)
    plain = fast(inputs.images, ["push"], inputs.state)
    with without_stream(model, "vision"):
        silenced = fast(inputs.images, ["push"], inputs.state)
    with recorded_layers(model) as records:
        watched = fast(inputs.images, ["push"], inputs.state)
    torch.testing.assert_close(silenced, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(watched, plain, rtol=1e-4, atol=1e-5)
    assert len(records) == 2
    assert not torch.allclose(silenced, plain)


def test_an_instruction_is_read_once_and_the_oldest_is_forgotten(model, make_inputs, monkeypatch):
    monkeypatch.setattr(inference, "MAX_KEPT_PROMPTS", 2)
    read = []
    tokenizer = model.tokenizer
    assert tokenizer is not None
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda texts: read.extend(texts) or encode(texts))
    fast = InferenceModel(model, dtype=torch.float32, compiled=False, graphs=False)
    inputs = make_inputs(model, "push")
    read.clear()
    for instruction in ("push", "push", "lift", "push", "cup", "lift", "push"):
        fast(inputs.images, [instruction], inputs.state)
    assert read == ["push", "lift", "cup", "push"]


def test_a_prepared_model_is_not_saved_without_what_it_gave_away(model):
    InferenceModel(model, dtype=torch.float32, compiled=False, graphs=False)
    with pytest.raises(RuntimeError, match="got one prepared to answer"):
        model.state_dict()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_a_graph_records_waits_for_no_number_and_is_all_on_the_device(name):
    meta = torch.device("meta")  # which has no numbers to wait for
    with meta:
        model = FocusVLA(CONFIGURATIONS[name]).eval()
        ids = torch.ones(2, 20, dtype=torch.int64)
        prompt = model.read_prompt(ids, torch.ones_like(ids, dtype=torch.bool))
        config = model.config
        side = config.vision.image_size
        images = torch.zeros(2, config.num_cameras, side, side, 3, dtype=torch.uint8)
        state = torch.zeros(2, config.state_dim)
    fast = InferenceModel(model, dtype=torch.float32, compiled=False, graphs=False)
    with torch.inference_mode():
        answers = fast._predict(images, state, prompt.before, prompt.after, prompt.first_query)
    assert answers.device == meta


def test_sizes_of_fixed_batches():
    assert [next_power_of_two(number) for number in (1, 2, 3, 5, 8, 9)] == [1, 2, 4, 8, 8, 16]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("default")  # torch's own, of a GPU and of compiling
@pytest.mark.parametrize("compiled", [False, True], ids=["layer by layer", "compiled"])
@pytest.mark.usefixtures("without_shape_checks")
def test_a_recorded_graph_answers_as_the_plain_model_for_every_input(compiled, build, make_inputs, caplog):
    model = build(CONFIGURATIONS["paper"]).eval()
    inputs = make_inputs(model, *INSTRUCTIONS)
    fast = InferenceModel(copy.deepcopy(model).cuda(), dtype=torch.float32, compiled=compiled, graphs=True)
    for shift in (0, 7, 90):
        images, state = inputs.images + shift, inputs.state + shift / 50
        with torch.inference_mode():
            expected = model(replace(inputs, images=images, state=state))
        answers = fast(images.cuda(), INSTRUCTIONS, state.cuda()).cpu()
        torch.testing.assert_close(answers, expected, rtol=1e-3, atol=1e-4)
    logged = [each for each in caplog.records if each.name.startswith("focusvla")]
    assert not logged  # a graph that cannot be recorded is logged
    assert len(fast._graphs) == 1
