"""The prompt's ids, with Qwen2.5's tokenizer where its files are."""

import os

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from focusvla.errors import CheckpointError
from focusvla.model.prompt import PADDING_ID, PROMPT, PromptTokenizer
from focusvla.model.weights import load_tokenizer

SYSTEM = [
    151644,
    8948,
    198,
    2610,
    525,
    1207,
    16948,
    11,
    3465,
    553,
    54364,
    14817,
    13,
    1446,
    525,
    264,
    10950,
    17847,
]
USER = [13, 151645, 198, 151644, 872, 198, 3838, 1917, 1265, 279, 12305, 1896, 311]
END = [30, 151645, 198, 151644, 77091, 198]
PICK = [3735, 705, 279, 16520, 80, 19187, 323, 1992, 432, 304, 279, 14024]
OPEN = [1787, 279, 1909, 26482]


def test_token_ids_are_those_of_the_published_tokenizer():
    folder = os.environ.get("FOCUSVLA_QWEN_TOKENIZER")
    if not folder:
        pytest.skip("set FOCUSVLA_QWEN_TOKENIZER to a folder with Qwen2.5's tokenizer files")
    ids, mask = load_tokenizer(folder).encode(
        ["Pick up the BBQ sauce and place it in the basket", "open the top drawer"]
    )
    assert ids[0].tolist() == SYSTEM + USER + PICK + END
    assert ids[1].tolist() == SYSTEM + USER + OPEN + END + [PADDING_ID] * 8
    assert mask.sum(dim=1).tolist() == [37 + len(PICK), 37 + len(OPEN)]


@pytest.fixture
def letters() -> PromptTokenizer:
    """A stand-in that gives each character of the prompt its own id."""
    characters = sorted(set(PROMPT + "abcdefghijklmnopqrstuvwxyz"))
    vocabulary = {character: index for index, character in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PromptTokenizer(tokenizer)


def test_the_instruction_stands_lower_cased_in_the_prompt_and_short_prompts_are_padded(letters):
    ids, mask = letters.encode(["  Lift", "push it"])
    names = {index: character for character, index in letters.tokenizer.get_vocab().items()}
    read = ["".join(names[int(i)] for i in row[kept]) for row, kept in zip(ids, mask, strict=True)]
    assert read == [PROMPT.format(instruction="lift"), PROMPT.format(instruction="push it")]
    assert ids[0, -3:].tolist() == [PADDING_ID] * 3


def test_a_tokenizer_that_cannot_be_had_is_an_error_that_says_what_to_give(tmp_path):
    with pytest.raises(CheckpointError, match=r"tokenizer=.*expected Qwen2\.5's tokenizer files"):
        load_tokenizer(tmp_path)
