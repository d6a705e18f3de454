"""Metrics of clips `(..., T, C, H, W)` in [0, 1]: one number for each pair of neighbouring frames.

A restorer that does well on each frame by itself may still flicker: what changes from frame to
frame is compared here with what should.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from unblur.metrics.functional import psnr
from unblur.ops.consistency import consistency
from unblur.ops.warp import warp

BLOCK, MARGIN = 32, 16
"""tOF counts whole blocks of pixels in the middle, at least a margin less than the frame."""


def tpsnr_diff(
    x: Tensor,  # (..., T, C, H, W)
    truth: Tensor,  # (..., T, C, H, W)
    cap: float = torch.inf,
) -> Tensor:  # (..., T-1)
    """PSNR in dB of the differences of neighbouring frames, for a peak of 1.

    One of two readings of "tPSNR"; `tpsnr_pq` is the other, and not about time.

    >>> still = torch.zeros(2, 3, 4, 4)
    >>> float(tpsnr_diff(torch.stack((still[0], still[1] + 0.1)), still).round())
    20.0
    """
    return psnr(x.double().diff(dim=-4), truth.double().diff(dim=-4), cap)


def tof(
    x: Tensor,  # (..., T, 3, H, W)
    truth: Tensor,  # (..., T, 3, H, W)
) -> Tensor:  # (..., T-1)
    """By how many pixels the optical flow of a clip differs from its truth's: tOF.

    The measure of TecoGAN (Chu et al. 2020) as DaBiT's released code computes it: Farnebäck's flow
    on gray frames of 8 bits, the mean length of the difference of the two flows, a rim left out (of
    864x480, 16 px on each side). Lower is better; flicker raises it. Frames must be at least 48x48.
    """
    height, width = x.shape[-2:]
    if min(height, width) < BLOCK + MARGIN:
        raise ValueError(f"tOF needs frames of at least 48x48, not {(height, width)}")
    rows, columns = counted(height), counted(width)
    clips = [
        flows(one)[:, :, rows, columns] - flows(right)[:, :, rows, columns]
        for one, right in zip(
            x.reshape(-1, *x.shape[-4:]), truth.reshape(-1, *truth.shape[-4:]), strict=True
        )
    ]
    errors = [difference.norm(dim=1).mean(dim=(-2, -1)) for difference in clips]  # (T-1) each
    return torch.stack(errors).reshape(*x.shape[:-4], -1)


def warp_error(
    x: Tensor,  # (..., T, 3, H, W)
    truth: Tensor,  # (..., T, 3, H, W)
) -> Tensor:  # (..., T-1)
    """How little a clip agrees with itself along the motion of its truth: 0 for none of it.

    The warping error of Lai et al. (Learning Blind Video Temporal Consistency, ECCV 2018): the mean
    square of the difference between each frame and the next one laid over it, where the flow there
    and back agrees. Farnebäck's flow of the truth takes the place of FlowNet2's, and borders of
    motion are not left out, so that figures do not compare with those of papers. A truth has some,
    too: what is interpolated, noise, shadows. NaN where the flow holds nowhere.
    """
    frames, right = (y.reshape(-1, *y.shape[-4:]).float() for y in (x, truth))
    errors = []
    for clip, sharp in zip(frames, right, strict=True):
        to = flows(sharp)  # (T-1, 2, H, W)
        back = flows(sharp.flip(0)).flip(0)
        inside = warp(torch.ones_like(to[:, :1]), to) > 0.999
        trusted = consistency(to, back) * inside  # (T-1, 1, H, W)
        square = (warp(clip[1:], to) - clip[:-1]).square().mean(1, keepdim=True)
        errors.append((square * trusted).sum((-3, -2, -1)) / trusted.sum((-3, -2, -1)))
    return torch.stack(errors).reshape(*x.shape[:-4], -1)


def counted(side: int) -> slice:
    """The part of an axis that counts.

    >>> counted(480), counted(96)
    (slice(16, 464, None), slice(16, 80, None))
    """
    length = (side - MARGIN) // BLOCK * BLOCK
    start = (side - length) // 2
    return slice(start, start + length)


def flows(
    frames: Tensor,  # (T, 3, H, W)
) -> Tensor:  # (T-1, 2, H, W)
    """Farnebäck's flow from each frame to the next, in pixels, channel 0 = x; where they are."""
    import cv2

    codes = (frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    gray = [cv2.cvtColor(code, cv2.COLOR_RGB2GRAY) for code in codes]
    found = []
    for here, there in pairwise(gray):
        empty = np.zeros((*here.shape, 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(here, there, empty, 0.5, 3, 15, 3, 5, 1.2, 0)
        found.append(torch.from_numpy(flow).permute(2, 0, 1))
    none = torch.zeros(0, 2, *frames.shape[-2:])
    return (torch.stack(found) if found else none).to(frames.device)
