"""Pretrained encoders and language models: as published on the Hub, and as Prismatic's checkpoint holds them.

A source is a folder, a file, or the id of a Hub repository. Published networks are deeper than ours by the layer whose
output is not used; that layer, final norms and pooling heads are left out by name, and nothing else is.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from focusvla.config import ModelConfig
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.model.prompt import PromptTokenizer
from focusvla.model.vision_transformer import resample_positions
from focusvla.model.weights.files import (
    StateDict,
    load_parts,
    read_pickled_tensors,
    read_safetensors,
    renamed,
    tensors_by_name,
)

_TIMM_BLOCK = re.compile(r"blocks\.(\d+)\..+")
_HUB_BLOCK = re.compile(r"encoder\.layers?\.(\d+)\.(.+)")
_HUB_INNER = {
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "self_attn.out_proj": "attn.proj",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
_HUB_OUTER = {
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.patch_embedding": "patch_embed.proj",
}
_QKV = re.compile(r"(.+\.)(?:attention(?:\.attention)?|self_attn)\.(?:q_proj|query)\.(weight|bias)")


def load_backbones(model: FocusVLA, dinov2: str | Path, siglip: str | Path, language: str | Path) -> set[str]:
    """Fill encoder and language model from their publishers' files, and set the tokenizer; the projector stays random.

    Returns:
        The names of the parameters that were filled, in the model without adapters.

    Raises:
        CheckpointError: a file cannot be had, is damaged, or its keys differ, which are listed; nothing is loaded then.
    """
    config = _require_paper_backbones(model)
    num_patches = config.vision.patches_per_camera
    encoders = {
        "vision_encoder.dinov2": dinov2_from_hub(
            read_safetensors(find_file(dinov2, "dinov2")), config.vision.dinov2.num_layers, num_patches
        ),
        "vision_encoder.siglip": siglip_from_hub(
            read_safetensors(find_file(siglip, "siglip")), config.vision.siglip.num_layers, num_patches
        ),
        "language_model.body": language_part(read_safetensors(find_file(language, "language"))),
    }
    tokenizer = load_tokenizer(language)
    filled = load_parts(model, encoders, f"{dinov2}, {siglip}, {language}")
    model.tokenizer = tokenizer
    return filled


def load_prismatic(model: FocusVLA, checkpoint: Path) -> set[str]:
    """Fill projector, language model and, if it holds them, encoders from Prismatic's `.pt` checkpoint.

    Without encoders in it, those of timm were used: load them with `load_backbones` first.

    Returns:
        As `load_backbones`.

    Raises:
        CheckpointError: it cannot be read or its keys differ, which are listed; nothing has been loaded.
    """
    config = _require_paper_backbones(model)
    held = read_pickled_tensors(checkpoint)
    groups = held.get("model") if isinstance(held, dict) else None
    known = {"projector", "llm_backbone", "vision_backbone"}
    if not isinstance(groups, dict) or not {"projector", "llm_backbone"} <= set(groups) <= known:
        got = sorted(map(str, groups)) if isinstance(groups, dict) else type(groups).__name__
        raise CheckpointError(
            f"{checkpoint}: expected {{'model': {{'projector', 'llm_backbone'[, 'vision_backbone']}}}}, got {got}. "
            "Give the file checkpoints/step-*.pt of a Prismatic run."
        )
    groups = {
        name: tensors_by_name(group, f"{checkpoint}, {name}")
        for name, group in groups.items()
        if name != "vision_backbone" or group is not None
    }
    positions = {"projector.0": "fc1", "projector.2": "fc2", "projector.4": "fc3"}
    parts = {
        "projector": renamed(groups["projector"], lambda name: _with_stem(name, positions)),
        "language_model.body": language_part(
            renamed(groups["llm_backbone"], lambda name: name.removeprefix("llm."))
        ),
    }
    if encoders := groups.get("vision_backbone"):
        num_patches = config.vision.patches_per_camera
        dinov2, siglip = (_under(encoders, f"{name}_featurizer.") for name in ("dino", "siglip"))
        if (
            left := set(encoders)
            - {f"dino_featurizer.{n}" for n in dinov2}
            - {f"siglip_featurizer.{n}" for n in siglip}
        ):
            raise CheckpointError(
                f"{checkpoint}: expected DINOv2 and SigLIP, got also {', '.join(sorted(left)[:5])}."
            )
        parts["vision_encoder.dinov2"] = vision_part_from_timm(
            dinov2, config.vision.dinov2.num_layers, num_patches
        )
        parts["vision_encoder.siglip"] = vision_part_from_timm(
            siglip, config.vision.siglip.num_layers, num_patches
        )
    return load_parts(model, parts, checkpoint)


def load_vggt(model: FocusVLA, source: str | Path) -> set[str]:
    """Fill VGGT's aggregator from the released weights; its heads for cameras, depth, points and tracks are left out.

    Returns:
        As `load_backbones`.

    Raises:
        CheckpointError: as `load_backbones`.
    """
    if model.vggt is None:
        raise ConfigurationError("policy_head.values: expected 'vggt' to load its weights.")
    config = model.config.vision
    tensors = read_safetensors(find_file(source, "vggt"))
    return load_parts(model, {"vggt": vggt_from_release(tensors, config.patches_per_camera)}, source)


def load_tokenizer(source: str | Path) -> PromptTokenizer:
    """Qwen2.5's tokenizer from a folder (`tokenizer.json`, or `vocab.json` and `merges.txt`) or from the Hub.

    Raises:
        CheckpointError: it cannot be had or read.
    """
    try:
        if (Path(source) / "tokenizer.json").is_file():
            return PromptTokenizer(Tokenizer.from_file(str(Path(source) / "tokenizer.json")))
        from transformers import AutoTokenizer  # a second

        return PromptTokenizer(AutoTokenizer.from_pretrained(str(source)).backend_tokenizer)
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"tokenizer={source}: expected Qwen2.5's tokenizer files, got {str(error).strip().splitlines()[0]}. "
            "Give a folder that holds them, or the id of a Hub repository that can be reached."
        ) from error


def find_file(source: str | Path, field: str) -> Path:
    """A local file or folder as it is; anything else is the id of a Hub repository, whose weights are downloaded.

    Raises:
        CheckpointError: it is neither here nor to be had; `field` of `WeightsConfig` named it.
    """
    return _here_or_downloaded(source, field, ["model*.safetensors", "model.safetensors.index.json"])


PRISMATIC_CHECKPOINTS = "checkpoints/step-*.pt"
"""Where a Prismatic repository or folder has its weights."""


def find_prismatic(source: str | Path) -> Path:
    """The file of a Prismatic model: `source` itself, or the one `checkpoints/step-*.pt` of a folder or Hub repository.

    Raises:
        CheckpointError: it is neither here nor to be had, or there are none or several, which are named.
    """
    found = _here_or_downloaded(source, "prismatic", [PRISMATIC_CHECKPOINTS])
    if found.is_file():
        return found
    files = sorted(found.glob(PRISMATIC_CHECKPOINTS)) or sorted(found.glob("checkpoints/*.pt"))
    if len(files) != 1:
        raise CheckpointError(
            f"weights.prismatic={source}: expected one file {PRISMATIC_CHECKPOINTS} in it, got "
            f"{', '.join(file.name for file in files) or 'none'}. Give the path of the file itself with "
            "--weights.prismatic."
        )
    return files[0]


def _here_or_downloaded(source: str | Path, field: str, patterns: Sequence[str]) -> Path:
    if Path(source).exists():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The Hub's client downloads with one library or another, depending on its version, and lets its errors through.
    network_errors: tuple[type[Exception], ...] = HfHubHTTPError.__bases__
    try:
        return Path(snapshot_download(str(source), allow_patterns=list(patterns)))
    except (*network_errors, HFValidationError, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise CheckpointError(
            f"weights.{field}={source}: expected a folder, a file or a Hub repository that can be reached, got {reason}. "
            f"Download it where there is a network, and give its folder with --weights.{field}."
        ) from error


def vision_part_from_timm(tensors: StateDict, num_layers: int, num_patches: int) -> StateDict:
    """A vision transformer in timm's layout without its last layer, final norm and pooling head."""

    def rename(name: str) -> str | None:
        if name.startswith(("norm.", "attn_pool.")):
            return None
        block = _TIMM_BLOCK.fullmatch(name)
        if block and int(block[1]) == num_layers - 1:
            return None
        return name.replace(".scale_factor", ".gamma")

    return _at_resolution(renamed(tensors, rename), num_patches)


def dinov2_from_hub(tensors: StateDict, num_layers: int, num_patches: int) -> StateDict:
    """DINOv2 with registers as its publisher has it: positions include the class token's, which is added to it."""
    mapped = _transformer_from_hub(tensors, num_layers)
    positions = mapped.pop("embeddings.position_embeddings", None)
    mapped.pop("embeddings.mask_token", None)
    tokens = {"embeddings.cls_token": "cls_token", "embeddings.register_tokens": "reg_token"}
    mapped = renamed(mapped, lambda name: tokens.get(name, name))
    if positions is not None and "cls_token" in mapped:
        mapped["cls_token"] = mapped["cls_token"] + positions[:, :1]
        mapped["pos_embed"] = positions[:, 1:]
    return _at_resolution(mapped, num_patches)


def siglip_from_hub(tensors: StateDict, num_layers: int, num_patches: int) -> StateDict:
    """The vision tower of a published SigLIP; its text tower and pooling head are left out."""
    tower = _under(tensors, "vision_model.") or tensors
    mapped = _transformer_from_hub(
        {name: tensor for name, tensor in tower.items() if not name.startswith(("head.", "post_layernorm."))},
        num_layers,
    )
    positions = mapped.pop("embeddings.position_embedding.weight", None)
    if positions is not None:
        mapped["pos_embed"] = positions[None]
    return _at_resolution(mapped, num_patches)


def language_part(tensors: StateDict) -> StateDict:
    """A Qwen2 body; the output layer, which is tied to the embedding, is left out."""

    def rename(name: str) -> str | None:
        return None if name == "lm_head.weight" else name.removeprefix("model.")

    return renamed(tensors, rename)


def vggt_from_release(tensors: StateDict, num_patches: int) -> StateDict:
    """VGGT's aggregator out of the whole released model."""
    aggregator = _under(tensors, "aggregator.")
    mapped = {}
    for name, tensor in aggregator.items():
        inner = name.removeprefix("patch_embed.")
        if inner != name and inner.startswith("norm."):
            mapped[inner] = tensor
        elif inner != "mask_token":
            mapped[name.replace("patch_embed.register_tokens", "patch_embed.reg_token")] = tensor
    positions, token = mapped.get("patch_embed.pos_embed"), mapped.get("patch_embed.cls_token")
    if positions is not None and token is not None:
        mapped["patch_embed.cls_token"] = token + positions[:, :1]
        mapped["patch_embed.pos_embed"] = resample_positions(positions[:, 1:], num_patches)
    return mapped


def _transformer_from_hub(tensors: StateDict, num_layers: int) -> StateDict:
    """Layers under timm's names, queries, keys and values joined; the last layer and the final norm left out."""
    mapped: StateDict = {}
    for name, tensor in tensors.items():
        block = _HUB_BLOCK.fullmatch(name)
        if name.startswith("layernorm.") or (block and int(block[1]) == num_layers - 1):
            continue
        if block and (joined := _QKV.fullmatch(name)):
            kinds = ("query", "key", "value") if ".query." in name else ("q_proj", "k_proj", "v_proj")
            others = [name.replace(f".{kinds[0]}.", f".{kind}.") for kind in kinds]
            missing = [other for other in others if other not in tensors]
            if missing:
                raise CheckpointError(
                    f"encoder weights: expected {', '.join(missing)} beside {name}, which are missing."
                )
            mapped[f"blocks.{block[1]}.attn.qkv.{joined[2]}"] = torch.cat(
                [tensors[other] for other in others]
            )
        elif not re.search(r"\.(key|value|k_proj|v_proj)\.(weight|bias)$", name):
            mapped[_timm_name(name, block)] = tensor
    return mapped


def _timm_name(name: str, block: re.Match[str] | None) -> str:
    if block is None:
        return _with_stem(name, _HUB_OUTER)
    inner = _HUB_INNER.get(block[2]) or _with_stem(block[2], _HUB_INNER)
    return f"blocks.{block[1]}.{inner}"


def _with_stem(name: str, stems: Mapping[str, str]) -> str:
    """`a.b.weight` with `a.b` replaced."""
    stem, _, kind = name.rpartition(".")
    return f"{stems[stem]}.{kind}" if stem in stems else name


def _under(tensors: StateDict, prefix: str) -> StateDict:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _at_resolution(tensors: StateDict, num_patches: int) -> StateDict:
    if (positions := tensors.get("pos_embed")) is not None:
        tensors["pos_embed"] = resample_positions(positions, num_patches)
    return tensors


def _require_paper_backbones(model: FocusVLA) -> ModelConfig:
    config = model.config
    if config.vision.encoder != "dinov2_siglip":
        raise ConfigurationError(
            f"vision.encoder: expected 'dinov2_siglip' to load its weights, got {config.vision.encoder!r}."
        )
    return config
