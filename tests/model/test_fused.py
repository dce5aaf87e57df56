"""Hand-written gradients against the plain formulas."""

import torch
import torch.nn.functional as F

from focusvla.model.fused import gated_silu, rms_norm


def test_rms_norm_scales_a_token_to_root_mean_square_one():
    scaled = rms_norm(torch.tensor([[[3.0, -4.0]]]), torch.ones(2), 0.0)
    torch.testing.assert_close(scaled, torch.tensor([[[3.0, -4.0]]]) / 12.5**0.5)


def test_rms_norm_has_the_gradients_of_its_formula():
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), F.rms_norm(x, (5,), weight, 1e-6))
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, 1e-6), (x, weight))


def test_gated_silu_has_the_gradients_of_its_formula():
    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gated_silu(x), F.silu(x[..., :4]) * x[..., 4:])
    assert torch.autograd.gradcheck(gated_silu, (x,))


def test_rms_norm_learns_in_bfloat16():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 8), torch.randn(8)
    found = []
    for dtype in (torch.float64, torch.bfloat16):
        leaves = [each.to(dtype).requires_grad_() for each in (x, weight)]
        output = rms_norm(leaves[0], leaves[1], 1e-6)
        assert output.dtype == dtype
        found.append([each.double() for each in torch.autograd.grad(output.sin().sum(), leaves)])
    for exact, rounded in zip(*found, strict=True):
        torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
