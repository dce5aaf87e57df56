"""The attention that skips projecting patches equals the one that projects them, and positions turn what they should."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from focusvla.model.attention import (
    attend,
    attend_to_unprojected_values,
    merge_heads,
    rotary_turns,
    rotate,
    rotate_positions,
    scaled_scores,
    scores_of_unprojected_keys,
    split_heads,
)
from focusvla.model.focus import select_patches

NUM_HEADS = 2


def projected_attention(
    queries: Tensor, keys: Tensor, values: Tensor, key: nn.Linear, value: nn.Linear
) -> tuple[Tensor, Tensor]:
    """The textbook form: project every patch, then attend."""
    scores = queries @ split_heads(key(keys), NUM_HEADS).mT / queries.shape[-1] ** 0.5
    return scores, merge_heads(scores.softmax(dim=-1) @ split_heads(value(values), NUM_HEADS))


def test_splitting_into_heads_keeps_neighbouring_channels_together():
    x = torch.arange(8.0).reshape(1, 2, 4)
    assert split_heads(x, 2).tolist() == [[[[0, 1], [4, 5]], [[2, 3], [6, 7]]]]
    assert torch.equal(merge_heads(split_heads(x, 2)), x)


def test_not_projecting_the_patches_changes_neither_scores_nor_output_nor_gradients():
    torch.manual_seed(0)
    key, value = nn.Linear(6, 6), nn.Linear(6, 6)
    queries, keys, values = torch.randn(3, NUM_HEADS, 4, 3), torch.randn(3, 5, 6), torch.randn(3, 5, 6)
    leaves = [queries, keys, values]
    for leaf in leaves:
        leaf.requires_grad_()

    expected_scores, expected = projected_attention(queries, keys, values, key, value)
    scores = scores_of_unprojected_keys(queries, keys, key)
    output = attend_to_unprojected_values(scores.softmax(dim=-1), values, value)

    torch.testing.assert_close(scores, expected_scores)
    torch.testing.assert_close(output, expected)
    parameters = [*leaves, key.weight, value.weight, value.bias]
    for fast, plain in zip(
        torch.autograd.grad(output.square().sum(), parameters),
        torch.autograd.grad(expected.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(fast, plain)


def test_attend_is_softmax_attention():
    torch.manual_seed(0)
    queries, keys, values = torch.randn(2, NUM_HEADS, 3, 2), torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    identity = nn.Linear(4, 4)
    nn.init.eye_(identity.weight)
    nn.init.zeros_(identity.bias)
    _, expected = projected_attention(queries, keys, values, identity, identity)
    split = (split_heads(tokens, NUM_HEADS) for tokens in (keys, values))
    torch.testing.assert_close(attend(queries, *split), expected)


def test_rotary_positions_turn_both_channels_of_a_pair_by_one_angle():
    x = torch.tensor([[[[1.0, 0.0, 0.0, 2.0]] * 2]])
    turned = rotate(x, rotary_turns(2, 4))
    assert turned[0, 0, 0].tolist() == [1, 0, 0, 2]
    # The first pair turns by 1, the second by 10000^(-1/2) = 0.01.
    expected = [math.cos(1), math.sin(1), -2 * math.sin(0.01), 2 * math.cos(0.01)]
    torch.testing.assert_close(turned[0, 0, 1], torch.tensor(expected))


def test_scores_of_rotated_tokens_depend_on_their_distance_alone():
    torch.manual_seed(0)
    query, key = torch.randn(4), torch.randn(4)
    turns = rotary_turns(9, 4)
    queries, keys = (rotate(x.expand(1, 1, 9, 4), turns) for x in (query, key))
    scores = scaled_scores(queries, keys)[0, 0]
    torch.testing.assert_close(scores[:-1, :-1], scores[1:, 1:])
    assert scores[0].std() > 0.01
    torch.testing.assert_close(scores[3, 3], query @ key / 2)


def test_far_tokens_keep_their_own_angles_in_bfloat16():
    x = torch.ones(1, 1, 512, 4, dtype=torch.bfloat16)
    turned = rotate(x, rotary_turns(512, 4))
    assert turned.dtype == torch.bfloat16
    exact = rotate(x.float(), rotary_turns(512, 4))
    torch.testing.assert_close(turned.float(), exact, rtol=0, atol=0.005)


def test_positions_leave_the_first_token_and_turn_the_others_pair_by_pair():
    x = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]] * 2]])
    turned = rotate_positions(x)
    assert turned[0, 0, 0].tolist() == [1, 0, 1, 0]
    # Channels 0 and 2 turn with frequency 1, channels 1 and 3 with 0.01.
    angles = torch.tensor([1.0, 0.01])
    expected = torch.tensor([angles[0].cos(), angles[1].sin(), angles[0].cos(), angles[1].sin()])
    torch.testing.assert_close(turned[0, 0, 1], expected)


def test_in_bfloat16_neighbouring_far_positions_are_the_same_as_in_the_released_weights():
    x = torch.ones(1, 1, 512, 4, dtype=torch.bfloat16)
    turned = rotate_positions(x)[0, 0]
    assert torch.equal(turned[256], turned[257])
    assert len(torch.arange(512).to(torch.bfloat16).unique()) == 385


def test_positions_rounded_as_in_bfloat16_are_the_same_in_float32():
    x = torch.randn(1, 1, 400, 8, generator=torch.Generator().manual_seed(0))
    exact, rounded = rotate_positions(x), rotate_positions(x, torch.bfloat16)
    assert (exact - rounded).abs().max() > 0.5  # bfloat16 has no odd numbers above 256
    ones = torch.ones(1, 1, 400, 8)
    assert torch.equal(rotate_positions(ones, torch.bfloat16).bfloat16(), rotate_positions(ones.bfloat16()))


@pytest.mark.parametrize("is_autocast", [True, False], ids=["training", "prepared inference"])
def test_scores_that_bfloat16_would_make_equal_stay_apart(is_autocast):
    """Sums of two products that differ by less than bfloat16 can tell at 257."""
    queries = torch.tensor([[[[16.0, 1.0]]]], dtype=torch.bfloat16)  # of one head of two channels
    keys = torch.tensor([[[16.0, 1.0], [16.0, 1.0078125], [16.0, 0.9921875]]], dtype=torch.bfloat16)
    identity = nn.Linear(2, 2, dtype=torch.float32 if is_autocast else torch.bfloat16)
    nn.init.eye_(identity.weight)
    nn.init.zeros_(identity.bias)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        for scores in (
            scores_of_unprojected_keys(queries, keys, identity),
            scaled_scores(queries, keys[:, None]),
        ):
            assert scores.dtype == torch.float32
            assert select_patches(scores, 1)[0, 0, 0].tolist() == [False, True, False]
            assert select_patches(scores, 2)[0, 0, 0].tolist() == [True, True, False]
            assert len(scores.bfloat16().unique()) < 3


@pytest.mark.parametrize("is_causal", [False, True])
def test_on_a_cpu_attention_in_bfloat16_is_computed_in_float32_and_rounded_once(is_causal):
    from focusvla.model.attention import fused_attention

    torch.manual_seed(0)
    queries, keys, values = (torch.randn(2, 4, 9, 8).bfloat16() for _ in range(3))
    expected = F.scaled_dot_product_attention(
        queries.float(), keys.float(), values.float(), is_causal=is_causal
    ).bfloat16()
    for in_training in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=in_training):
            torch.testing.assert_close(
                fused_attention(queries, keys, values, is_causal), expected, rtol=0, atol=0
            )
