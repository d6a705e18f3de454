"""Blur by a disk."""

from __future__ import annotations

import pytest
import torch

from unblur.optics.thin_lens import disk, lens_blur


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.8, 1.5, 4.0, 9.7])
def test_a_disk_is_a_disk(radius: float) -> None:
    kernel = disk(torch.tensor([radius]), 11)[0]
    assert kernel.amin() >= 0
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    at = torch.arange(-11.0, 12)
    moment = float((kernel * (at**2 + at[:, None] ** 2)).sum())
    if radius < 0.5:
        assert moment == 0
    else:  # that of the disk; a pixel's own extent adds a little to it
        assert radius**2 / 2 - 0.1 <= moment <= radius**2 / 2 + 1 / 6 + 0.05
    assert torch.allclose(kernel, kernel.T)
    assert torch.allclose(kernel, kernel.flip(0))


def test_lens_blur_of_a_point_is_the_disk() -> None:
    x = torch.zeros(2, 1, 32, 32)
    x[:, :, 16, 16] = 1
    radius = torch.tensor([0.2, 5.3])
    blurred = lens_blur(x, radius, 8)
    assert torch.equal(blurred[0], x[0])
    expected = disk(radius, 8)[1]
    assert torch.allclose(blurred[1, 0, 8:25, 8:25], expected, atol=1e-6)
    assert float(blurred[1].sum()) == pytest.approx(1, abs=1e-4)
