"""Equations 9 to 11: which patches are kept, what they weigh, and what the gate lets pass."""

import pytest
import torch
from torch import Tensor

from focusvla.model.focus import (
    apply_gate,
    focus_weights,
    select_attended_patches,
    select_patches,
    select_random_patches,
    select_shared_patches,
    weights_of_kept,
)

# One sample, one head, two action steps, four patches.
SCORES = torch.tensor([[[[0.1, 0.9, 0.4, 0.2], [0.7, 0.3, 0.0, 0.5]]]])


def rows(mask: Tensor) -> list[list[int]]:
    return mask[0, 0].int().tolist()


def test_each_row_keeps_its_own_best_patches():
    assert rows(select_patches(SCORES, 2)) == [
        [0, 1, 1, 0],
        [1, 0, 0, 1],
    ]


def test_shared_selection_keeps_the_patches_with_the_best_sums_in_every_row():
    assert rows(select_shared_patches(SCORES, 2)) == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
    ]


def test_shared_selection_sums_over_heads():
    scores = torch.tensor([[[[5.0, 0.0, 1.0]], [[0.0, 0.0, 9.0]]]])
    kept = select_shared_patches(scores, 1)
    assert kept[0, :, 0].int().tolist() == [[0, 0, 1], [0, 0, 1]]


def test_random_patches_have_nothing_to_do_with_scores_and_are_as_many_of_each():
    one, other = torch.randn(2, 4, 8, 128), torch.randn(2, 4, 8, 128)
    kept = select_random_patches(one, 64)
    assert torch.equal(kept, select_random_patches(other, 64))
    assert (kept.sum(-1) == 64).all()
    assert torch.equal(kept[0], kept[1])
    shares = kept[0].flatten(0, 1).float()
    # Each patch is kept by about half of the 32 heads and steps; two of these share about half of theirs.
    assert 0.15 < shares.mean(0).min() < shares.mean(0).max() < 0.85
    shared = (shares @ shares.T / 64)[~torch.eye(32, dtype=torch.bool)]
    assert 0.47 < shared.mean() < 0.53
    assert shared.max() < 0.75


def test_action_queries_keep_what_they_attend_to_most_on_average():
    attention = torch.tensor([[[[0.1, 0.6, 0.2, 0.1], [0.5, 0.1, 0.3, 0.1]]]])
    kept = select_attended_patches(attention.log(), 2)
    assert kept.int().tolist() == [[[[1, 1, 0, 0]]]]
    # One action query more, in a head with scores of a wider range, has one vote of three: sums [.6, .7, .5, 1.2].
    wide = torch.tensor([[[[0.0, 0.0, 0.0, 90.0]] * 2]])
    both = torch.cat([attention.log(), wide[:, :, :1].expand(1, 1, 2, 4)], dim=1)
    assert select_attended_patches(both, 1).int().tolist() == [[[[0, 0, 0, 1]]]]
    assert select_attended_patches(both, 3).int().tolist() == [[[[1, 1, 0, 1]]]]


def test_a_constant_added_to_a_row_of_scores_changes_no_choice():
    shifted = SCORES + torch.tensor([50.0, -50.0])[:, None]
    assert torch.equal(select_attended_patches(shifted, 2), select_attended_patches(SCORES, 2))


def test_all_rows_weigh_the_marked_patches_alone():
    kept = torch.tensor([[[[False, True, True, False]]]])
    weights = weights_of_kept(torch.tensor([[[[9.0, 1.0, 1.0, 9.0], [0.0, 0.0, 0.0, 0.0]]]]), kept)
    assert weights.tolist() == [[[[0.0, 0.5, 0.5, 0.0], [0.0, 0.5, 0.5, 0.0]]]]


def test_ties_keep_exactly_k_patches():
    scores = torch.tensor([0.5, 0.5, 0.5, 0.1]).expand(1, 1, 2, 4)
    kept = select_patches(scores, 2)
    assert kept.sum(dim=-1).tolist() == [[[2, 2]]]
    assert not kept[..., 3].any()
    assert select_patches(torch.zeros(2, 3, 4, 9), 5).sum(dim=-1).unique().tolist() == [5]


def test_dropped_patches_weigh_exactly_zero_and_kept_ones_share_the_softmax():
    weights = focus_weights(torch.tensor([[[[0.0, 2.0, 2.0, 1.0]]]]), 2, "per_query")
    assert weights.tolist() == [[[[0.0, 0.5, 0.5, 0.0]]]]


@pytest.mark.parametrize("selection", ["per_query", "shared", "random"])
def test_keeping_all_patches_is_plain_softmax(selection):
    assert torch.equal(focus_weights(SCORES, 4, selection), SCORES.softmax(dim=-1))


def test_dropped_patches_receive_no_gradient():
    scores = SCORES.clone().requires_grad_()
    focus_weights(scores, 2, "per_query").square().sum().backward()
    assert scores.grad is not None
    assert (scores.grad[0, 0] != 0).int().tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]


def test_a_saturated_element_wise_gate_passes_nothing():
    attended = torch.full((1, 1, 4), 8.0)
    assert apply_gate(attended, torch.full((1, 1, 4), float("-inf"))).tolist() == [[[0.0, 0.0, 0.0, 0.0]]]
    assert apply_gate(attended, torch.full((1, 1, 4), float("inf"))).tolist() == [[[8.0, 8.0, 8.0, 8.0]]]


def test_a_head_wise_gate_covers_the_neighbouring_channels_of_its_head():
    attended = torch.full((1, 1, 4), 8.0)
    assert apply_gate(attended, torch.tensor([[[float("-inf"), 0.0]]])).tolist() == [[[0.0, 0.0, 4.0, 4.0]]]
