"""What the fit requests: frames that look like the clip's, and maps that stay maps."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.metrics.ms_ssim import LEAST, ms_ssim
from unblur.ops.warp import sample

ROUND = 0.05
"""Pixels below which disagreement with the flow counts as a square."""
TINY = 1e-3
"""Kept off the diagonal when a Jacobian is inverted (Kasten et al. 2021)."""
RIGID = 2 * 2**0.5
"""Rigidity of a rotation, the least there is."""


def reconstruction(x: Tensor, truth: Tensor, share: float) -> Tensor:
    """L1, and `share` of 1 - MS-SSIM instead (Zhao et al. 2017), of (B, 3, H, W)."""
    loss = (1 - share) * (x - truth).abs().mean()
    if share and min(x.shape[-2:]) >= 11:
        loss = loss + share * (1 - ms_ssim(x, truth).mean())
    return loss


def flow_disagreement(
    start: Tensor,  # (B, 2, H, W)
    end: Tensor,  # (B, 2, H, W)
    flow: Tensor,  # (B, 2, H, W)
    weight: Tensor,  # (B, 1, H, W)
) -> Tensor:
    """A point is to have the same place in the atlas in both frames: mean distance there.

    Args:
        start: places of the pixels of the frames that flows start from.
        end: of those they end in.
        flow: pixels of these maps.
        weight: of each pixel; those that leave the frame count nothing.
    """
    H, W = flow.shape[-2:]
    cols = torch.arange(W, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    rows = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    inside = (cols >= 0) & (cols <= W - 1) & (rows >= 0) & (rows <= H - 1)
    off = (sample(end, cols, rows) - start).square().sum(1, keepdim=True)
    distance = (off + ROUND**2).sqrt() - ROUND
    weight = weight * inside[:, None]
    return (distance * weight).sum() / weight.sum().clamp_min(1.0)


def rigidity(jacobian: Tensor) -> Tensor:
    """How far maps are from rotations: |J'J| + |(J'J)^-1| less that of a rotation, the mean.

    Args:
        jacobian: (M, 2, 2) pixels of the atlas per pixel of the frame.
    """
    square = jacobian.mT @ jacobian
    a, b, d = square[:, 0, 0] + TINY, square[:, 0, 1], square[:, 1, 1] + TINY
    determinant = (a * d - b * b).clamp_min(TINY**2)
    inverse = ((a * a + d * d + 2 * b * b) / determinant**2).sqrt()
    norm = (square.square().sum((1, 2)) + 1e-12).sqrt()
    return (norm + inverse - RIGID).mean()


def jacobians(places: Callable[[Tensor], Tensor], points: Tensor, step: Tensor) -> Tensor:
    """(M, 2, 2) of a map of normalised points (M, 3), by differences of one pixel, `step`."""
    shifts = torch.zeros(2, 1, 3, device=points.device, dtype=points.dtype)
    shifts[0, 0, 0] = shifts[1, 0, 1] = step
    here, right, below = places(torch.stack((points, points + shifts[0], points + shifts[1])))
    return torch.stack((right - here, below - here), -1)


def sparsity(colour: Tensor, alpha: Tensor) -> Tensor:
    """Colour (B, 3, H, W) of a layer where it is not seen: it is to be black there."""
    return ((1 - alpha) * colour).square().sum(1).mean()


def bootstrap(alpha: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy of alpha and a rough mask, (B, 1, H, W) each, where `weight` is not 0."""
    alpha = alpha.clamp(LEAST, 1 - LEAST)
    loss = F.binary_cross_entropy(alpha, mask, weight, reduction="sum")
    return loss / weight.sum().clamp_min(1.0)
