"""The canvas keeps places."""

from __future__ import annotations

import pytest
import torch

from unblur.atlas.fitting.canvas import Canvas
from unblur.atlas.fitting.mapping import (
    LatticeMapping,
)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_canvas_keeps_places(scale: int) -> None:
    """At any scale and margin the frame's pixels map to the same places."""
    mapping = LatticeMapping(torch.eye(3)[None].double(), 48, 64, (16.0,))
    canvas = Canvas(48, 64, 9, scale)
    place = canvas.crop(mapping(canvas, [0]))[0]
    assert place.shape == (2, 48 // scale, 64 // scale)
    expected = (torch.arange(64 // scale) + 0.5) * scale - 0.5
    torch.testing.assert_close(place[0, 3], expected)
    assert min(a - b for a, b in zip(canvas.outer, canvas.inner, strict=True)) >= 18 // scale
