"""Lens blur with a radius per pixel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unblur.ops.disk_blur import disk_blur, layered_blur, scatter
from unblur.ops.disk_kernels import soft_disk, softness


def draw(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def spread_slowly(x: Tensor, radius: Tensor, beta: float | None = None) -> Tensor:
    """The definition, one tap of the kernel after another: every pixel spreads over its disk."""
    height, width = x.shape[-2:]
    soft = softness(radius) if beta is None else torch.full_like(radius, beta)
    reach = int(radius.max()) + 17
    taps = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    area, out = torch.zeros_like(radius), torch.zeros_like(x)
    for i, j in taps:
        area = area + soft_disk(radius - (i * i + j * j) ** 0.5, soft)
    for i, j in taps:
        if abs(i) < height and abs(j) < width:
            sent = soft_disk(radius - (i * i + j * j) ** 0.5, soft) / area * x
            rows, cols = slice(max(i, 0), height + min(i, 0)), slice(max(j, 0), width + min(j, 0))
            back = slice(max(-i, 0), height + min(-i, 0)), slice(max(-j, 0), width + min(-j, 0))
            out[..., rows, cols] += sent[..., back[0], back[1]]
    return out


@pytest.mark.parametrize(("beta", "error"), [(None, 1e-2), (1.0, 1e-3), (2.0, 4e-3), (4.0, 2e-3)])
@pytest.mark.parametrize("largest", [1, 4, 12])
def test_is_its_definition(beta, error, largest):
    x, radius = draw(0, 2, 3, 12, 15), draw(1, 2, 1, 12, 15) * largest
    truth = spread_slowly(x, radius, beta)
    assert (scatter(x, radius, beta) - truth).abs().max() < error


@pytest.mark.parametrize("beta", [None, 2.0])
def test_gradients(beta):
    x = draw(0, 1, 2, 5, 6).requires_grad_()
    radius = (draw(1, 1, 1, 5, 6) * 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: disk_blur(a, b, beta), (x, radius))


def test_radius_zero_changes_nothing():
    x = draw(0, 1, 3, 9, 11)
    assert (disk_blur(x, torch.zeros_like(x[:, :1])) - x).abs().max() < 1e-6


def test_constants_stay():
    x, radius = torch.full((1, 3, 20, 30), 0.7), 12 * draw(1, 1, 1, 20, 30).float()
    assert (disk_blur(x, radius) - 0.7).abs().max() < 1e-6


def test_an_opaque_layer_hides_what_is_behind():
    back = (draw(0, 1, 3, 20, 30), torch.ones(1, 1, 20, 30).double(), 3 * draw(1, 1, 1, 20, 30))
    front = (draw(2, 1, 3, 20, 30), torch.ones(1, 1, 20, 30).double(), 3 * draw(3, 1, 1, 20, 30))
    nothing = (front[0], 0 * front[1], front[2])
    torch.testing.assert_close(layered_blur([back, front]), disk_blur(front[0], front[2]))
    torch.testing.assert_close(layered_blur([back, nothing]), disk_blur(back[0], back[2]))
