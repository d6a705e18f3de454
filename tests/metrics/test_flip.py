"""FLIP against figures of its authors' package: flip-evaluator 1.7 (BSD-3-Clause)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.waves import CHANGES, waves
from unblur.metrics import flip, flip_map
from unblur.metrics.flip import balanced


def truth():
    """Waves of three colours, (3, 48, 64)."""
    return waves(48, 64)


CASES = {
    "darker": 0.55285251,
    "shifted": 0.41561964,
    "channels": 0.88304877,
    "flat": 0.84053212,
}


@pytest.mark.parametrize("name", CASES)
def test_known_figures(name):
    assert float(flip(CHANGES[name](truth()), truth())) == pytest.approx(CASES[name], abs=2e-6)


def test_known_pixels_of_the_map():
    found = flip_map(truth().roll(2, -1), truth())
    assert float(found[10, 20]) == pytest.approx(0.45445424, abs=2e-6)
    assert float(found[40, 3]) == pytest.approx(0.5217684, abs=2e-6)


@pytest.mark.parametrize(("distance", "expected"), [(20.0, 0.43036428), (67.0, 0.41563186)])
def test_known_figures_at_other_distances(distance, expected):
    assert float(flip(truth().roll(2, -1), truth(), distance)) == pytest.approx(expected, abs=2e-6)


@given(st.integers(0, 2**31))
@settings(max_examples=10)
def test_it_is_symmetric_and_within_bounds(seed):
    a, b = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(seed)).round()
    assert 0 <= float(flip_map(a, b).min()) <= float(flip_map(a, b).max()) <= 1 + 1e-9
    assert float(flip(a, b)) == pytest.approx(float(flip(b, a)))
    assert float(flip(a, a)) == 0


def test_green_and_blue_are_as_far_apart_as_can_be():
    colours = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    green, blue = colours[..., None, None].expand(2, 3, 32, 32)
    assert float(flip(green, blue)) == pytest.approx(1, abs=1e-6)


def test_leading_axes_are_kept_and_kernels_are_balanced():
    x = torch.rand(2, 3, 3, 24, 24)
    found = flip(x, x.flip(0))
    assert found.shape == (2, 3)
    assert float(found[1, 2]) == pytest.approx(float(flip(x[1, 2], x[0, 2])), abs=1e-6)
    kernel = balanced(torch.tensor([3.0, -1.0, 0.0, -1.0, 3.0]))
    assert kernel.tolist() == [0.5, -0.5, 0, -0.5, 0.5]
