"""Losses of maps are least where they should be."""

from __future__ import annotations

import pytest
import torch

from unblur.atlas.fitting.losses import (
    bootstrap,
    flow_disagreement,
    jacobians,
    reconstruction,
    rigidity,
    sparsity,
)
from unblur.metrics.ms_ssim import ms_ssim


def test_rigidity_of_rotations_is_least() -> None:
    angle = torch.tensor([0.0, 0.7, 2.5])
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1).view(-1, 2, 2)
    assert abs(float(rigidity(turn))) < 0.01
    assert float(rigidity(2 * turn)) > 2
    assert float(rigidity(0.5 * turn)) > 2


def test_jacobian_of_a_map() -> None:
    matrix = torch.tensor([[2.0, 0.5], [-1.0, 1.5]])
    places = lambda points: points[..., :2] @ matrix.T * 10  # noqa: E731
    found = jacobians(places, torch.rand(5, 3), torch.tensor(0.1))
    torch.testing.assert_close(found, matrix.expand(5, 2, 2), atol=1e-4, rtol=0)


def test_maps_that_follow_the_flow_agree_with_it() -> None:
    grid = torch.stack(torch.broadcast_tensors(torch.arange(30.0), torch.arange(20.0)[:, None]))
    flow = torch.tensor([2.0, -1.0])[:, None, None].expand(2, 20, 30)
    ones = torch.ones(1, 1, 20, 30)
    same = flow_disagreement(grid[None], (grid - flow)[None], flow[None], ones)
    other = flow_disagreement(grid[None], grid[None], flow[None], ones)
    assert float(same) < 1e-3
    assert float(other) == pytest.approx(5**0.5, abs=0.06)


def test_reconstruction_is_l1_and_a_share_of_ms_ssim() -> None:
    generator = torch.Generator().manual_seed(0)
    truth, x = torch.rand(2, 1, 3, 48, 64, generator=generator)
    l1, unlike = (x - truth).abs().mean(), 1 - ms_ssim(x, truth).mean()
    torch.testing.assert_close(reconstruction(x, truth, 0.84), 0.16 * l1 + 0.84 * unlike)


def test_only_what_is_not_seen_is_to_be_black() -> None:
    colour = torch.rand(1, 3, 4, 6)
    alpha = (torch.arange(6) < 3).float().expand(1, 1, 4, 6)
    hidden = colour[..., 3:].square().sum(1).mean() / 2
    torch.testing.assert_close(sparsity(colour, alpha), hidden)
    assert sparsity(colour, torch.ones_like(alpha)) == 0


def test_masks_count_where_they_are_sure() -> None:
    mask = (torch.arange(6) < 3).float().expand(1, 1, 4, 6)
    sure = (torch.arange(6) != 2).float().expand(1, 1, 4, 6)
    alpha = torch.where(sure > 0, mask, 1 - mask)
    assert bootstrap(alpha, mask, sure) < 0.01
    assert bootstrap(alpha, mask, torch.ones_like(sure)) > 1
