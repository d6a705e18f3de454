"""Paths in time, and homographies."""

from __future__ import annotations

import torch

from unblur.synth.paths import KNOTS, apply, inverse, spline


def test_spline_is_smooth_and_goes_on_without_end() -> None:
    knots = torch.randn(1, KNOTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    at = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    values = spline(knots, at)[0]
    assert torch.allclose(values, spline(knots, at + KNOTS)[0])
    acceleration = values.diff().diff() / 0.001**2
    assert acceleration.diff().abs().amax() < 0.02  # of order 1: no jump of the second derivative
    constant = spline(torch.full((1, KNOTS), 2.5), at.float())
    assert torch.allclose(constant, torch.tensor(2.5))


def test_homographies_are_inverted() -> None:
    g = torch.Generator().manual_seed(3)
    matrix = torch.eye(3) + 0.1 * torch.randn(5, 3, 3, generator=g)
    matrix[:, 2, :2] *= 0.01
    points = torch.randn(5, 2, generator=g) * 20
    assert torch.allclose(apply(inverse(matrix), apply(matrix, points)), points, atol=1e-3)
