"""The whole model: what may influence what, what is refused, and that everything learns."""

from dataclasses import replace

import pytest
import torch

from focusvla.errors import ConfigurationError
from focusvla.model.focusvla import FocusVLA, absolute_errors
from focusvla.presets import paper_tiny, preset, with_policy_head
from focusvla.types import ModelInputs


def watch(model: FocusVLA, name: str) -> list:
    """Collect the outputs of the module of that name."""
    seen = []
    model.get_submodule(name).register_forward_hook(lambda module, args, output: seen.append(output))
    return seen


def test_states_of_patches_do_not_depend_on_the_instruction_but_kept_patches_and_actions_do(
    tiny_config, build, make_inputs
):
    model = build(tiny_config)
    keys = watch(model, "policy_head.vision_norms.1")
    weights = watch(model, "policy_head.blocks.1.attention_weights")
    inputs = make_inputs(model, "lift the cup")
    lifted = model(inputs)
    token_ids, token_mask = model.tokenize(["push push bowl"])
    pushed = model(replace(inputs, token_ids=token_ids, token_mask=token_mask))
    assert torch.equal(keys[0], keys[1])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.allclose(lifted, pushed)


def test_what_a_model_is_not_told_of_the_state_changes_nothing_and_what_it_is_told_does(
    tiny_config, build, make_inputs
):
    model = build(replace(tiny_config, ignored_state_dims=(1,)))
    inputs = make_inputs(model, "lift cup")
    changed = [inputs.state.clone() for _ in range(2)]
    changed[0][:, 1] += 1
    changed[1][:, 0] += 1
    answers = [model(replace(inputs, state=state)) for state in changed]
    assert torch.equal(answers[0], model(inputs))
    assert not torch.allclose(answers[1], model(inputs))


@pytest.mark.parametrize("dims", [(0, 0), (-1,), (64,)])
def test_a_state_dimension_that_is_not_there_cannot_be_ignored(tiny_config, dims):
    with pytest.raises(ConfigurationError, match="ignored_state_dims: expected different numbers of 0"):
        replace(tiny_config, ignored_state_dims=dims)


def test_padding_an_instruction_changes_nothing(tiny_config, build, make_inputs):
    model = build(tiny_config)
    alone = make_inputs(model, "lift cup")
    padded = replace(
        alone,
        token_ids=torch.cat([alone.token_ids, torch.tensor([[3, 0, 5]])], dim=1),  # ids under a False mask
        token_mask=torch.tensor([[True, True, False, False, False]]),
    )
    torch.testing.assert_close(model(padded), model(alone))


def test_a_batch_equals_its_samples_one_by_one(tiny_config, build, make_inputs):
    model = build(tiny_config)
    instructions = ["lift the cup", "push", "push the the bowl the"]
    inputs = make_inputs(model, *instructions)
    together = model(inputs)
    assert inputs.images is not None
    for index, instruction in enumerate(instructions):
        token_ids, token_mask = model.tokenize([instruction])
        single = ModelInputs(
            images=inputs.images[index : index + 1],
            features=None,
            token_ids=token_ids,
            token_mask=token_mask,
            state=inputs.state[index : index + 1],
        )
        torch.testing.assert_close(together[index : index + 1], model(single))


@pytest.mark.parametrize("gate", ["none", "scalar", "head_wise", "element_wise"])
@pytest.mark.parametrize("latent", ["zeros", "learned"])
def test_every_trainable_parameter_receives_a_gradient(tiny_config, build, make_inputs, gate, latent):
    head = replace(tiny_config.policy_head, gate=gate, latent=latent)
    vision = replace(tiny_config.vision, trainable=True)
    model = build(replace(tiny_config, policy_head=head, vision=vision))
    if gate == "scalar":  # closed at first, so that nothing behind it learns in the first step
        for block in model.policy_head.blocks:
            torch.nn.init.constant_(block.gate.scalar, 0.5)
    model(make_inputs(model, "lift the cup", "push")).square().sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    silent = {name for name, parameter in model.named_parameters() if not parameter.grad.any()}
    # LayerNorm of zeros is its bias, whatever its weight.
    assert silent <= {"policy_head.latent.norm.weight", *zero_at_start(latent)}


def zero_at_start(latent: str) -> set[str]:
    """The constant latent's bias starts at zero, and so does what multiplies it."""
    return {"policy_head.latent.linear.weight"} if latent == "zeros" else set()


def test_a_frozen_encoder_receives_no_gradient(tiny_config, build, make_inputs):
    model = build(tiny_config)
    inputs = make_inputs(model, "push")
    assert not model.encode_images(inputs.images).requires_grad
    model(inputs).sum().backward()
    assert all(parameter.grad is None for parameter in model.vision_encoder.parameters())


def test_features_computed_beforehand_equal_live_images(tiny_config, build, make_inputs):
    model = build(tiny_config)
    model.set_feature_statistics(torch.full((32,), 0.3), torch.full((32,), 0.2))
    inputs = make_inputs(model, "push the cup", "lift")
    features = model.encode_images(inputs.images)
    assert torch.equal(model(inputs), model(replace(inputs, images=None, features=features)))


def test_features_are_standardized_by_the_statistics_given(tiny_config, build, make_inputs):
    model = build(tiny_config)
    inputs = make_inputs(model, "push")
    features = model.encode_images(inputs.images)
    std = torch.linspace(0.5, 2, 32)
    std[3] = 0.0  # never varied: left at its scale
    model.set_feature_statistics(torch.arange(32.0), std)
    projected = watch(model, "policy_head.raw_projection")
    model(inputs)
    expected = (features - torch.arange(32.0)) / torch.where(std == 0, 1.0, std)
    torch.testing.assert_close(projected[0], model.policy_head.raw_projection(expected))
    with pytest.raises(ConfigurationError, match="expected 32 channels"):
        model.set_feature_statistics(torch.zeros(31), torch.ones(31))


def test_a_blind_model_ignores_images_and_needs_none(tiny_config, build, make_inputs):
    model = build(replace(tiny_config, vision=replace(tiny_config.vision, encoder="none")))
    inputs = make_inputs(model, "lift the cup")
    seeing_nothing = model(replace(inputs, images=None))
    assert torch.equal(model(inputs), seeing_nothing)
    assert model.config.num_patches == 2
    with pytest.raises(ConfigurationError, match=r"vision\.encoder: expected an encoder"):
        model.encode_images(inputs.images)


def test_a_seeing_model_does_not_ignore_images(tiny_config, build, make_inputs):
    model = build(tiny_config)
    inputs = make_inputs(model, "lift the cup")
    assert not torch.allclose(model(inputs), model(replace(inputs, images=255 - inputs.images)))


def test_the_same_seed_builds_the_same_model(tiny_config, build):
    first, second = build(tiny_config).state_dict(), build(tiny_config).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_errors_after_the_end_of_an_episode_do_not_count():
    actions = torch.tensor([[[1.0], [3.0], [9.0]]])
    errors = absolute_errors(torch.ones(1, 3, 1), actions, torch.tensor([[True, True, False]]))
    assert errors.flatten().tolist() == [0.0, 2.0, 0.0]


def test_missing_images_are_named(tiny_config, build, make_inputs):
    model = build(tiny_config)
    with pytest.raises(ConfigurationError, match=r"inputs\.images: expected images or features, got neither"):
        model(replace(make_inputs(model, "push"), images=None))


def test_a_wrong_number_of_cameras_is_named(tiny_config, build, make_inputs):
    model = build(tiny_config)
    inputs = make_inputs(model, "push")
    with pytest.raises(ConfigurationError, match=r"inputs\.images: expected 2 camera\(s\), got 1"):
        model(replace(inputs, images=inputs.images[:, :1]))


def test_a_wrong_state_width_is_named(tiny_config, build, make_inputs):
    model = build(tiny_config)
    with pytest.raises(ConfigurationError, match=r"inputs\.state: expected \(batch, 3\), got \(1, 8\)"):
        model(replace(make_inputs(model, "push"), state=torch.zeros(1, 8)))


def test_features_of_another_encoder_are_named(tiny_config, build, make_inputs):
    model = build(tiny_config)
    with pytest.raises(
        ConfigurationError, match=r"inputs\.features: .*8 patches, 32 channels\), got \(1, 8, 272\)"
    ):
        model(replace(make_inputs(model, "push"), images=None, features=torch.zeros(1, 8, 272)))


@pytest.mark.usefixtures("without_shape_checks")
def test_a_wrong_image_type_or_channel_count_is_named(tiny_config, build, make_inputs):
    model = build(tiny_config)
    inputs = make_inputs(model, "push")
    with pytest.raises(
        ConfigurationError, match=r"inputs\.images: expected torch\.uint8 .*, got torch\.float32"
    ):
        model(replace(inputs, images=inputs.images.float()))
    with pytest.raises(
        ConfigurationError, match=r"inputs\.images: expected .*3 channels\), got \(1, 2, 16, 16, 4\)"
    ):
        model(replace(inputs, images=torch.zeros(1, 2, 16, 16, 4, dtype=torch.uint8)))


def read_states(model: FocusVLA, inputs: ModelInputs) -> tuple[list, list]:
    """The language model's states after each layer, and what the first policy layer reads of patches and action
    queries."""
    states, read = [], []
    hooks = [
        model.language_model.register_forward_hook(lambda module, args, output: states.extend(output)),
        model.get_submodule("policy_head.blocks.0").register_forward_pre_hook(
            lambda module, args: read.extend(args[1:3])
        ),
    ]
    model(inputs)
    for hook in hooks:
        hook.remove()
    return states, read


@pytest.mark.parametrize("alignment", ["exact", "vla_adapter"])
def test_states_are_read_where_they_are_or_one_too_early_as_the_reference_does(make_inputs, alignment):
    torch.manual_seed(0)
    config = with_policy_head(paper_tiny(), values="vlm").model
    model = FocusVLA(replace(config, alignment=alignment))
    inputs = make_inputs(model, "lift the cup", "push")
    states, (action_queries, patches) = read_states(model, inputs)
    first = 1 if alignment == "exact" else 0
    assert torch.equal(patches, states[0][:, first : first + 32])
    for sample, num_tokens in enumerate(inputs.token_mask.sum(dim=1).tolist()):
        start = 32 + num_tokens - (alignment == "vla_adapter")
        assert torch.equal(action_queries[sample, :8], states[0][sample, start : start + 8])


def test_states_are_read_by_view(make_inputs):
    torch.manual_seed(0)
    model = FocusVLA(with_policy_head(paper_tiny(), values="vlm").model)
    states, (_, patches) = read_states(model, make_inputs(model, "lift"))
    assert patches.untyped_storage().data_ptr() == states[0].untyped_storage().data_ptr()


def test_in_the_papers_sequence_patches_do_not_depend_on_the_instruction_but_the_selection_does(make_inputs):
    torch.manual_seed(0)
    model = FocusVLA(paper_tiny().model).eval()
    for name, parameter in model.named_parameters():  # at their initial size, words hardly matter
        if name.startswith(("language_model", "action_queries")):
            torch.nn.init.normal_(parameter, std=0.3)
    kept = watch(model, "policy_head.blocks.2.attention_weights")
    inputs = make_inputs(model, "lift the cup")
    token_ids = inputs.token_ids.clone()
    token_ids[:, 1:] = 0  # the first token stands before the patches, and is the same in every prompt
    (states, _), (others, _) = (
        read_states(model, given) for given in (inputs, replace(inputs, token_ids=token_ids))
    )
    assert all(torch.equal(a[:, :33], b[:, :33]) for a, b in zip(states, others, strict=True))
    assert not torch.equal(kept[0] > 0, kept[1] > 0)


def test_the_papers_model_gives_a_batch_what_it_gives_its_samples(make_inputs):
    torch.manual_seed(0)
    model = FocusVLA(paper_tiny().model).eval()
    inputs = make_inputs(model, "lift the cup", "push", "lift")
    together = model(inputs)
    for index, instruction in enumerate(["lift the cup", "push", "lift"]):
        token_ids, token_mask = model.tokenize([instruction])
        single = ModelInputs(
            images=inputs.images[index : index + 1],
            features=None,
            token_ids=token_ids,
            token_mask=token_mask,
            state=inputs.state[index : index + 1],
        )
        torch.testing.assert_close(together[index : index + 1], model(single))


def test_a_prompt_shorter_than_what_stands_before_the_patches_is_named(make_inputs):
    model = FocusVLA(paper_tiny().model)
    with pytest.raises(ConfigurationError, match="at least num_tokens_before_vision=1, got 0"):
        model(make_inputs(model, ""))


def test_a_model_without_its_tokenizer_says_where_to_get_it():
    with torch.device("meta"):
        model = FocusVLA(preset("paper").model)
    with pytest.raises(ConfigurationError, match=r"'qwen2\.5' needs its files"):
        model.tokenize(["lift"])
