"""Patterns as fine as pixels can be: every other pixel, row or column.

No blur leaves them, so they are sharp, and networks were measured to shift their mean: rendered
scenes and footage hold none to learn from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 16
"""Pixels over which a pattern must go on. An edge of full contrast gives a sixteenth."""
FAINT, PLAIN = 0.1, 0.2
"""Amplitudes from which on a pattern counts, and counts fully."""


def finest_patterns(images: Tensor) -> Tensor | None:  # (N, 3, H, W) -> (N, 1, H, W)
    """How far each pixel belongs to such a pattern, 0 to 1; None where there is none at all.

    Args:
        images: encoded RGB in [0, 1]; those smaller than `SIDE` are not looked at.
    """
    height, width = images.shape[-2:]
    if min(height, width) < SIDE:
        return None
    gray = images.mean(1, keepdim=True)
    rows = 1 - 2 * (torch.arange(height, device=images.device) % 2).to(gray.dtype)[:, None]
    columns = 1 - 2 * (torch.arange(width, device=images.device) % 2).to(gray.dtype)
    signs = torch.stack([rows.expand(height, width), columns.expand(height, width), rows * columns])
    found = F.avg_pool2d(gray * signs, SIDE, SIDE // 2).abs().amax(1, keepdim=True)
    if not (found > FAINT).any():
        return None
    share = ((found - FAINT) / (PLAIN - FAINT)).clamp(0, 1)
    return F.interpolate(share, (height, width), mode="bilinear")
