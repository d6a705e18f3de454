"""Atlases: as a pyramid, and as a network makes them."""

from __future__ import annotations

import torch

from tests.atlas import focus_pull
from unblur.atlas.fitting.texture import CnnTexture, PyramidTexture, look_up, variation


def test_look_up_of_coordinates() -> None:
    grid = torch.stack(torch.broadcast_tensors(torch.arange(20.0), torch.arange(12.0)[:, None]))
    place = torch.tensor([[[[3.25, 18.5]], [[7.75, 0.5]]]])  # (1, 2, 1, 2)
    torch.testing.assert_close(look_up(grid, place), place)
    outside = look_up(grid, torch.full((1, 2, 1, 1), -5.0))
    assert float(outside.abs().max()) == 0


def test_pyramid_starts_as_given_and_counts_slopes() -> None:
    start = focus_pull.texture(3, 33, 47)
    assert torch.equal(PyramidTexture(start, 4)(), start)
    assert variation(torch.zeros(3, 9, 9)) < variation(start)


def test_cnn_atlas() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor([0.2, 0.5, 0.7])
    network = CnnTexture([(360, 640), (45, 50)], (16, 8, 8, 8), mean, generator)
    assert network.noise0.shape[-2:] == (45, 80)
    first, second = network()
    assert first.shape == (3, 360, 640)
    assert second.shape == (3, 45, 50)
    torch.testing.assert_close(first.mean((1, 2)), mean, atol=1e-4, rtol=0)
