"""Maps that do not flicker."""

from __future__ import annotations

import torch
from torch import Tensor

CHANGE = 0.25
"""Difference from the frame before, of a range of 1, that is taken over whole."""
LEAST = 0.12
"""Share of any difference that is taken over."""


def steady(values: Tensor, before: Tensor | None = None) -> Tensor:
    """Follows maps in time: small changes slowly, large ones at once.

    Noise makes small changes everywhere in every frame; an object that moves makes large ones,
    which would leave a trail if they were averaged.

    Args:
        values: (T, ...) in [0, 1].
        before: (...) what this returned for the frame before the first one; None at the beginning
            of a scene.

    Returns:
        (T, ...).
    """
    out = []
    for value in values:
        if before is not None:
            change = value - before
            value = before + change * (change / CHANGE).square().clamp(LEAST, 1)
        before = value
        out.append(value)
    return torch.stack(out) if out else values
