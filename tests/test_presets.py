"""Every preset builds and learns with all its parameters, and has the paper's numbers."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch

from focusvla.config import ExperimentConfig, ModelConfig, PolicyHeadConfig, config_from_dict
from focusvla.errors import ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.presets import (
    NAMED_STRUCTURES,
    PRESETS,
    STRUCTURES,
    fitted,
    paper_structure,
    paper_tiny,
    preset,
    with_policy_head,
)
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec
from focusvla.types import ModelInputs

LIKE_PAPER = sorted(name for name in PRESETS if name.startswith(("paper", "baseline")))


def at_toy_size(name: str) -> ModelConfig:
    """The preset's own structure at the widths of `paper_tiny`."""
    full, toy = preset(name).model, paper_tiny().model
    kept = max(1, full.policy_head.num_kept_patches * toy.num_patches // full.num_patches)
    head = replace(full.policy_head, num_heads=toy.policy_head.num_heads, num_kept_patches=kept)
    num_queries = full.num_action_queries if head.attention == "mlp" else toy.num_action_queries
    return replace(toy, policy_head=head, num_action_queries=num_queries)


@pytest.mark.parametrize("num_cameras", [1, 2, 3])
def test_every_preset_fits_any_number_of_cameras(num_cameras):
    for name in PRESETS:
        before = preset(name).model
        camera = libero_spec(32).cameras[0]
        cameras = tuple(replace(camera, name=f"camera{index}") for index in range(num_cameras))
        model = fitted(preset(name), replace(libero_spec(32), cameras=cameras)).model
        kept, kept_before = model.policy_head.num_kept_patches, before.policy_head.num_kept_patches
        assert model.num_cameras == num_cameras
        if kept_before == before.num_policy_patches:
            assert kept == model.num_policy_patches, name
        else:
            assert kept == min(kept_before, model.num_policy_patches), name


@pytest.mark.parametrize("num_cameras", [1, 3])
def test_a_pooled_policy_sees_a_quarter_of_however_many_patches(num_cameras):
    pooled = with_policy_head(paper_tiny(), **STRUCTURES["pooled"] | {"num_kept_patches": 8, "gate": "none"})
    camera = libero_spec(56).cameras[0]
    cameras = tuple(replace(camera, name=f"camera{index}") for index in range(num_cameras))
    config = fitted(pooled, replace(libero_spec(56), cameras=cameras)).model
    assert config.policy_head.num_kept_patches == 4 * num_cameras
    model = FocusVLA(config)
    assert model(some_inputs(model)).shape == (2, 8, 7)


def some_inputs(model: FocusVLA) -> ModelInputs:
    generator = torch.Generator().manual_seed(0)
    config = model.config
    size = config.vision.image_size
    token_ids, token_mask = model.tokenize(["lift it", "push"])
    shape = (2, config.num_cameras, size, size, 3)
    return ModelInputs(
        images=torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
        features=None,
        token_ids=token_ids,
        token_mask=token_mask,
        state=torch.randn(2, config.state_dim, generator=generator),
    )


def count(parameters: Iterable[tuple[str, torch.nn.Parameter]], *prefixes: str) -> int:
    return sum(p.numel() for name, p in parameters if p.requires_grad and name.startswith(prefixes))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_builds_without_memory(name):
    with torch.device("meta"):
        model = FocusVLA(preset(name).model)
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("name", LIKE_PAPER)
def test_every_trainable_parameter_of_the_paper_and_its_ablations_receives_a_gradient(name):
    torch.manual_seed(0)
    model = FocusVLA(at_toy_size(name))
    for key, parameter in model.named_parameters():
        if "lora_B" in key or key.endswith(
            ("gate", "scalar")
        ):  # zero at first, and with it what they multiply
            torch.nn.init.normal_(parameter, std=0.1)
    model(some_inputs(model)).square().sum().backward()
    silent = [
        key
        for key, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert silent == []
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)


def test_the_paper_has_the_parameters_of_table_3_less_those_that_never_learn():
    with torch.device("meta"):
        named = list(FocusVLA(preset("paper").model).named_parameters())
    never_learn = 9_781_248 + 1_214_464 + 1_048_576 + 1_140_736  # output layer, pooling head, two last layers
    pretrained = count(named, "vision_encoder", "projector", "language_model", "action_queries")
    assert pretrained == 103_636_992 - never_learn
    assert count(named, "policy_head") - count(named, "policy_head.proprioception") == 239_060_871


def test_the_cells_of_figure_4_differ_in_structure_and_values_alone():
    base = paper_structure("mixed", "vlm").model
    assert (base.policy_head.attention, base.policy_head.gate, base.policy_head.num_kept_patches) == (
        "mixed",
        "none",
        512,
    )
    changed = paper_structure("cascaded", "vggt").model
    assert replace(changed, policy_head=base.policy_head) == base
    assert paper_structure("pooled", "ds").model.num_policy_patches == 128


@pytest.mark.parametrize("num_cameras", [1, 2, 3])
@pytest.mark.parametrize(("action_dim", "chunk_length"), [(7, 8), (14, 16)])
def test_any_number_of_cameras_and_any_action_layout(num_cameras, action_dim, chunk_length):
    torch.manual_seed(0)
    config = replace(
        paper_tiny().model,
        num_cameras=num_cameras,
        action_dim=action_dim,
        chunk_length=chunk_length,
        state_dim=action_dim,
    )
    model = FocusVLA(config)
    assert model(some_inputs(model)).shape == (2, chunk_length, action_dim)


def test_a_configuration_survives_being_saved():
    import json
    from dataclasses import asdict

    for name in PRESETS:
        experiment = preset(name)
        assert config_from_dict(ExperimentConfig, json.loads(json.dumps(asdict(experiment)))) == experiment


def test_the_recommended_recipe_differs_from_the_published_in_its_training_alone():
    published, ours = preset("paper"), preset("paper_recommended")
    assert replace(ours, training=published.training) == published
    assert ours.training.augmentation.crop_offsets == "independent"
    assert preset("paper_libero_goal").training == replace(
        published.training, steps=50_000, checkpoint_every=5_000, validate_every=5_000
    )


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("mini", ("cascaded", "shared", "none", "learned")),
        ("paper", ("cascaded", "shared", "rotary", "training_noise")),
        ("paper_mixed", ("mixed", "separate", "none", "training_noise")),
        ("baseline_mixed", ("mixed", "shared", "none", "training_noise")),
        ("baseline_mixed_separate", ("mixed", "separate", "none", "training_noise")),
    ],
)
def test_who_has_which_maps_positions_and_first_latent(name, reading):
    head = preset(name).model.policy_head
    assert (head.attention, head.streams, head.positions, head.latent) == reading
    assert (head.cascade, head.selection, head.initial_gate) == ("parallel", "per_query", 0.0)


def test_an_experiment_has_one_name():
    named = {}
    for name in PRESETS:
        named.setdefault(repr(preset(name)), []).append(name)
    assert [names for names in named.values() if len(names) > 1] == []
    for cell, name in NAMED_STRUCTURES.items():
        assert paper_structure(*cell) == preset(name)


def test_the_paper_starts_from_prismatic_and_only_toy_sizes_from_random_frozen_layers():
    assert paper_structure("cascaded", "ds").weights == preset("paper").weights
    assert preset("paper").weights.prismatic == "Stanford-ILIAD/prism-qwen25-extra-dinosiglip-224px-0_5b"
    assert [name for name in PRESETS if preset(name).weights.random_frozen] == ["paper_tiny"]


def test_a_head_that_was_saved_before_these_choices_existed_is_read_as_it_was_trained():
    saved = {"num_heads": 8, "num_kept_patches": 256, "latent": "noise", "gate": "scalar"}
    head = config_from_dict(PolicyHeadConfig, saved)
    assert (head.positions, head.selection, head.cascade) == ("none", "per_query", "parallel")
    assert head.initial_gate == 0


def test_an_unknown_preset_is_named_with_the_nearest():
    with pytest.raises(ConfigurationError, match="paper_top_128"):
        preset("paper_top128")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_kept_patches": 33}, r"num_kept_patches: expected 1\.\.32 .*got 33"),
        ({"num_kept_patches": 0}, r"num_kept_patches: expected 1\.\.32"),
        ({"attention": "mixed"}, "policy_head.gate: expected none or scalar with mixed"),
        (
            {"attention": "mixed", "gate": "none"},
            "policy_head.positions: expected none with mixed, got 'rotary'",
        ),
        ({"attention": "mixed", "gate": "none", "positions": "none"}, "num_kept_patches: expected all 32"),
        (
            {"positions": "none"},
            "policy_head.latent: expected another than training_noise .* Set positions='rotary'",
        ),
        ({"num_heads": 32}, "policy_head.num_heads: expected heads of an even width"),
        ({"initial_gate": 0.5}, "policy_head.initial_gate: expected 0 with gate='element_wise'"),
        ({"gate": "scalar", "initial_gate": 1.0}, "policy_head.initial_gate: expected -1 < gate < 1"),
        ({"pooling": "2x2", "num_kept_patches": 9}, r"num_kept_patches: expected 1\.\.8"),
        ({"streams": "separate"}, "policy_head.streams: expected separate only with mixed"),
        ({"latent": "action_queries"}, "policy_head.latent: expected action_queries with mlp"),
        ({"num_layers": 2}, "policy_head.num_layers: expected 0 with cascaded"),
    ],
)
def test_choices_that_do_not_fit_together_are_refused(changes, message):
    model = paper_tiny().model
    with pytest.raises(ConfigurationError, match=message):
        replace(model, policy_head=replace(model.policy_head, **changes))


def test_a_chunk_that_the_action_queries_do_not_fill_is_refused():
    model = preset("baseline_mlp").model
    with pytest.raises(
        ConfigurationError, match=r"num_action_queries: expected chunk_length \* action_dim = 70"
    ):
        replace(model, chunk_length=10)


def test_a_preset_is_fitted_to_its_data_and_keeps_a_query_for_each_action():
    spec = aloha_spec(128)
    model = fitted(preset("mini"), spec, 16).model
    assert (model.num_cameras, model.state_dim, model.action_dim) == (3, 14, 14)
    assert (model.chunk_length, model.num_action_queries) == (16, 16)
    assert fitted(preset("baseline_mlp"), spec).model.num_action_queries == 8 * 14
    assert fitted(preset("baseline_mlp"), spec).model.policy_head.num_kept_patches == 3 * 256
    assert fitted(preset("paper"), spec, 16).model.num_action_queries == 64
    assert fitted(preset("mini"), libero_spec(128)) == preset("mini")
