"""The prompt that Qwen2.5 policies were trained on, as token ids (VLA-Adapter's, verified against its tokenizer)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from tokenizers import Tokenizer
from torch import Tensor

PROMPT = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nWhat action should the robot take to {instruction}?<|im_end|>\n<|im_start|>assistant\n"
)
PADDING_ID = 0
"""Any token would do: padding comes last, where causal attention hides it."""


class PromptTokenizer:
    """Instructions to the ids of the whole prompt; the instruction is lower-cased."""

    def __init__(self, tokenizer: Tokenizer):
        """Use Qwen2.5's `tokenizer`."""
        self.tokenizer = tokenizer

    def encode(
        self, instructions: Sequence[str]
    ) -> tuple[Int64[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
        """Ids padded on the right to the longest prompt, and a mask that is False on padding.

        37 ids and those of the instruction; the first are 151644, 8948, 198, the last 151644, 77091, 198.
        """
        prompts = [PROMPT.format(instruction=text.strip().lower()) for text in instructions]
        rows = [self.tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
        length = max((len(row) for row in rows), default=0)
        ids = torch.tensor([row + [PADDING_ID] * (length - len(row)) for row in rows], dtype=torch.int64)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], dtype=torch.bool)
        return ids.reshape(len(rows), length), mask.reshape(len(rows), length)
