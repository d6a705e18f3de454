"""Losses of optical flow: pure functions of flows and masks `(B, t, 2 | 1, H, W)`.

Those of flow completion as ProPainter (ICCV 2023) and DaBiT (arXiv 2407.01230) train it, and one
that learns evenly from easy and hard pairs of frames.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.metrics import end_point_error
from unblur.ops.warp import warp

SMALL = 1.0
"""Mean error, in elements, below which less hardly counts."""
ALPHA, EPSILON = 0.45, 1e-3
"""Of the generalised Charbonnier function `(x^2 + EPSILON^2)^ALPHA` (Sun et al., CVPR 2010)."""
CENSUS = 3
"""Pixels on either side that the ternary transform compares a pixel with."""
CANNY = (50, 100)
"""Thresholds of Canny's edges on a flow's length, stretched to 0..255."""
COMBINED = 5.0
"""Weight of edges in what the flow network leaves and corrects, beside those of its own flow."""


def log_error(found: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean logarithm of the end-point error of each pair of frames, over `where` (B, t, 1, H, W).

    So a tenth less counts the same where flow is easy and where it is wholly wrong; of plain errors
    the few wrong pairs would be all that is learned from. Pairs without any `where` are left out.
    """
    errors = (end_point_error(found, truth, where) / SMALL).log1p()  # (B, t)
    if where is None:
        return errors.mean()
    counts = where.flatten(2).amax(2) > 0
    return (errors * counts).sum() / counts.sum().clamp(min=1)


def region(found: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Mean absolute difference over all elements, divided by the share of `where`.

    Zero where there is nothing of the region.
    """
    share = where.mean()
    if share == 0:
        return (0 * found).sum()
    return ((found - truth) * where).abs().mean() / share


def roughness(flow: Tensor) -> Tensor:
    """First and second differences, along and across, by the generalised Charbonnier function."""
    total = flow.new_zeros(())
    for axis in (-1, -2):
        for order in (1, 2):
            if flow.shape[axis] > order:
                step = torch.diff(flow, order, axis)
                total = total + (step.square() + EPSILON**2).pow(ALPHA).mean()
    return total


def ternary(flow: Tensor, here: Tensor, there: Tensor, where: Tensor | None = None) -> Tensor:
    """How unlike the frame is to what the flow fetches, by the ternary census transform.

    Each pixel is described by whether its neighbours are darker, equal or brighter, softly, so that
    brightness does not count (Zabih and Woodfill 1994; the soft form of Meister et al., AAAI 2018).

    Args:
        flow: (N, 2, H, W) pixels.
        here: (N, 3, H, W) in [0, 1], the frame that the flow lives on.
        there: (N, 3, H, W), the one that it points to.
        where: (N, 1, H, W), what counts; all by default. Places that have anything within `CENSUS`
            outside, here or where the flow leads, never do.
    """
    inside = (warp(torch.ones_like(here[:, :1]), flow) > 0.99).to(here)
    inside = F.pad(inside, (CENSUS,) * 4)
    inside = -F.max_pool2d(-inside, 2 * CENSUS + 1, 1)
    counts = inside if where is None else inside * where
    difference = (census(here) - census(warp(there, flow))).square()
    unlike = (difference / (0.1 + difference)).mean(1, keepdim=True)  # (N, 1, H, W)
    return (unlike * counts).sum() / counts.sum().clamp(min=1)


def census(frames: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] -> (N, 49, H, W) in -1..1: neighbours, less the pixel, softly."""
    gray = 255 * frames.mean(1, keepdim=True)
    size = 2 * CENSUS + 1
    around = F.unfold(gray, size, padding=CENSUS).unflatten(2, gray.shape[-2:])
    step = around - gray
    return step / (0.81 + step.square()).sqrt()


def edges_of(flow: Tensor) -> Tensor:
    """Canny's edges of a flow's length: (N, 2, H, W) -> (N, 1, H, W), 0 or 1."""
    import cv2

    length = flow.detach().float().norm(dim=1)  # (N, H, W)
    largest = length.amax((1, 2), keepdim=True).clamp(min=1e-6)
    images = (255 * length / largest).round().byte().cpu().numpy()
    edges = np.stack([cv2.Canny(image, *CANNY) for image in images])
    return torch.from_numpy(edges > 0).to(flow)[:, None]


def edge(found: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of edges found, each (N, 1, H, W) in 0..1, and true ones.

    Edges are few: they weigh as much as all that is none.
    """
    found = found.clamp(1e-6, 1 - 1e-6)
    share = truth.mean()
    weight = torch.where(truth > 0.5, 1 - share, share)
    return F.binary_cross_entropy(found, truth, weight)
