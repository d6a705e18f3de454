"""The pixels that are rendered: a frame and a margin, for the lens draws light from beyond it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.optics.disk_blur import smooth_number


@dataclass(frozen=True)
class Canvas:
    """A frame seen at 1 / scale of its size, with a margin around. Sizes are of the frame."""

    height: int
    width: int
    margin: int = 0
    """Least pixels of the frame on each side."""
    scale: int = 1

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width of the frame at this scale."""
        return self.height // self.scale, self.width // self.scale

    @property
    def outer(self) -> tuple[int, int]:
        """Height and width with the margin, a size that is fast to transform."""
        if not self.margin:
            return self.inner
        margin = -(-self.margin // self.scale)
        rows, cols = (smooth_number(side + 2 * margin, 4) for side in self.inner)
        return rows, cols

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the frame's first pixel."""
        (rows, cols), (height, width) = self.outer, self.inner
        return (rows - height) // 2, (cols - width) // 2

    def axes(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Columns and rows of the pixels' centres, in pixels of the full frame, centres whole."""
        (rows, cols), (top, left) = self.outer, self.corner
        x = torch.arange(cols, device=device, dtype=torch.float32) - left
        y = torch.arange(rows, device=device, dtype=torch.float32) - top
        return (x + 0.5) * self.scale - 0.5, (y + 0.5) * self.scale - 0.5

    def crop(self, x: Tensor) -> Tensor:
        """The frame of (..., rows, columns)."""
        (top, left), (height, width) = self.corner, self.inner
        return x[..., top : top + height, left : left + width]
