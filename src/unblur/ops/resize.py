"""Resizing images, feature maps (channels last) and flows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def bicubic(
    images: Tensor,  # (N, C, H, W)
    size: Sequence[int],
) -> Tensor:  # (N, C, *size)
    """Bicubic enlargement within [0, 1]."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bicubic").clamp(0, 1)


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Bilinear enlargement with half-pixel centres; `(B, H, W, C)`."""
    if factor == 1:
        return x
    y = F.interpolate(x.permute(0, 3, 1, 2), scale_factor=factor, mode="bilinear")
    return y.permute(0, 2, 3, 1).contiguous()


def enlarge_flow(flow: Tensor, factor: int) -> Tensor:
    """Bilinear enlargement of a flow in elements of its own grid.

    Args:
        flow: (N, 2, h, w).
        factor: elements of the larger grid per element, along each side.

    Returns:
        (N, 2, factor h, factor w) float32, in elements of the larger grid.
    """
    if factor == 1:
        return flow.float()
    return F.interpolate(flow.float(), scale_factor=factor, mode="bilinear") * factor


def shrink(x: Tensor, factor: int) -> Tensor:
    """Shrinks `(B, H, W, C)` by 2 or 4 with a triangle filter of half-width `factor`.

    At the border the weights of the pixels that exist are scaled to sum to 1. In every dtype and on
    every device, which the antialiased `interpolate` is not.
    """
    ramp = torch.arange(1, 2 * factor, 2, dtype=x.dtype, device=x.device)
    line = torch.cat([ramp, ramp.flip(0)]) / (2 * factor**2)  # [1, 3, 3, 1] / 8
    channels = x.shape[-1]
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel, stride=factor, padding=factor // 2, groups=channels)
    y = y.permute(0, 2, 3, 1)
    # An eighth of the weight lies outside at both factors.
    rows = torch.ones(y.shape[1], dtype=x.dtype, device=x.device)
    cols = torch.ones(y.shape[2], dtype=x.dtype, device=x.device)
    for edge in (rows, cols):
        edge[[0, -1]] = 8 / 7
    return y * torch.outer(rows, cols)[:, :, None]
