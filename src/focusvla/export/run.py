"""The exported policy beside this file, without focusvla: needs numpy, and torch or onnxruntime. One whose `policy.json`
names JPEG compression before the graph needs Pillow as well.

    policy = ExportedPolicy(Path("folder of this file"))
    actions = policy.infer({"image": image, "image2": wrist}, state, ["pick up the bowl"])

`policy.json` says what the numbers mean. As a command it answers saved observations:

    python run.py ASKED.npz ANSWERED.npz [ASKED.npz ANSWERED.npz ...]
"""

import io
import json
import string
import sys
from pathlib import Path

import numpy as np


class ExportedPolicy:
    """Turns batches of observations into chunks of actions in physical units."""

    def __init__(self, folder: Path):
        """Load the policy in `folder`."""
        self.description = json.loads((folder / "policy.json").read_text("utf-8"))
        self._words = self.description["tokenizer"].get("vocabulary")
        if self._words is None:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        load = {"torch": _load_torch, "onnx": _load_onnx}[self.description["format"]]
        self._answer = load(folder / self.description["file"])

    def infer(self, images: dict[str, np.ndarray], state: np.ndarray, instructions: list[str]) -> np.ndarray:
        """The next actions, (batch, steps, action) float32.

        `images` holds, for each camera by name, (batch, height, width, 3) uint8 RGB; `state` is (batch, state) in
        physical units; `instructions` are as many as observations.
        """
        token_ids, token_mask = self.tokenize(instructions)
        if jpeg := self.description["jpeg_before"]:
            images = {
                name: np.stack([_compress(each, jpeg) for each in batch]) for name, batch in images.items()
            }
        return self._answer(images, token_ids, token_mask, np.asarray(state, np.float32))

    def tokenize(self, instructions: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids, padded on the right, and a mask that is False on padding."""
        rows = [self._encode(text) for text in instructions]
        length = max(self.description["smallest_num_tokens"], *(len(row) for row in rows))
        mask = np.array([[place < len(row) for place in range(length)] for row in rows])
        padding = self.description["tokenizer"]["padding_id"]
        return np.array([row + [padding] * (length - len(row)) for row in rows], np.int64), mask

    def _encode(self, text: str) -> list[int]:
        if self._words is None:
            prompt = self.description["tokenizer"]["prompt"].format(instruction=text.strip().lower())
            return self._tokenizer.encode(prompt, add_special_tokens=False).ids
        words = (word.strip(string.punctuation) for word in text.lower().split())
        return [self._words.get(word, self.description["tokenizer"]["unknown_id"]) for word in words if word]


def _compress(image: np.ndarray, jpeg: dict[str, int]) -> np.ndarray:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=jpeg["quality"], subsampling=jpeg["chroma"])
    return np.array(Image.open(file))


def _load_torch(file: Path):
    import torch

    graph = torch.export.load(file).module()

    def answer(images: dict[str, np.ndarray], *others: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pictures = {name: torch.from_numpy(image) for name, image in images.items()}
            return graph(pictures, *map(torch.from_numpy, others)).numpy()

    return answer


def _load_onnx(file: Path):
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def answer(images: dict[str, np.ndarray], *others: np.ndarray) -> np.ndarray:
        named = {f"images.{name}": image for name, image in images.items()}
        named.update(zip(("token_ids", "token_mask", "state"), others, strict=True))
        return np.asarray(session.run(["actions"], named)[0])

    return answer


if __name__ == "__main__":
    policy = ExportedPolicy(Path(__file__).parent)
    for asked, answered in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        with np.load(asked) as saved:
            images = {name[7:]: saved[name] for name in saved.files if name.startswith("images.")}
            answer = policy.infer(images, saved["state"], saved["instructions"].tolist())
        np.savez(answered, actions=answer)
    if "focusvla" in sys.modules:
        sys.exit("focusvla was imported: this is no test of the file alone.")
