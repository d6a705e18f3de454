"""Gaussian kernels and blur."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian(radius: int, sigma: float, like: Tensor | None = None) -> Tensor:
    """(2 radius + 1,) samples of a Gaussian around the middle one; they sum to 1.

    Args:
        radius: samples on each side of the middle.
        sigma: standard deviation in samples.
        like: whose type and device the kernel has; None: float32 on the CPU.
    """
    like = torch.empty(0) if like is None else like
    at = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    return kernel / kernel.sum()


def gaussian_blur(
    x: Tensor,  # (..., H, W)
    sigma: float,
    radius: int | None = None,
) -> Tensor:  # (..., H, W)
    """Blurs the last two axes by a Gaussian, the border repeated.

    Args:
        x: any tensor of at least two axes.
        sigma: in pixels.
        radius: where the kernel is cut; 4 sigma by default.
    """
    here = torch.empty(0, dtype=x.dtype)  # a GPU would be waited for, to read its taps
    kernel = gaussian(int(4 * sigma + 0.5) if radius is None else radius, sigma, here)
    planes = x.reshape(-1, 1, *x.shape[-2:])
    return convolved(convolved(planes, kernel, -1), kernel, -2).reshape(x.shape)


def convolved(
    planes: Tensor,  # (N, 1, H, W)
    kernel: Tensor,  # (2 radius + 1,)
    axis: int,
) -> Tensor:  # (N, 1, H, W)
    """Convolves one axis, -1 or -2; many times as fast as `conv2d` in double precision."""
    radius, length = len(kernel) // 2, planes.shape[axis]
    rim = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
    wide = F.pad(planes, rim, mode="replicate")
    out = torch.zeros_like(planes)
    for i, weight in enumerate(kernel.tolist()):
        out = out.add_(wide.narrow(axis, i, length), alpha=weight)
    return out
