"""VLA-Adapter's run folders: a whole policy, as its training writes it and as it is released on the Hub.

    config.json                      sizes of the language model
    model.safetensors                encoders, projector, language model and action queries, adapters merged; or shards
    action_head--*.pt                the policy head, base or Pro
    proprio_projector--*.pt          the proprioception network
    dataset_statistics.json          ranges of states and actions
    tokenizer.json and others        Qwen2.5's tokenizer

Sizes are read from the shapes of the weights, so that policies of any width open. What shapes do not tell is that of all
its LIBERO policies: 16 heads in both encoders, 8 in the policy head, 2 cameras, chunks of 8 actions.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from focusvla.config import (
    AdapterConfig,
    LanguageConfig,
    ModelConfig,
    PictureConfig,
    PolicyHeadConfig,
    TransformerConfig,
    VisionConfig,
)
from focusvla.errors import CheckpointError, ConfigurationError, require_known
from focusvla.model.focusvla import FocusVLA
from focusvla.model.vision_transformer import DINOV2_MEAN, DINOV2_STD, SIGLIP_MEAN, SIGLIP_STD
from focusvla.model.weights.backbones import language_part, vision_part_from_timm
from focusvla.model.weights.files import (
    StateDict,
    load_parts,
    read_pickled_tensors,
    read_safetensors,
    renamed,
    safetensors_files,
)
from focusvla.model.weights.vla_adapter_head import (
    NUM_HEADS,
    STREAMS,
    Variant,
    head_part,
    head_sizes,
    without_prefixes,
)
from focusvla.model.weights.vla_adapter_head import load_vla_adapter_head as load_vla_adapter_head

ACTION_HEAD, PROPRIOCEPTION = "action_head--*.pt", "proprio_projector--*.pt"
STATISTICS = "dataset_statistics.json"
NUM_CAMERAS = 2
CHUNK_LENGTH = 8
PICTURES = PictureConfig(jpeg_quality=95, center_crop_area=0.9)
"""What its evaluation does to every picture (`run_libero_eval.py`, whose `center_crop` is true by default)."""
_ENCODERS = {
    "dinov2": "vision_backbone.featurizer.",
    "siglip": "vision_backbone.fused_featurizer.",
}
_NUM_ENCODER_HEADS = 16
_LANGUAGE_HEAD_WIDTH = 64
_ROPE_THETA = 1e6
_DIGEST_PIECE = 1 << 24


def is_vla_adapter_run(folder: Path) -> bool:
    """Whether `folder` is one, complete or not: it has a file that checkpoints of ours never have."""
    return any(next(folder.glob(name), None) for name in (ACTION_HEAD, PROPRIOCEPTION, STATISTICS))


def require_complete_run(folder: Path) -> None:
    """Raise unless every file is there that a policy is made of, once.

    Raises:
        CheckpointError: naming those that are missing, or several where one is expected.
    """
    missing = [name for name in ("config.json", STATISTICS) if not (folder / name).is_file()]
    missing += [name for name in (ACTION_HEAD, PROPRIOCEPTION) if next(folder.glob(name), None) is None]
    if missing or not any(folder.glob("model*.safetensors")):
        missing += [] if any(folder.glob("model*.safetensors")) else ["model*.safetensors"]
        advice = "Download or copy what is missing."
        if "model*.safetensors" in missing and (folder / "lora_adapter").is_dir():
            advice = (
                "Merge its adapters first, with VLA-Adapter's own script: they lack the action queries, which only "
                "the merged file has."
            )
        raise CheckpointError(
            f"{folder}: expected a VLA-Adapter run, got one without {', '.join(missing)}. {advice}"
        )
    for pattern in (ACTION_HEAD, PROPRIOCEPTION):
        _only_file(folder, pattern)


def run_digest(folder: Path) -> str:
    """What results call the policy, 16 hexadecimal digits, of all files that its answers depend on."""
    digest = hashlib.sha256()
    files = [*safetensors_files(folder), _only_file(folder, ACTION_HEAD), _only_file(folder, PROPRIOCEPTION)]
    for path in [*files, folder / STATISTICS]:
        with path.open("rb") as file:
            while piece := file.read(_DIGEST_PIECE):
                digest.update(piece)
    return digest.hexdigest()[:16]


def trained_steps(folder: Path) -> int | None:
    """How many steps it was trained for, if the name of its head tells: `action_head--150000_checkpoint.pt`."""
    step = _only_file(folder, ACTION_HEAD).stem.removeprefix("action_head--").partition("_")[0]
    return int(step) if step.isdecimal() else None


def vla_adapter_config(folder: Path) -> ModelConfig:
    """The model of a run folder, from the shapes of its weights; none of them is loaded.

    Raises:
        CheckpointError: a file is missing, damaged, or of something else.
    """
    require_complete_run(folder)
    shapes = _merged_shapes(folder)
    language = _read_json(folder / "config.json").get("text_config", {})
    head = without_prefixes(read_pickled_tensors(_only_file(folder, ACTION_HEAD), mapped=True))
    proprioception = without_prefixes(read_pickled_tensors(_only_file(folder, PROPRIOCEPTION), mapped=True))
    _require_known_pixels(folder)
    try:
        sizes = head_sizes(head)
        patch_size = shapes["vision_backbone.featurizer.patch_embed.proj.weight"][2]
        num_patches = shapes["vision_backbone.featurizer.pos_embed"][1]
        vocabulary_size, width = shapes["language_model.model.embed_tokens.weight"]
        num_heads = language.get("num_attention_heads", width // _LANGUAGE_HEAD_WIDTH)
        key_width = shapes["language_model.model.layers.0.self_attn.k_proj.weight"][0]
        return ModelConfig(
            vision=VisionConfig(
                encoder="dinov2_siglip",
                image_size=patch_size * round(num_patches**0.5),
                patch_size=patch_size,
                dinov2=_transformer(shapes, _ENCODERS["dinov2"]),
                siglip=_transformer(shapes, _ENCODERS["siglip"]),
            ),
            language=LanguageConfig(
                hidden_size=width,
                num_layers=_num_layers(shapes, "language_model.model.layers."),
                num_heads=num_heads,
                num_key_value_heads=key_width * num_heads // width,
                intermediate_size=shapes["language_model.model.layers.0.mlp.gate_proj.weight"][0],
                tokenizer="qwen2.5",
                vocabulary_size=vocabulary_size,
                rope_theta=language.get("rope_theta", _ROPE_THETA),
            ),
            policy_head=PolicyHeadConfig(
                num_heads=NUM_HEADS,
                attention="mixed",
                streams=sizes.streams,
                position_precision="bfloat16",
                gate="scalar",
                latent="zeros",
                values="vlm",
                num_kept_patches=NUM_CAMERAS * num_patches,
            ),
            num_cameras=NUM_CAMERAS,
            state_dim=proprioception["fc1.weight"].shape[1],
            action_dim=sizes.action_dim,
            chunk_length=CHUNK_LENGTH,
            num_action_queries=shapes["action_queries.weight"][0],
            projector="mlp",
            num_tokens_before_vision=1,
            alignment="vla_adapter",
            adapters=AdapterConfig(),
            pictures=PICTURES,
            normalization="vla_adapter",
        )
    except KeyError as error:
        raise CheckpointError(
            f"{folder}: expected the weights of a VLA-Adapter policy, got none called {error}. Nothing was loaded."
        ) from error
    except ConfigurationError as error:
        raise CheckpointError(f"{folder}: its weights have shapes of no model here: {error}") from error


def load_vla_adapter_run(folder: Path, config: ModelConfig, variant: Variant | None = None) -> FocusVLA:
    """The model of a run folder in float32, `config` being its own (`vla_adapter_config`), which tells the variant too.

    Raises:
        ConfigurationError: an unknown variant, or another than `config`'s is expected.
        CheckpointError: a file is missing, damaged or of another model; the keys are listed, and nothing has been loaded.
    """
    if variant is not None:
        require_known("variant", variant, STREAMS)
        if config.policy_head.streams != STREAMS[variant]:
            raise ConfigurationError(
                f"variant={variant!r}: expected streams {STREAMS[variant]!r}, got {config.policy_head.streams!r}."
            )
    require_complete_run(folder)
    action_head = without_prefixes(read_pickled_tensors(_only_file(folder, ACTION_HEAD)))
    proprioception = without_prefixes(read_pickled_tensors(_only_file(folder, PROPRIOCEPTION)))
    parts = _backbone_parts(read_safetensors(folder), config)
    parts["policy_head"] = head_part(action_head) | renamed(
        proprioception, lambda name: "proprioception." + name.replace("fc1.", "0.").replace("fc2.", "2.")
    )
    model = FocusVLA(config)
    load_parts(model, parts, folder)
    return model


def _backbone_parts(merged: StateDict, config: ModelConfig) -> dict[str, StateDict]:
    """The merged file's tensors by the parts of our model they belong to; what is left over is an error later."""
    prefixes = {
        **{f"vision_encoder.{name}": prefix for name, prefix in _ENCODERS.items()},
        "projector": "projector.",
        "language_model.body": "language_model.",
        "action_queries": "action_queries.",
    }
    parts: dict[str, StateDict] = {part: {} for part in prefixes}
    parts["unknown"] = {}
    for name, tensor in merged.items():
        part = next((p for p, prefix in prefixes.items() if name.startswith(prefix)), "unknown")
        parts[part][name.removeprefix(prefixes.get(part, ""))] = tensor
    if parts["unknown"]:
        raise CheckpointError(
            f"merged weights: expected those of VLA-Adapter, got also {', '.join(sorted(parts['unknown'])[:5])}."
        )
    num_patches = config.vision.patches_per_camera
    return {
        "vision_encoder.dinov2": vision_part_from_timm(
            parts["vision_encoder.dinov2"], config.vision.dinov2.num_layers, num_patches
        ),
        "vision_encoder.siglip": vision_part_from_timm(
            parts["vision_encoder.siglip"], config.vision.siglip.num_layers, num_patches
        ),
        "projector": parts["projector"],
        "language_model.body": language_part(parts["language_model.body"]),
        "action_queries": {"": parts["action_queries"]["weight"]} if parts["action_queries"] else {},
    }


def _merged_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for path in safetensors_files(folder):
        try:
            with safe_open(path, "pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{path}: expected a whole safetensors file, got {error}. Download or copy it again."
            ) from error
    return shapes


def _transformer(shapes: dict[str, tuple[int, ...]], prefix: str) -> TransformerConfig:
    intermediate_size, width = shapes[f"{prefix}blocks.0.mlp.fc1.weight"]
    return TransformerConfig(
        hidden_size=width,
        num_layers=_num_layers(shapes, f"{prefix}blocks."),
        num_heads=_NUM_ENCODER_HEADS,
        intermediate_size=intermediate_size,
    )


def _num_layers(shapes: dict[str, tuple[int, ...]], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in shapes if name.startswith(prefix)})


def _require_known_pixels(folder: Path) -> None:
    """Raise if the folder says that pixels are normalized otherwise than our encoders do it."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return
    stated = _read_json(path).get("tvf_normalize_params")
    known = [(DINOV2_MEAN, DINOV2_STD), (SIGLIP_MEAN, SIGLIP_STD)]
    expected = [{"mean": list(mean), "std": list(std)} for mean, std in known]
    found = stated and [{name: values.get(name) for name in ("mean", "std")} for values in stated]
    if found and found != expected:
        raise CheckpointError(
            f"{path}: expected pixels normalized by {expected}, as VLA-Adapter's released policies have it, got {found}. "
            "Such a policy cannot be run here."
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Download or copy it again.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected fields and their values, got {type(values).__name__}.")
    return values


def _only_file(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise CheckpointError(
            f"{folder}: expected one file {pattern}, got {', '.join(path.name for path in found) or 'none'}. "
            "Keep the one of the step you want."
        )
    return found[0]
