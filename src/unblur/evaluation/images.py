"""Before and after: a sheet for each clip, every method beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import ResourceError
from unblur.metrics import psnr
from unblur.synth.textures import write

__all__ = ["write", "write_sheet"]

SIDE = 256
"""Largest side of the part that is shown, the one with most detail in the truth."""
LINE = 15
HEAD = 2 * LINE + 5
"""Pixels above each image, for its name and its PSNR."""
GAP = 4
ENLARGED = 3
"""By how much the part below is."""
STEP = 16


def write_sheet(path: Path, truth: Tensor, columns: Sequence[tuple[str, Tensor]]) -> None:
    """Writes images `(3, H, W)` of the same frame side by side as a PNG, the truth last.

    Each has its name and its PSNR on top, and below it the part where the first one is furthest
    from the truth, enlarged.
    """
    import cv2

    top, left, height, width = most_detailed(truth)
    window = (..., slice(top, top + height), slice(left, left + width))
    truth = truth[window].clamp(0, 1)
    images = [(name, image[window].clamp(0, 1)) for name, image in columns]
    detail = furthest(images[0][1], truth)
    parts = []
    for name, image in (*images, ("truth", truth)):
        head = np.full((HEAD, width, 3), 255, np.uint8)
        score = "" if image is truth else f"{float(psnr(image, truth, cap=50.0)):.2f} dB"
        for text, base in ((name, LINE), (score, 2 * LINE)):
            cv2.putText(
                head, text, (2, base), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA
            )
        pixels = eight_bits(image)
        large = cv2.resize(
            eight_bits(image[detail]), (width, height), interpolation=cv2.INTER_CUBIC
        )
        between = np.full((GAP, width, 3), 255, np.uint8)
        column = np.concatenate((head, pixels, between, large))
        parts += [column, np.full((len(column), GAP, 3), 255, np.uint8)]
    sheet = np.concatenate(parts[:-1], axis=1)
    done, data = cv2.imencode(".png", np.ascontiguousarray(sheet[:, :, ::-1]))
    if not done:
        raise ResourceError(f"{path} cannot be encoded as PNG: is OpenCV complete?")
    write(path, data.tobytes())


def eight_bits(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    return (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def furthest(image: Tensor, truth: Tensor) -> tuple[Any, slice, slice]:
    """Index of the part, a third of each side, with the largest error."""
    error = (image - truth).square().mean(0)  # (H, W)
    height, width = (max(1, n // ENLARGED) for n in error.shape)
    sums = F.avg_pool2d(error[None, None], (height, width), stride=1)[0, 0]
    top, left = divmod(int(sums.argmax()), sums.shape[1])
    return (..., slice(top, top + height), slice(left, left + width))


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
