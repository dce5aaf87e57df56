"""Encoders, language model and projector from their publishers' files and from Prismatic's checkpoint."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    Qwen2Config,
    Qwen2Model,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from focusvla.config import AdapterConfig, WeightsConfig
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.prompt import PROMPT
from focusvla.model.weights import load_backbones, load_pretrained, load_prismatic
from focusvla.model.weights.backbones import find_prismatic
from focusvla.presets import mini_blind, paper, paper_tiny, tiny, with_policy_head
from published_weights import filled, projector, qwen2, timm_transformer

CONFIG = replace(
    paper_tiny().model, language=replace(paper_tiny().model.language, vocabulary=("lift", "push"))
)
VOCABULARY_SIZE = 4


@pytest.fixture
def model() -> FocusVLA:
    torch.manual_seed(0)
    return FocusVLA(CONFIG)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """What the Hub's repositories hold, at toy widths, written by transformers itself."""
    torch.manual_seed(1)
    vision, language = CONFIG.vision, CONFIG.language
    made = {
        "dinov2": Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(
                hidden_size=vision.dinov2.hidden_size,
                num_hidden_layers=vision.dinov2.num_layers,
                num_attention_heads=vision.dinov2.num_heads,
                mlp_ratio=vision.dinov2.intermediate_size // vision.dinov2.hidden_size,
                image_size=98,
                patch_size=14,
                num_register_tokens=4,
            )
        ),
        "siglip": SiglipVisionModel(
            SiglipVisionConfig(
                hidden_size=vision.siglip.hidden_size,
                num_hidden_layers=vision.siglip.num_layers,
                num_attention_heads=vision.siglip.num_heads,
                intermediate_size=vision.siglip.intermediate_size,
                image_size=vision.image_size,
                patch_size=14,
            )
        ),
        "language": Qwen2Model(
            Qwen2Config(
                vocab_size=VOCABULARY_SIZE,
                hidden_size=language.hidden_size,
                intermediate_size=language.intermediate_size,
                num_hidden_layers=language.num_layers,
                num_attention_heads=language.num_heads,
                num_key_value_heads=language.num_key_value_heads,
            )
        ),
    }
    for name, network in made.items():
        network.save_pretrained(tmp_path / name)
    Tokenizer(models.WordLevel({"?": 0}, unk_token="?")).save(str(tmp_path / "language" / "tokenizer.json"))
    return {name: tmp_path / name for name in made}


def test_published_backbones_load_and_see_what_the_published_networks_see(model, folders):
    load_backbones(model, **folders)
    theirs = Dinov2WithRegistersModel.from_pretrained(folders["dinov2"])
    images = torch.randn(1, 3, 56, 56)
    states = theirs(images, output_hidden_states=True).hidden_states
    torch.testing.assert_close(model.get_submodule("vision_encoder.dinov2")(images), states[2][:, 5:])
    body = Qwen2Model.from_pretrained(folders["language"])
    embeddings = torch.randn(1, 5, 32)
    theirs_states = body(inputs_embeds=embeddings).last_hidden_state
    assert not torch.allclose(list(model.language_model(embeddings))[-1], theirs_states)  # another rope_theta
    body.rotary_emb.inv_freq.copy_(model.language_model.body.rotary_emb.inv_freq)
    torch.testing.assert_close(
        list(model.language_model(embeddings))[-1], body(inputs_embeds=embeddings).last_hidden_state
    )


@pytest.mark.parametrize(
    "prefix", ["", "vision_model."]
)  # as transformers 5 writes it, and 4 and the published file
def test_another_backbones_weights_are_refused_and_nothing_is_loaded(model, folders, prefix):
    file = folders["siglip"] / "model.safetensors"
    tensors = {name.removeprefix("vision_model."): tensor for name, tensor in load_file(file).items()}
    file.unlink()  # a file that is overwritten changes what was read of it
    save_file({f"{prefix}{name}": tensor for name, tensor in tensors.items()}, file)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"expected the weights of this model, got others.*vision_encoder.dinov2"
    ):
        load_backbones(
            model, dinov2=folders["siglip"], siglip=folders["siglip"], language=folders["language"]
        )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_repository_that_cannot_be_had_says_what_to_do(model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = r"{}=nobody/nothing: expected a folder, a file or a Hub repository.* give its folder with --{}\."
    with pytest.raises(CheckpointError, match=told.format("weights.dinov2", "weights.dinov2")):
        load_backbones(model, "nobody/nothing", "nobody/nothing", "nobody/nothing")
    with pytest.raises(CheckpointError, match=told.format("weights.prismatic", "weights.prismatic")):
        load_pretrained(model, WeightsConfig(prismatic="nobody/nothing", random_frozen=True))


def test_a_model_without_these_encoders_is_named():
    with pytest.raises(ConfigurationError, match=r"vision\.encoder: expected 'dinov2_siglip'.*got 'none'"):
        load_backbones(FocusVLA(mini_blind().model), "a", "b", "c")


def prismatic(has_encoders: bool) -> dict:
    groups = {
        "projector": filled(projector(CONFIG, ("projector.0", "projector.2", "projector.4"))),
        "llm_backbone": filled(qwen2(CONFIG, VOCABULARY_SIZE, "llm.")),
    }
    if has_encoders:
        patches = CONFIG.vision.patches_per_camera
        groups["vision_backbone"] = filled(
            timm_transformer(CONFIG.vision.dinov2, patches, "gamma", "dino_featurizer.")
            | timm_transformer(CONFIG.vision.siglip, patches, None, "siglip_featurizer.")
        )
    return {"model": groups}


@pytest.mark.parametrize("has_encoders", [True, False])
def test_prismatics_checkpoint_loads_with_and_without_encoders(model, tmp_path, has_encoders):
    held = prismatic(has_encoders)
    torch.save(held, tmp_path / "step.pt")
    before = model.state_dict()["vision_encoder.dinov2.pos_embed"].clone()
    load_prismatic(model, tmp_path / "step.pt")
    loaded = model.state_dict()
    groups = held["model"]
    assert torch.equal(loaded["projector.fc2.base_layer.weight"], groups["projector"]["projector.2.weight"])
    key = "layers.1.mlp.up_proj"
    assert torch.equal(
        loaded[f"language_model.body.{key}.base_layer.weight"],
        groups["llm_backbone"][f"llm.model.{key}.weight"],
    )
    assert torch.equal(loaded["vision_encoder.dinov2.pos_embed"], before) == (not has_encoders)
    if has_encoders:
        name = "blocks.1.ls1.gamma"
        theirs = groups["vision_backbone"][f"dino_featurizer.{name}"]
        assert torch.equal(loaded[f"vision_encoder.dinov2.{name}"], theirs)


def test_a_prismatic_checkpoint_that_does_not_fit_is_refused_whole(model, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    held = prismatic(True)
    del held["model"]["vision_backbone"]["siglip_featurizer.blocks.0.mlp.fc1.bias"]
    torch.save(held, tmp_path / "step.pt")
    with pytest.raises(
        CheckpointError, match=re.escape("missing: vision_encoder.siglip.blocks.0.mlp.fc1.bias")
    ):
        load_prismatic(model, tmp_path / "step.pt")
    torch.save({"state": {}}, tmp_path / "step.pt")
    with pytest.raises(CheckpointError, match=r"expected .*'projector', 'llm_backbone'"):
        load_prismatic(model, tmp_path / "step.pt")
    torch.save({"model": {0: {}, "projector": {}}}, tmp_path / "step.pt")
    with pytest.raises(CheckpointError, match=r"got \['0', 'projector'\]"):
        load_prismatic(model, tmp_path / "step.pt")
    torch.save({"model": {**prismatic(True)["model"], "projector": [torch.ones(2)]}}, tmp_path / "step.pt")
    with pytest.raises(CheckpointError, match=r"step\.pt, projector: expected tensors by name, got list"):
        load_prismatic(model, tmp_path / "step.pt")
    (tmp_path / "step.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="expected a file of tensors alone"):
        load_prismatic(model, tmp_path / "step.pt")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_prismatic_folder_or_repository_has_one_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "prism" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "latest-checkpoint.pt").touch()
    assert find_prismatic(tmp_path / "prism") == folder / "latest-checkpoint.pt"
    first = folder / "step-020792-epoch-01-loss=0.5268.pt"
    first.touch()
    assert find_prismatic(tmp_path / "prism") == find_prismatic(first) == first

    asked = []

    def downloaded(repository: str, allow_patterns: list[str]) -> str:
        asked.append((repository, allow_patterns))
        return str(tmp_path / "prism")

    monkeypatch.setattr("huggingface_hub.snapshot_download", downloaded)
    assert find_prismatic("nobody/prism") == first
    assert asked == [("nobody/prism", ["checkpoints/step-*.pt"])]

    (folder / "step-020793-epoch-02.pt").touch()
    for source in (tmp_path / "prism", "nobody/prism"):
        with pytest.raises(
            CheckpointError,
            match=r"expected one file checkpoints/step-\*\.pt in it, got step-020792-epoch-01-loss=0\.5268\.pt, "
            r"step-020793-epoch-02\.pt\. Give the path of the file itself with --weights\.prismatic",
        ):
            find_prismatic(source)
    with pytest.raises(CheckpointError, match=r"in it, got none"):
        find_prismatic(folder)


@pytest.fixture
def prismatic_folder(tmp_path: Path) -> Path:
    """As published, at toy widths."""
    (tmp_path / "prism" / "checkpoints").mkdir(parents=True)
    torch.save(prismatic(has_encoders=False), tmp_path / "prism" / "checkpoints" / "step-1.pt")
    return tmp_path / "prism"


def test_published_backbones_and_prismatic_leave_nothing_frozen_at_random(model, folders, prismatic_folder):
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    for parameter in frozen:
        torch.nn.init.constant_(parameter, float("nan"))
    named: dict[str, Any] = {name: str(folder) for name, folder in folders.items()}
    load_pretrained(model, WeightsConfig(**named, prismatic=str(prismatic_folder)))
    assert all(parameter.isfinite().all() for parameter in frozen)
    held = prismatic(has_encoders=False)["model"]["projector"]["projector.0.weight"]
    assert torch.equal(model.state_dict()["projector.fc1.base_layer.weight"], held)


@pytest.mark.parametrize(
    ("given", "head", "refused"),
    [
        ("", {}, "vision_encoder .*, projector .*, language_model .*--weights.dinov2"),
        ("dinov2 siglip language", {}, r"nothing for projector \(12,768 parameters\).*Give --weights.prismatic for p"),
        ("prismatic", {}, r"nothing for vision_encoder \([\d,]+ parameters\).*Give --weights.dinov2, --weights.siglip"),
        ("dinov2 siglip language prismatic", {"values": "vggt"}, "nothing for vggt .*Give --weights.vggt for vggt"),
    ],
    ids=["nothing", "no projector", "no encoders in it", "no VGGT"],
)  # fmt: skip
def test_layers_that_neither_learn_nor_were_loaded_are_refused_unless_that_is_asked_for(
    given, head, refused, folders, prismatic_folder
):
    experiment = with_policy_head(paper_tiny(), **head)
    language = replace(experiment.model.language, vocabulary=("lift", "push"))
    model = FocusVLA(replace(experiment.model, language=language))
    sources: dict[str, Any] = {n: str(folder) for n, folder in folders.items()} | {
        "prismatic": str(prismatic_folder)
    }
    weights = WeightsConfig(**{name: sources[name] for name in given.split()})
    with pytest.raises(ConfigurationError, match=f"weights: expected .*{refused}.* --weights.random-frozen"):
        load_pretrained(model, weights)
    load_pretrained(model, replace(weights, random_frozen=True))


def test_what_would_stay_random_is_told_before_anything_is_downloaded(model, monkeypatch):
    def downloaded(repository: str, allow_patterns: list[str]) -> str:
        raise AssertionError(repository)

    monkeypatch.setattr("huggingface_hub.snapshot_download", downloaded)
    with pytest.raises(ConfigurationError, match="nothing for projector"):
        load_pretrained(model, replace(paper().weights, prismatic=""))


def test_a_frozen_encoder_without_adapters_is_refused_as_well_and_what_learns_is_not(folders):
    frozen = FocusVLA(replace(CONFIG, adapters=AdapterConfig()))
    with pytest.raises(ConfigurationError, match=r"nothing for vision_encoder \([\d,]+ parameters\), which"):
        load_pretrained(frozen, WeightsConfig())
    named: dict[str, Any] = {name: str(folder) for name, folder in folders.items()}
    load_pretrained(frozen, WeightsConfig(**named))
    all_learn = replace(CONFIG, adapters=AdapterConfig(), vision=replace(CONFIG.vision, trainable=True))
    load_pretrained(FocusVLA(all_learn), WeightsConfig())
    load_pretrained(FocusVLA(tiny().model), WeightsConfig())  # its encoder is random by its name


def test_a_prompt_without_a_tokenizer_is_refused_before_training():
    language = replace(CONFIG.language, tokenizer="qwen2.5", vocabulary_size=8)
    with pytest.raises(
        ConfigurationError, match=r"weights\.language: expected a Qwen2\.5 with the tokenizer"
    ):
        load_pretrained(FocusVLA(replace(CONFIG, language=language)), WeightsConfig(random_frozen=True))


def test_an_index_that_points_elsewhere_is_refused(tmp_path):
    from focusvla.model.weights.files import read_safetensors

    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret.safetensors"}}')
    with pytest.raises(CheckpointError, match="expected names of files beside it"):
        read_safetensors(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(1)}, tmp_path / "two.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}'
    )
    assert sorted(read_safetensors(tmp_path)) == ["a", "b"]


def test_a_run_starts_from_published_weights_and_keeps_the_tokenizer_with_its_checkpoint(
    folders, arm_source, tmp_path
):
    from focusvla.policy import load_policy
    from focusvla.training.trainer import train

    letters = {character: index for index, character in enumerate(sorted(set(PROMPT)))}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(folders["language"] / "tokenizer.json"))
    network = Qwen2Model.from_pretrained(folders["language"])
    network.resize_token_embeddings(len(letters))
    network.save_pretrained(folders["language"])

    experiment = paper_tiny()
    language = replace(experiment.model.language, tokenizer="qwen2.5", vocabulary_size=len(letters))
    experiment = replace(
        experiment,
        model=replace(experiment.model, language=language),
        training=replace(experiment.training, steps=2, checkpoint_every=2),
        weights=WeightsConfig(**{name: str(folder) for name, folder in folders.items()}, random_frozen=True),
    )
    elsewhere = replace(experiment, weights=replace(experiment.weights, dinov2=str(tmp_path / "nowhere")))
    with pytest.raises(CheckpointError, match="expected a folder, a file or a Hub repository"):
        train(elsewhere, arm_source(), tmp_path / "run", cache_folder=tmp_path)
    checkpoint = train(experiment, arm_source(), tmp_path / "run", cache_folder=tmp_path)
    theirs = load_file(folders["language"] / "model.safetensors")["layers.0.mlp.up_proj.weight"]
    ours = load_file(checkpoint / "model.safetensors")
    assert torch.equal(ours["language_model.body.layers.0.mlp.up_proj.base_layer.weight"], theirs)
    ids, _ = load_policy(checkpoint).model.tokenize(["lift"])
    assert ids.shape[1] == len(PROMPT.format(instruction="lift"))
