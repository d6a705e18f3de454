"""Moving images and features along an optical flow."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mode = Literal["bilinear", "nearest"]


def warp(x: Tensor, flow: Tensor, mode: Mode = "bilinear") -> Tensor:
    """Looks up `x` where `flow` points to: `out[p] = x[p + flow[p]]`.

    Whatever lies outside the image is zero. Coordinates are float32 (float64 if an input is),
    whatever the precision of `x`: half precision has too few digits for the position in a frame.

    Args:
        x: (B, C, H, W) values that live on the frame the flow points to.
        flow: (B, 2, H', W') pixels of `x`; channel 0 is x (columns), channel 1 is y (rows).
        mode: between pixel centres, mix the neighbours or take the nearest.

    Returns:
        (B, C, H', W') in the dtype of `x`.
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, flow.dtype), torch.float32)
    height, width = flow.shape[-2:]
    rows = torch.arange(height, dtype=dtype, device=flow.device)
    cols = torch.arange(width, dtype=dtype, device=flow.device)
    u, v = flow.to(dtype).unbind(1)  # (B, H', W') each
    return sample(x.to(dtype), cols + u, rows[:, None] + v, mode).to(x.dtype)


def sample(x: Tensor, cols: Tensor, rows: Tensor, mode: Mode = "bilinear") -> Tensor:
    """Values of `x` at fractional pixel positions, zero outside.

    Args:
        x: (B, C, H, W), floating; positions must have the same dtype.
        cols: (B, H', W') position along the width, 0 = centre of the first pixel.
        rows: (B, H', W') position along the height.
        mode: as in `warp`.

    Returns:
        (B, C, H', W').
    """
    # A 1-pixel axis has no length to normalise by. A zero row or column changes nothing, since
    # everything outside is zero anyhow, and gives the axis a length.
    height, width = x.shape[-2:]
    if height == 1 or width == 1:
        x = F.pad(x, (0, int(width == 1), 0, int(height == 1)))
        height, width = x.shape[-2:]
    grid = torch.stack((2 * cols / (width - 1) - 1, 2 * rows / (height - 1) - 1), dim=-1)
    return F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=True)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Flow over two steps: `first`, and from where that leads, `second`.

    Args:
        first: (B, 2, H, W) flow from frame a to frame b, living on a.
        second: (B, 2, H, W) flow from frame b to frame c, living on b.

    Returns:
        (B, 2, H, W) flow from a to c, living on a. Past the edge of b `second` counts as zero.
    """
    return first + warp(second, first)
