"""Images side by side, for the other examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def beside(images: Sequence[Tensor], gap: int) -> np.ndarray:
    """Images (3, h, w) in [0, 1] from left to right, as 8-bit BGR, `gap` white pixels between."""
    white = torch.ones(3, images[0].shape[1], gap)
    parts = [part for image in images for part in (image.clamp(0, 1), white)][:-1]
    rgb = (torch.cat(parts, 2) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(rgb[:, :, ::-1])
