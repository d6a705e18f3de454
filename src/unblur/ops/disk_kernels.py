"""Kernels of a lens out of focus: what a point becomes on the sensor."""

from __future__ import annotations

import torch
from torch import Tensor

INNER, OUTER = 6.0, 8.0
"""The rim ends smoothly between these distances from the disk's edge, in units of 1 / beta."""
SHARPEST, SOFTEST = 8.0, 2.0
"""Softness beta of a disk of radius 0, and of a large one, where none is given."""


def softness(radius: Tensor) -> Tensor:
    """Softness beta of the rim that makes a disk of radius 0 the identity, and eq. 2 of a large one.

    Args:
        radius: pixels, at least 0.

    Returns:
        `2 + 6 exp(-(radius / 0.8)^2)`, from 8 at radius 0 to 2 from about 3 pixels on.
    """
    return SOFTEST + (SHARPEST - SOFTEST) * torch.exp(-((radius / 0.8) ** 2))


def soft_disk(depth: Tensor, beta: Tensor | float) -> Tensor:
    """Profile of a disk with a bright soft rim (Video Defocus Deblurring with Atlases 2024, eq. 2).

    `e^(beta d) / (e^(beta d) - d)`, written with exponents below zero only, so that it is finite for
    any depth. It falls to 1e-4 at `OUTER / beta` outside of the edge, and is taken to zero there.

    Args:
        depth: d, pixels inside of the disk's edge; negative outside.
        beta: softness in 1 / pixels, more than 1 / e.

    Returns:
        Not normalised: 1 at the edge and deep inside, at most 1.23 for beta = 2.
    """
    distance = depth.abs()
    decay = torch.exp(-beta * distance)
    inside = 1 / (1 - distance * decay)
    t = ((OUTER - beta * distance) / (OUTER - INNER)).clamp(0, 1)
    outside = decay / (decay + distance) * t * t * (3 - 2 * t)
    return torch.where(depth >= 0, inside, outside)
