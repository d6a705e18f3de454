"""Before and after, side by side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GAP = 4
"""Pixels of white between the pictures; even, so that subsampled chroma stays aligned."""


def side_by_side(*pictures: Tensor) -> Tensor:
    """Puts pictures `(3, H, W)` of one height beside each other, `(3, H, n * W + (n - 1) * gap)`.

    Pictures of another height are resized to that of the last one; the gap grows along.
    """
    height = pictures[-1].shape[-2]
    wide = GAP * height // pictures[0].shape[-2]
    fitted = [p if p.shape[-2] == height else _to_height(p, height) for p in pictures]
    gap = torch.ones(3, height, wide, dtype=fitted[0].dtype, device=fitted[0].device)
    parts = [part for picture in fitted for part in (picture, gap)]
    return torch.cat(parts[:-1], dim=-1)


def _to_height(picture: Tensor, height: int) -> Tensor:
    width = round(picture.shape[-1] * height / picture.shape[-2])
    resized = F.interpolate(picture[None], (height, width), mode="bicubic", antialias=True)
    return resized[0].clamp(0, 1)
