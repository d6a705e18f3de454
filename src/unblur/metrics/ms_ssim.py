"""Structural similarity over several scales; differentiable, so that it is a loss as well."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.ops.gaussian import gaussian

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first (Wang et al. 2003)."""
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
LEAST = 1e-6
"""A scale without any similarity counts as this: its slope stays finite."""


def levels_for(height: int, width: int) -> int:
    """Scales that images of this size have room for: 5 above 160 pixels, 1 below 21."""
    levels, side = 1, min(height, width)
    while levels < len(WEIGHTS) and (side := -(-side // 2)) >= WINDOW:
        levels += 1
    return levels


def ms_ssim(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
    levels: int | None = None,
) -> Tensor:  # (...)
    """Multi-scale structural similarity (Wang et al., Asilomar 2003), mean over channels.

    Gaussian window of 11x11 with sigma 1.5, the outer 5 pixels left out, 2x2 means between scales;
    a dissimilar scale counts as 0. Small images have fewer scales, whose weights then sum to 1
    again. Float32 (or float64 if the input is), with gradients.

    Args:
        x: images in [0, 1], at least 11x11.
        truth: what they should be.
        levels: number of scales; as many as fit by default, 5 at the most.
    """
    H, W = x.shape[-2:]
    if min(H, W) < WINDOW:
        raise ValueError(f"MS-SSIM needs images of at least 11x11, not {(H, W)}")
    room = levels_for(H, W)
    count = room if levels is None else levels
    if not 1 <= count <= room:
        raise ValueError(f"{count} scales do not fit images of {W}x{H}: take 1 to {room}")
    dtype = torch.promote_types(x.dtype, torch.float32)
    a, b = (y.to(dtype).flatten(0, -4) if y.dim() > 3 else y.to(dtype)[None] for y in (x, truth))
    exponents = torch.tensor(WEIGHTS[:count], dtype=dtype, device=x.device)
    exponents = exponents / exponents.sum()
    product = a.new_ones(())
    for level in range(count):
        if level:
            # Sides that are odd get a row of zeros on each side, as in the first implementations.
            pad = [side % 2 for side in a.shape[-2:]]
            a, b = (F.avg_pool2d(y, 2, padding=pad) for y in (a, b))
        similar, contrast = _similarity(a, b)
        part = similar if level == count - 1 else contrast
        product = product * part.clamp_min(LEAST) ** exponents[level]
    return product.mean(-1).reshape(x.shape[:-3])


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its part without luminance, (N, C) each, of (N, C, H, W)."""
    across, down = (_window(side, a) for side in (a.shape[-1], a.shape[-2]))
    moments = torch.stack([a, b, a * a, b * b, a * b])  # (5, N, C, H, W)
    # A matrix for each axis: many times faster on a CPU than a convolution with few channels.
    mean_a, mean_b, aa, bb, ab = down.T @ (moments @ across)
    contrast = (2 * (ab - mean_a * mean_b) + C2) / (aa - mean_a**2 + bb - mean_b**2 + C2)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (luminance * contrast).mean((-2, -1)), contrast.mean((-2, -1))


def _window(side: int, like: Tensor) -> Tensor:
    """(side, side - 10): the window at each place where it fits."""
    matrix = like.new_zeros(side, side - WINDOW + 1)
    for i, tap in enumerate(gaussian(WINDOW // 2, SIGMA, like)):
        matrix.diagonal(-i).fill_(tap)
    return matrix
