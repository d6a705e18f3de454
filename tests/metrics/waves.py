"""An image that any library can be given, and what may be done to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor


def waves(height: int, width: int) -> Tensor:
    """Three colours, (3, height, width)."""
    y, x = np.mgrid[0:height, 0:width] / 64
    colours = (
        0.5 + 0.4 * np.sin(20 * x + 3 * y),
        0.5 + 0.4 * np.cos(11 * y - 5 * x),
        0.5 + 0.3 * np.sin(31 * x * y),
    )
    return torch.from_numpy(np.stack(colours))


CHANGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "darker": lambda t: 0.8 * t,
    "shifted": lambda t: t.roll(2, -1),
    "channels": lambda t: t[[2, 0, 1]],
    "flat": lambda t: torch.full_like(t, 0.5),
}
