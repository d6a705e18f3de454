"""The blur map of a clip, from its optical flow."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unblur.ops.blur_map import spread, squared_motion

Mode = Literal["official", "paper"]


def blur_map(
    flow_forward: Tensor, flow_backward: Tensor, mode: Mode = "official", normalise: bool = True
) -> Tensor:
    """How blurred each pixel is by motion: what moves far within the exposure is smeared far.

    Squared length of the flows that live on a frame (BSSTNet, CVPR 2024, Eq. 1). `official` takes
    the mean of what is there, as the released code; `paper` the sum, so that the first and last
    frame, which have one flow only, weigh half as much.

    Args:
        flow_forward: (T-1, 2, H, W) pixels, `t` lives on frame t and points to t + 1.
        flow_backward: (T-1, 2, H, W) pixels, `t` lives on frame t + 1 and points to t.
        mode: `official` or `paper`.
        normalise: from the least to the most blurred pixel of the clip to 0..1; otherwise squared
            pixels.

    Returns:
        (T, 1, H, W), 0 = sharp, 1 = most blurred; zeros where nothing moves, or all of it alike.
    """
    dtype = torch.promote_types(flow_forward.dtype, torch.float32)
    flows = flow_forward.to(dtype), flow_backward.to(dtype)
    motion = squared_motion(*flows, "sum" if mode == "paper" else "mean")  # (T, 1, H, W)
    return spread(motion[None])[0] if normalise else motion
