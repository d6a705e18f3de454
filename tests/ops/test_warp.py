"""Warping, composed flows and the consistency check."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.ops.consistency import consistency
from unblur.ops.warp import compose, warp


def normal(seed: int, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(values * np.float32(scale))


def uniform_flow(height: int, width: int, u: float, v: float) -> Tensor:
    return torch.tensor([u, v]).reshape(1, 2, 1, 1).expand(1, 2, height, width)


def warp_slowly(x: Tensor, flow: Tensor) -> Tensor:
    """The definition, one pixel and one neighbour at a time."""
    B, C, H, W = x.shape
    out = torch.zeros(B, C, *flow.shape[-2:], dtype=x.dtype)
    for b in range(B):
        for i in range(flow.shape[2]):
            for j in range(flow.shape[3]):
                col, row = j + float(flow[b, 0, i, j]), i + float(flow[b, 1, i, j])
                for r in (math.floor(row), math.floor(row) + 1):
                    for c in (math.floor(col), math.floor(col) + 1):
                        if 0 <= r < H and 0 <= c < W:
                            weight = (1 - abs(row - r)) * (1 - abs(col - c))
                            out[b, :, i, j] += weight * x[b, :, r, c]
    return out


def test_warp_equals_the_published_one(goldens):
    golden = np.load(goldens / "bsstnet_modules.npz")["flow_warp"]
    out = warp(normal(11, (2, 5, 12, 20)), normal(10, (2, 2, 12, 20), 3))
    np.testing.assert_allclose(out.numpy(), golden, atol=1e-6, rtol=0)


def test_consistency_equals_the_published_one(goldens):
    flow = normal(10, (2, 2, 12, 20), 3)
    valid = consistency(flow, -flow + normal(12, (2, 2, 12, 20), 0.7))
    np.testing.assert_array_equal(
        valid.numpy(), np.load(goldens / "bsstnet_modules.npz")["fb_valid"]
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.floats(0.1, 5), st.integers(0, 999))
def test_warp_is_its_definition_at_any_size(height, width, scale, seed):
    x = normal(seed, (1, 2, height, width)).double()
    flow = normal(seed + 1, (1, 2, height, width), scale).double()
    torch.testing.assert_close(warp(x, flow), warp_slowly(x, flow), atol=1e-9, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(-4, 4), st.integers(-4, 4), st.integers(1, 9), st.integers(1, 9))
def test_a_whole_pixel_flow_shifts_and_fills_with_zeros(u, v, height, width):
    x = normal(0, (1, 3, height, width))
    out = warp(x, uniform_flow(height, width, u, v))
    for i in range(height):
        for j in range(width):
            inside = 0 <= i + v < height and 0 <= j + u < width
            truth = x[0, :, i + v, j + u] if inside else torch.zeros(3)
            torch.testing.assert_close(out[0, :, i, j], truth, atol=1e-5, rtol=0)


def test_warp_looks_up_at_the_flows_own_size():
    x = normal(0, (1, 1, 6, 8))
    torch.testing.assert_close(warp(x, torch.zeros(1, 2, 3, 5)), x[..., :3, :5], atol=1e-6, rtol=0)


def test_warp_gradients():
    x = normal(1, (1, 2, 4, 5)).double().requires_grad_()
    # Kept away from whole pixels, where bilinear interpolation has a kink.
    flow = (0.3 + normal(2, (1, 2, 4, 5), 0.1).double().clamp(-0.25, 0.25)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (x, flow))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_values_keep_exact_positions(dtype):
    # At column 2001 half precision would be off by a pixel.
    x = torch.zeros(1, 1, 1, 2050)
    x[..., 2002] = 1
    out = warp(x.to(dtype), uniform_flow(1, 2050, 1, 0))
    assert out.dtype == dtype
    assert out.argmax().item() == 2001
    assert out.max().item() == pytest.approx(1, abs=1e-3)


def test_composed_translations_add_up():
    first, second = uniform_flow(9, 11, 2, -1), uniform_flow(9, 11, 1, 3)
    inside = compose(first, second)[..., 3:-3, 3:-3]
    truth = uniform_flow(9, 11, 3, 2)[..., 3:-3, 3:-3]
    torch.testing.assert_close(inside, truth, atol=1e-5, rtol=0)


def test_composed_flow_warps_like_two_warps():
    x = torch.linspace(0, 1, 16 * 20).reshape(1, 1, 16, 20)  # linear: interpolation is exact
    first, second = normal(3, (1, 2, 16, 20), 0.7), uniform_flow(16, 20, 1.5, 0.5)
    once = warp(x, compose(first, second))[..., 5:-5, 5:-5]
    twice = warp(warp(x, second), first)[..., 5:-5, 5:-5]
    torch.testing.assert_close(once, twice, atol=1e-5, rtol=0)


def test_opposite_translations_are_consistent_until_they_leave_the_image():
    flow = uniform_flow(6, 10, 3, 0)
    valid = consistency(flow, -flow)
    assert valid[..., :7].eq(1).all()
    assert valid[..., 7:].eq(0).all()


def test_thresholds_of_consistency():
    flow = uniform_flow(6, 8, 0, 0)
    back = uniform_flow(6, 8, 0.8, 0)  # error 0.64, motion 0.64
    assert consistency(flow, back).eq(0).all()
    assert consistency(flow, back, absolute=0.65).eq(1).all()
    assert consistency(flow, back, relative=1.01, absolute=0.0).eq(1).all()
    assert consistency(flow, back, relative=1.0, absolute=0.0).eq(0).all(), "strictly smaller"


def test_static_clips_are_consistent():
    zero = torch.zeros(1, 2, 1, 1)
    assert consistency(zero, zero).eq(1).all()
