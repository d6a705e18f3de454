"""Even blur of a lens, its radius and its gradient."""

from __future__ import annotations

import pytest
import torch

from tests.atlas import focus_pull
from unblur.optics.disk_blur import disk_blur
from unblur.optics.lens import evenly, ideal_radius, lens_radius


def test_even_blur_is_that_of_the_disk_blur() -> None:
    x = focus_pull.texture(5, 60, 72)[None]
    radius = torch.tensor([3.3]).view(1, 1, 1, 1)
    x = x.to(radius)
    one = evenly(x, radius, None)[..., 10:-10, 10:-10]
    other = disk_blur(x, radius.expand(1, 1, 60, 72))[..., 10:-10, 10:-10]
    torch.testing.assert_close(one, other, atol=2e-3, rtol=0)
    torch.testing.assert_close(evenly(x, 0 * radius, None), x, atol=1e-3, rtol=0)


def test_gradient_of_the_even_blur() -> None:
    x = torch.rand(2, 1, 14, 16, dtype=torch.float64, requires_grad=True)
    radius = torch.tensor([0.7, 1.4], dtype=torch.float64).view(2, 1, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, r: evenly(a, r, None), (x, radius))


@pytest.mark.parametrize("beta", [None, 2.0])
def test_radius_of_the_lens(beta: float | None) -> None:
    ideal = torch.tensor([1.5, 2.0, 4.0, 8.0, 16.0])
    lens = lens_radius(ideal, beta)
    assert (lens < ideal).all()
    torch.testing.assert_close(ideal_radius(lens, beta), ideal, atol=1e-4, rtol=0)
    # The same second moment as an ideal disk of radius R: R^2 / 4 along each axis.
    point = torch.zeros(1, 1, 81, 81)
    point[..., 40, 40] = 1
    spread = evenly(point, lens[3].view(1, 1, 1, 1), beta)[0, 0]
    moment = (spread.sum(0) * (torch.arange(81) - 40) ** 2).sum()
    assert float(moment) == pytest.approx(16.0, rel=0.02)
