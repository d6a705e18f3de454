"""Flows as large as their frame."""

from __future__ import annotations

import pytest
import torch

from unblur.ops.resize import enlarge_flow


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_an_affine_motion_stays_the_same_motion(factor):
    def motion(height, width, pixels):
        """Flow of `pixels` pixels an element, at the centres of its elements."""
        y = (torch.arange(height) + 0.5) * pixels
        x = (torch.arange(width) + 0.5) * pixels
        u = 0.1 * x[None] + 0.02 * y[:, None] - 3
        v = 0.05 * y[:, None] - 0.03 * x[None] + 1
        return torch.stack((u, v))[None] / pixels

    got = enlarge_flow(motion(9, 12, factor), factor)
    wanted = motion(9 * factor, 12 * factor, 1)
    assert got.shape == wanted.shape
    inner = (..., slice(factor, -factor), slice(factor, -factor))  # rims go on as they end
    torch.testing.assert_close(got[inner], wanted[inner], rtol=0, atol=1e-4)
