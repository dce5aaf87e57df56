"""Words to ids, and our loop over Qwen2's layers against transformers' own."""

from dataclasses import replace

import pytest
import torch

from focusvla.config import LanguageConfig
from focusvla.model.language import (
    LanguageModel,
    WordTokenizer,
    build_vocabulary,
    order_padding_last,
    split_words,
)


def test_words_are_lower_cased_and_lose_the_punctuation_around_them():
    assert split_words("  Pick-up the 'Bowl', now! -- ") == ["pick-up", "the", "bowl", "now"]


def test_a_vocabulary_holds_every_word_once_sorted():
    assert build_vocabulary(["lift the cup", "Push the bowl."]) == ("bowl", "cup", "lift", "push", "the")


def test_instructions_are_padded_on_the_right_and_unknown_words_share_an_id():
    ids, mask = WordTokenizer(("bowl", "the")).encode(["the bowl", "the red bowl"])
    assert ids.tolist() == [[3, 2, 0], [3, 1, 2]]
    assert mask.int().tolist() == [[1, 1, 0], [1, 1, 1]]


def test_an_empty_instruction_has_no_tokens():
    ids, mask = WordTokenizer(("bowl",)).encode(["", ""])
    assert ids.shape == mask.shape == (2, 0)


def test_unknown_words_are_listed_in_order():
    assert WordTokenizer(("bowl", "the")).unknown_words("Put the red bowl away") == ["put", "red", "away"]


def test_padding_moves_behind_everything_else():
    mask = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    assert order_padding_last(mask).tolist() == [[0, 1, 3, 4, 2], [0, 1, 2, 3, 4]]


def test_states_of_every_layer_equal_those_of_transformers_in_value_and_gradient():
    torch.manual_seed(0)
    config = LanguageConfig(
        hidden_size=16,
        num_layers=3,
        num_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        vocabulary=("a",),
        loop="fused",
    )
    model = LanguageModel(config)
    for parameter in model.parameters():  # biases and norms must count as well
        torch.nn.init.normal_(parameter, std=0.5)
    embeddings = torch.randn(2, 7, 16)
    theirs = LanguageModel(replace(config, loop="transformers"))
    theirs.load_state_dict(model.state_dict())
    expected = theirs.body(
        inputs_embeds=embeddings, output_hidden_states=True, use_cache=False
    ).hidden_states[1:]
    states = model(embeddings)
    assert len(states) == len(expected) == 3
    for found, wanted in zip(states, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    gradients = []
    for found, network in ((states, model), (expected, theirs)):
        leaves = [p for name, p in network.named_parameters() if "embed_tokens" not in name]
        gradients.append(
            torch.autograd.grad(torch.stack([state.sin().mean() for state in found]).sum(), leaves)
        )
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("padding", [{}, {"tokenizer": "qwen2.5", "vocabulary_size": 9}])
def test_names_first_values_and_all_later_draws_are_those_of_transformers(padding):
    config = LanguageConfig(
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        rope_theta=1e6,
        loop="fused",
        **({"vocabulary": ("a", "b")} | padding),
    )
    drawn = []
    for loop in ("fused", "transformers"):
        torch.manual_seed(0)
        drawn.append((LanguageModel(replace(config, loop=loop)), torch.rand(1)))
    (ours, after), (theirs, after_theirs) = drawn
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, values in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], values), name
    assert torch.equal(ours.body.rotary_emb.inv_freq, theirs.body.rotary_emb.inv_freq)
    assert torch.equal(after, after_theirs)


def test_without_our_loop_transformers_runs_the_layers():
    torch.manual_seed(0)
    config = LanguageConfig(
        hidden_size=8,
        num_layers=2,
        num_heads=2,
        num_key_value_heads=1,
        intermediate_size=8,
        vocabulary=("a",),
    )
    plain = LanguageModel(config)
    fused = LanguageModel(replace(config, loop="fused"))
    fused.load_state_dict(plain.state_dict())
    embeddings = torch.randn(1, 5, 8)
    for ours, theirs in zip(fused(embeddings), plain(embeddings), strict=True):
        torch.testing.assert_close(ours, theirs)
