"""Where a flow and the flow back agree."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.ops.warp import warp


def consistency(
    flow: Tensor, back: Tensor, relative: float = 0.01, absolute: float = 0.5
) -> Tensor:
    """1 where going along `flow` and returning along `back` ends near the start, else 0.

    A pixel is valid if `|f + b|^2 < relative * (|f|^2 + |b|^2) + absolute`, with b the flow back
    found at the pixel's target (Sundaram et al., ECCV 2010, section 3.2). Occluded pixels and
    wrong flows fail.

    Args:
        flow: (B, 2, H, W) pixels, from frame a to frame b.
        back: (B, 2, H, W) pixels, from frame b to frame a; zero outside the image.
        relative: share of the squared motion that is forgiven.
        absolute: squared pixels that are always forgiven.

    Returns:
        (B, 1, H, W) validity, 0 or 1, in the dtype of `flow`. Carries no gradient.
    """
    with torch.no_grad():
        f = flow.to(torch.promote_types(flow.dtype, torch.float32))
        b = warp(back.to(f.dtype), f)
        error = (f + b).square().sum(1, keepdim=True)  # (B, 1, H, W)
        motion = f.square().sum(1, keepdim=True) + b.square().sum(1, keepdim=True)
        return (error < relative * motion + absolute).to(flow.dtype)
