"""Maps from frames to atlases: networks of the paper, and lattices."""

from __future__ import annotations

import math

import torch

from unblur.atlas.fitting.mapping import (
    ALPHA_MLP,
    BACKGROUND_MLP,
    FOREGROUND_MLP,
    Lattice,
    Mlp,
    encoded,
    spline_basis,
)


def test_networks_are_those_of_the_paper() -> None:
    sizes = [
        sum(p.numel() for p in Mlp(config).parameters())
        for config in (FOREGROUND_MLP, BACKGROUND_MLP, ALPHA_MLP)
    ]
    assert sizes == [264_706, 133_122, 402_945]


def test_positional_encoding() -> None:
    points = torch.tensor([[0.5, 0.0, -1.0]])
    out = encoded(points, 5)
    assert out.shape == (1, 30)
    assert out.abs().max() <= 1
    torch.testing.assert_close(out[0, 0], torch.tensor(math.sin(math.pi / 2)))


def test_splines_sum_to_one_and_make_straight_lines() -> None:
    at = torch.linspace(0, 40, 81)
    basis = spline_basis(at, 40, 8)
    torch.testing.assert_close(basis.sum(1), torch.ones(81))
    line = basis @ torch.arange(8.0)
    torch.testing.assert_close(line.diff(), line.diff()[:1].expand(80), atol=1e-5, rtol=0)


def test_bending_of_a_straight_lattice_is_zero() -> None:
    lattice = Lattice(2, 2, 48, 64, (6, 7))
    with torch.no_grad():
        lattice.knots.copy_(
            torch.arange(6.0)[:, None] * 0.3 + torch.arange(7.0) * 0.1 + torch.zeros(2, 2, 6, 7)
        )
    assert float(lattice.bending([0, 1]).detach()) < 1e-10
    with torch.no_grad():
        lattice.knots[0, 0, 2, 2] += 1
    assert float(lattice.bending([0]).detach()) > 0.01
