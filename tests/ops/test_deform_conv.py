"""Deformable convolution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.ops.deform_conv import deform_conv2d


def draw(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def deform_conv_slowly(x, offset, mask, weight, bias, padding):
    """The definition in plain numbers: every output, tap, channel and neighbour by itself."""
    B, C, H, W = x.shape
    D, _, kh, kw = weight.shape
    taps, groups = kh * kw, mask.shape[1] // (kh * kw)
    out = torch.zeros(B, D, *mask.shape[-2:], dtype=x.dtype) + bias[:, None, None]
    for b, c, k, i, j in np.ndindex(B, C, taps, *mask.shape[-2:]):
        g = c // (C // groups)
        row = i - padding + k // kw + float(offset[b, (g * taps + k) * 2, i, j])
        col = j - padding + k % kw + float(offset[b, (g * taps + k) * 2 + 1, i, j])
        value = 0.0
        for r in (math.floor(row), math.floor(row) + 1):
            for q in (math.floor(col), math.floor(col) + 1):
                if 0 <= r < H and 0 <= q < W:
                    value += (1 - abs(row - r)) * (1 - abs(col - q)) * float(x[b, c, r, q])
        out[b, :, i, j] += weight[:, c, k // kw, k % kw] * value * mask[b, g * taps + k, i, j]
    return out


def test_equals_the_published_one(goldens):
    golden = {k: torch.from_numpy(v) for k, v in np.load(goldens / "dabit_dcn.npz").items()}
    truth = golden.pop("out")
    torch.testing.assert_close(deform_conv2d(**golden), truth, atol=1e-5, rtol=0)


@settings(max_examples=10, deadline=None)
@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    groups=st.sampled_from([1, 2]),
    kernel=st.sampled_from([(1, 1), (3, 3), (1, 3)]),
    padding=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_is_its_definition(height, width, groups, kernel, padding, seed):
    kh, kw = kernel
    size = (height + 2 * padding - kh + 1, width + 2 * padding - kw + 1)
    taps = groups * kh * kw
    arguments = [
        draw(seed, 1, 4, height, width),
        draw(seed + 1, 1, 2 * taps, *size, scale=2),
        draw(seed + 2, 1, taps, *size).sigmoid(),
        draw(seed + 3, 3, 4, kh, kw),
        draw(seed + 4, 3),
    ]
    arguments = [a.double() for a in arguments]
    truth = deform_conv_slowly(*arguments, padding)
    torch.testing.assert_close(deform_conv2d(*arguments, padding), truth, atol=1e-9, rtol=0)


def test_without_offsets_it_is_a_convolution():
    x, weight, bias = draw(0, 2, 6, 7, 9), draw(1, 4, 6, 3, 3), draw(2, 4)
    out = deform_conv2d(x, torch.zeros(2, 36, 7, 9), torch.ones(2, 18, 7, 9), weight, bias)
    torch.testing.assert_close(out, F.conv2d(x, weight, bias, padding=1), atol=1e-5, rtol=0)


def test_a_common_offset_shifts_the_input():
    x, weight = draw(0, 1, 2, 8, 9), draw(1, 3, 2, 3, 3)
    offset = torch.tensor([1.0, 2.0]).repeat(9).reshape(1, 18, 1, 1).expand(1, 18, 8, 9)
    out = deform_conv2d(x, offset, torch.ones(1, 9, 8, 9), weight)
    shifted = F.pad(x, (0, 2, 0, 1))[..., 1:, 2:]  # y + 1, x + 2
    truth = F.conv2d(shifted, weight, padding=1)
    torch.testing.assert_close(out[..., 1:-1, 1:-1], truth[..., 1:-1, 1:-1], atol=1e-5, rtol=0)


def test_groups_move_apart():
    # Only the second half of the channels is moved, by a row.
    x, weight = draw(0, 1, 4, 5, 5), torch.eye(4)[:, :, None, None]
    offset = torch.zeros(1, 4, 5, 5)
    offset[:, 2] = 1
    out = deform_conv2d(x, offset, torch.ones(1, 2, 5, 5), weight, padding=0)
    torch.testing.assert_close(out[:, :2], x[:, :2], atol=1e-6, rtol=0)
    torch.testing.assert_close(out[:, 2:, :-1], x[:, 2:, 1:], atol=1e-6, rtol=0)
    assert out[:, 2:, -1].abs().max() < 1e-5, "zero past the last row"


def test_gradients():
    x = draw(0, 1, 2, 4, 4).double().requires_grad_()
    # Away from whole pixels, where bilinear interpolation has a kink.
    offset = (0.4 + draw(1, 1, 18, 4, 4, scale=0.1).clamp(-0.3, 0.3)).double().requires_grad_()
    mask = draw(2, 1, 9, 4, 4).sigmoid().double().requires_grad_()
    weight = draw(3, 2, 2, 3, 3).double().requires_grad_()
    bias = draw(4, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(deform_conv2d, (x, offset, mask, weight, bias))


def moved_by_a_flow() -> list[Tensor]:
    """A wide image moved by 300 columns: half precision would miss by a quarter pixel."""
    x, weight = draw(0, 1, 8, 6, 600), draw(1, 4, 8, 3, 3, scale=0.1)
    offset = draw(2, 1, 36, 6, 600)
    offset[:, 1::2] += 300
    return [x, offset, draw(3, 1, 18, 6, 600).sigmoid(), weight, draw(4, 4)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_keep_exact_positions(dtype):
    x, offset, mask, weight, bias = moved_by_a_flow()
    truth = deform_conv2d(x, offset, mask, weight, bias)
    out = deform_conv2d(x.to(dtype), offset, mask, weight.to(dtype), bias.to(dtype))
    assert out.dtype == dtype
    assert (out.float() - truth).abs().max() < 0.03 * truth.std()


def test_autocast():
    x, offset, mask, weight, bias = moved_by_a_flow()
    truth = deform_conv2d(x, offset, mask, weight, bias)
    with torch.autocast(x.device.type, torch.bfloat16):
        out = deform_conv2d(x, offset, mask, weight, bias)
    assert out.dtype == torch.bfloat16
    assert (out.float() - truth).abs().max() < 0.03 * truth.std()


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"offset \(1, 9, 4, 4\)"):
        deform_conv2d(
            torch.zeros(1, 2, 4, 4),
            torch.zeros(1, 9, 4, 4),
            torch.zeros(1, 9, 4, 4),
            torch.zeros(2, 2, 3, 3),
        )
