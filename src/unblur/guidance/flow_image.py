"""Flow and blur maps as images: for people, and as KITTI has them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SECTORS = (15, 6, 4, 11, 13, 6)
"""Steps from red to yellow, to green, to cyan, to blue, to magenta, and back to red."""
FLOW_STEP, FLOW_ZERO = 64.0, 32768
"""Flow in PNG, as KITTI has it: (value - 32768) / 64 pixels; the third channel is 1 if valid."""


def flow_to_rgb(flow: Tensor, longest: float | None = None) -> Tensor:
    """Direction as hue, length as saturation: the wheel of Baker et al. (IJCV 2011).

    Args:
        flow: (T, 2, H, W) pixels.
        longest: length drawn in full colour, longer ones are darkened; by default the longest.

    Returns:
        (T, 3, H, W) RGB in [0, 1]; white where nothing moves.
    """
    flow = flow.float()
    length = flow.norm(dim=1, keepdim=True)  # (T, 1, H, W)
    if longest is None:
        longest = float(length.max()) if length.numel() else 0.0
    length = length / longest if longest > 0 else torch.zeros_like(length)
    wheel = color_wheel().to(flow.device)
    turn = torch.atan2(-flow[:, 1], -flow[:, 0]) / math.pi  # (T, H, W) in -1..1
    place = (turn + 1) / 2 * (len(wheel) - 1)
    low = place.floor().long()
    share = (place - low)[..., None]
    color = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]  # (T, H, W, 3)
    color = color.permute(0, 3, 1, 2)
    return torch.where(length <= 1, 1 - length * (1 - color), 0.75 * color)


def color_wheel() -> Tensor:
    """(55, 3) RGB in [0, 1]: from red round to red, in steps that look even."""
    corners = torch.tensor(
        [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]]
    )
    parts = []
    for sector, steps in enumerate(SECTORS):
        share = torch.arange(steps)[:, None] / steps
        parts.append((1 - share) * corners[sector] + share * corners[sector + 1])
    return torch.cat(parts)


def kitti(flow: Tensor, valid: Tensor) -> Tensor:
    """Values of KITTI's 16-bit PNG, (T, 3, H, W), not yet rounded.

    Args:
        flow: (T, 2, H, W) pixels.
        valid: (T, 1, H, W) 0 or 1.
    """
    return torch.cat((flow * FLOW_STEP + FLOW_ZERO, valid), 1)


def motion_image(frame: Tensor, flow: Tensor, blur: Tensor) -> Tensor:
    """A frame, the flow that lives on it, and its blur map, side by side.

    Args:
        frame: (3, H, W) RGB in [0, 1].
        flow: (2, h, w).
        blur: (1, h, w), 0 sharp to 1 blurred; drawn from black to white.

    Returns:
        (3, H, 3 * W + 16) RGB in [0, 1].
    """
    size = frame.shape[-2:]
    panels = [flow_to_rgb(flow[None]), blur[None].float().clamp(0, 1).expand(1, 3, -1, -1)]
    large = [
        F.interpolate(p, size=size, mode="bilinear", align_corners=False)[0].to(frame)
        for p in panels
    ]
    gap = frame.new_ones(3, size[0], 8)
    return torch.cat((frame, gap, large[0], gap, large[1]), dim=2)
