"""What stands beside an exported policy, as JSON: its inputs, their conventions, and how instructions become tokens."""

from typing import Any

from focusvla.data.pictures import CHROMA
from focusvla.export.graph import BATCH, TOKENS, smallest_num_tokens
from focusvla.model.language import PADDING_ID, UNKNOWN_ID, WordTokenizer
from focusvla.model.prompt import PADDING_ID as PROMPT_PADDING_ID
from focusvla.model.prompt import PROMPT
from focusvla.policy import FocusVLAPolicy


def describe_policy(policy: FocusVLAPolicy) -> dict[str, Any]:
    """Everything that someone without focusvla must know to ask the graph of `policy`."""
    spec, quality = policy.spec, policy.experiment.model.pictures.jpeg_quality
    compressed = f", compressed as JPEG of quality {quality} and decoded again" if quality else ""
    images = [
        _array(
            f"images.{camera.name}",
            "uint8",
            (BATCH, camera.height, camera.width, 3),
            f"RGB of camera {camera.name}, 0 to 255, oriented as spec.image_orientation says{compressed}",
        )
        for camera in spec.cameras
        if camera.name in policy.cameras
    ]
    steps = policy.experiment.model.chunk_length
    return {
        "inputs": [
            *images,
            _array("token_ids", "int64", (BATCH, TOKENS), "the instruction, padded on the right"),
            _array("token_mask", "bool", (BATCH, TOKENS), "false on padding"),
            _array("state", "float32", (BATCH, len(spec.state)), "physical units, laid out as spec.state"),
        ],
        "outputs": [
            _array(
                "actions",
                "float32",
                (BATCH, steps, len(spec.action)),
                "the next steps in physical units, laid out as spec.action",
            )
        ],
        "smallest_num_tokens": smallest_num_tokens(policy),
        "jpeg_before": {"quality": quality, "chroma": CHROMA} if quality else None,
        "spec": spec.to_dict(),
        "tokenizer": _describe_tokenizer(policy),
    }


def _array(name: str, dtype: str, shape: tuple[str | int, ...], meaning: str) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape), "meaning": meaning}


def _describe_tokenizer(policy: FocusVLAPolicy) -> dict[str, Any]:
    tokenizer = policy.model.tokenizer
    if isinstance(tokenizer, WordTokenizer):
        return {
            "rule": "lower-case, split at white space, strip punctuation from both ends of each word, drop what is empty",
            "vocabulary": tokenizer.ids,
            "unknown_id": UNKNOWN_ID,
            "padding_id": PADDING_ID,
        }
    return {
        "rule": "put the stripped, lower-cased instruction into the prompt, encode it with tokenizer.json, add no tokens",
        "prompt": PROMPT,
        "padding_id": PROMPT_PADDING_ID,
    }
