"""How blurred each pixel is, known by how far it moves."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

BlurOfFlows = Literal["mean", "sum"]


def squared_motion(
    flow_forward: Tensor, flow_backward: Tensor, mode: BlurOfFlows = "mean"
) -> Tensor:
    """Squared length of the flows that live on each frame.

    Inner frames have two (to the next and to the previous frame), end frames one. The released
    BSSTNet takes the mean; its paper (CVPR 2024, Eq. 1) prints the sum, a missing flow counting 0,
    so that the end frames weigh half as much.

    Args:
        flow_forward: (..., T-1, 2, H, W), flow `t` lives on frame t and points to t + 1.
        flow_backward: (..., T-1, 2, H, W), flow `t` lives on frame t + 1 and points to t.
        mode: `mean` of the flows there are, or their `sum`.

    Returns:
        (..., T, 1, H, W) squared pixels; zero for a single frame.
    """
    forward = flow_forward.square().sum(-3, keepdim=True)  # (..., T-1, 1, H, W)
    backward = flow_backward.square().sum(-3, keepdim=True)
    if forward.shape[-4] == 0:
        shape = list(forward.shape)
        shape[-4] = 1
        return forward.new_zeros(shape)
    first, last = forward[..., :1, :, :, :], backward[..., -1:, :, :, :]
    inner = forward[..., 1:, :, :, :] + backward[..., :-1, :, :, :]
    if mode == "mean":
        inner = inner / 2
    return torch.cat((first, inner, last), -4)


def spread(values: Tensor, limits: Tensor | None = None) -> Tensor:
    """Scales a clip's values to 0..1.

    Args:
        values: (B, T, 1, H, W).
        limits: (B, 2) values that become 0 and 1, the rest is clamped; by default the smallest and
            the largest of the clip.

    Returns:
        (B, T, 1, H, W); zero where a clip has no range (nothing moves, or all of it equally).
    """
    if limits is None:
        flat = values.flatten(1)  # (B, T * H * W)
        low, high = flat.amin(1), flat.amax(1)
    else:
        low, high = limits.unbind(1)
    low, high = low[:, None, None, None, None], high[:, None, None, None, None]
    extent = high - low
    scaled = (values - low) / torch.where(extent > 0, extent, 1)
    return torch.where(extent > 0, scaled, 0).clamp(0, 1)
