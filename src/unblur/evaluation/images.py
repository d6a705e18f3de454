"""Before and after: a sheet for each clip, every method beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import ResourceError
from unblur.synth.textures import write

__all__ = ["write", "write_sheet"]

SIDE = 256
"""Largest side of the part that is shown, the one with most detail in the truth."""
HEAD = 20
"""Pixels above each image, for its name."""
GAP = 4
STEP = 16


def write_sheet(path: Path, truth: Tensor, columns: Sequence[tuple[str, Tensor]]) -> None:
    """Writes images `(3, H, W)` of the same frame side by side as a PNG, the truth last."""
    import cv2

    top, left, height, width = most_detailed(truth)
    parts = []
    for name, image in (*columns, ("truth", truth)):
        part = image[:, top : top + height, left : left + width]
        pixels = (part.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        head = np.full((HEAD, width, 3), 255, np.uint8)
        cv2.putText(
            head, name, (2, HEAD - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA
        )
        parts += [np.concatenate((head, pixels)), np.full((HEAD + height, GAP, 3), 255, np.uint8)]
    sheet = np.concatenate(parts[:-1], axis=1)
    done, data = cv2.imencode(".png", np.ascontiguousarray(sheet[:, :, ::-1]))
    if not done:
        raise ResourceError(f"{path} cannot be encoded as PNG: is OpenCV complete?")
    write(path, data.tobytes())


def most_detailed(
    truth: Tensor,  # (3, H, W)
) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part with the most gradient energy."""
    H, W = truth.shape[-2:]
    height, width = min(H, SIDE), min(W, SIDE)
    luma = truth.mean(0)
    energy = torch.zeros_like(luma)
    energy[:, 1:] += (luma[:, 1:] - luma[:, :-1]).abs()
    energy[1:] += (luma[1:] - luma[:-1]).abs()
    sums = F.avg_pool2d(energy[None, None], (height, width), stride=STEP)[0, 0]
    best = int(sums.argmax())
    return best // sums.shape[1] * STEP, best % sums.shape[1] * STEP, height, width
