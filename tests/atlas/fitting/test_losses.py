"""Losses of maps are least where they should be."""

from __future__ import annotations

import pytest
import torch

from unblur.atlas.fitting.losses import flow_disagreement, jacobians, rigidity


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
