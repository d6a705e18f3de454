"""Images of a validation: rows of clips, columns of input, output and truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor


def write_grid(path: Path, rows: Sequence[Sequence[Tensor]]) -> None:
    """Writes images `(3, H, W)` of one size in [0, 1] as a PNG, `rows[y][x]` at (x, y)."""
    import cv2

    whole = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    pixels = (whole.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels.cpu().numpy()[:, :, ::-1])
