"""One level of Haar's wavelets, and what their energy says about focus."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 11
"""Depths 0.0, 0.1, ... 1.0."""


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Splits images into their means and their details; orthonormal, so energy is kept.

    Args:
        x: (..., H, W), both even.

    Returns:
        Low pass (..., H/2, W/2) and details (..., 3, H/2, W/2): across, down, diagonal.
    """
    a, b = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
    c, d = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
    details = torch.stack((a - b + c - d, a + b - c - d, a - b - c + d), -3)
    return (a + b + c + d) / 2, details / 2


def detail(frames: Tensor) -> Tensor:
    """Sum of the absolute details of all colours, at the size of the frames.

    Frames are enlarged to twice their size first, as DaBiT's released code does.

    Args:
        frames: (T, 3, H, W) RGB in [0, 1].

    Returns:
        (T, 1, H, W).
    """
    large = F.interpolate(frames, scale_factor=2, mode="bilinear", align_corners=False)
    return haar(large)[1].abs().sum((1, 2))[:, None]


def blur_of_depths(frames: Tensor, depth: Tensor) -> Tensor:
    """Blur map of each frame from the detail at each depth, as DaBiT's released code makes it.

    Pixels of one depth, to the first decimal, share one value: 1 - their detail / the detail of the
    depth that has most. Detail is summed up, so a depth that fills much of the frame counts as
    sharp; and one depth always comes out as 0.

    Args:
        frames: (T, 3, H, W) RGB in [0, 1].
        depth: (T, 1, H, W) in [0, 1]; which end is near does not matter.

    Returns:
        (T, 1, H, W), 0 = sharp, 1 = most blurred.
    """
    bins = (depth.round(decimals=1) * (BINS - 1)).round().long().clamp(0, BINS - 1).flatten(1)
    sums = frames.new_zeros(len(frames), BINS).scatter_add_(1, bins, detail(frames).flatten(1))
    blur = 1 - sums / (sums.amax(1, keepdim=True) + 1e-8)
    return blur.gather(1, bins).view_as(depth)
