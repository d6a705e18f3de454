"""Focus missed in low light: strong noise, and what a denoiser leaves of it.

DaBiT's paper shows such footage (scenes of BVI-RLV, which are not free) and measures nothing on it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unblur.evaluation.rendered import DAYLIGHT
from unblur.ops.wavelet import haar

LOW_LIGHT = replace(
    DAYLIGHT,
    gain=(0.2, 0.5),
    highlights=0.4,
    highlight=(3, 12),
    noise=1.0,
    read_noise=(0.003, 0.008),
    shot_noise=(0.001, 0.004),
)
"""Scenes at night: dark, with lamps, and a sensor at its limit."""
STRENGTH = 1.0
"""Of the filter, in standard deviations of the noise."""
PATCH, SEARCH = 7, 21
QUANTILE, NORMAL = 0.8, 1.2816
"""Part of the finest details that noise is measured by, for dark places are the noisiest; and the
size that this part of a normal variable stays below."""


def denoise(
    frames: Tensor,  # (T, 3, H, W)
) -> Tensor:  # (T, 3, H, W)
    """Each frame by itself through OpenCV's non-local means (Buades et al. 2011), 8 bits.

    As strong as the noise: what stays is faint and blotched, and fine texture goes with it.
    """
    import cv2

    strength = STRENGTH * 255 * noise_level(frames)
    found = []
    for frame in frames:
        codes = (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        bgr = np.ascontiguousarray(codes[:, :, ::-1])
        clean = cv2.fastNlMeansDenoisingColored(bgr, None, strength, strength, PATCH, SEARCH)
        found.append(torch.from_numpy(clean[:, :, ::-1].copy()).permute(2, 0, 1))
    return torch.stack(found).float() / 255


def noise_level(
    frames: Tensor,  # (T, 3, H, W)
) -> float:
    """Standard deviation of the noise, from the finest diagonal details."""
    diagonal = haar(frames)[1][..., 2, :, :]
    return float(diagonal.abs().flatten()[::3].quantile(QUANTILE) / NORMAL)
