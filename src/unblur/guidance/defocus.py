"""How far out of focus each pixel is, where its depth is known.

What `guidance.coc` says of single pixels is averaged over all pixels of a depth, as DaBiT (arXiv
2407.01230) sums up the details of a depth: then what has no details of its own takes the blur of
all that lies as far.

The classical measure beside it needs no training. It takes edges: blurred once more by a known
Gaussian, a soft edge loses less of its detail than a sharp one. For the blur of width s of an edge,
detail falls as 1 / s, so the energies of an image and of its blurred copy stand in the ratio
Q = sqrt(1 + S^2 / s^2) for a Gaussian of width S (Zhuo and Sim, Pattern Recognition 2011, take the
same ratio edge by edge). Energies are those of Haar's wavelets, summed up over all pixels of a
depth. The measure is absolute: one frame needs no other to be found sharp.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.guidance.coc import DefocusMap
from unblur.guidance.steady import steady
from unblur.ops.gaussian import gaussian
from unblur.ops.pad import pad_to, padded_length
from unblur.ops.wavelet import BINS, haar

REBLUR = 1.5
"""Width in pixels of the Gaussian of the second blur."""
SHARP, BLURRED = 0.8, 3.0
"""Widths of blur in pixels that a map shows as 0 and 1."""
CELL = 4
"""Energies are kept for cells of 4 x 4 wavelets, 8 x 8 pixels."""
QUIET = 0.1
"""Share of the cells that are taken to hold nothing but noise."""
QUIET_MEAN = 0.74
"""Energy that this share of cells of pure noise stays below, over the mean of all."""
FLOOR = 1e-6
"""Energy below which there is nothing to see."""
MASK_THRESHOLD = 0.1
"""Above it a blur map counts as blurred, as in DaBiT's released code."""


def defocus_of_depths(frames: Tensor, depth: Tensor) -> Tensor:
    """Blur at each depth by the classical measure, from the details of all pixels there.

    Args:
        frames: (T, 3, H, W) RGB in [0, 1].
        depth: (T, 1, H, W) in [0, 1].

    Returns:
        (T, 11) blur at the depths 0.0, 0.1, ... 1.0; look it up with `at_depth`.
    """
    once, twice = energies(frames)
    place = F.avg_pool2d(padded(depth), 2 * CELL).clamp(0, 1) * (BINS - 1)
    bins = torch.arange(BINS, device=depth.device)[:, None, None]
    share = (1 - (place - bins).abs()).clamp_min(0)  # (T, 11, h, w)
    sums = [(share * x).sum((-2, -1)) / place[0, 0].numel() for x in (once, twice)]
    # A depth at which there is little to see takes what its neighbours say.
    apart = (torch.arange(BINS) - torch.arange(BINS)[:, None]).abs()
    spread = (10.0 ** (-1.5 * apart)).to(frames)  # (11, 11)
    return as_map(width_of(*(x @ spread for x in sums)))


def blur_at_depths(blur: Tensor, depth: Tensor) -> Tensor:
    """Blur at each depth: the mean of all pixels there.

    Args:
        blur: (T, 1, H, W) blur map.
        depth: (T, 1, H, W) in [0, 1].

    Returns:
        (T, 11) blur at the depths 0.0, 0.1, ... 1.0; look it up with `at_depth`.
    """
    place = (depth.clamp(0, 1) * (BINS - 1)).flatten(1)  # (T, H W)
    bins = range(BINS)
    share = torch.stack([(1 - (place - i).abs()).clamp_min(0) for i in bins], 1)  # (T, 11, H W)
    sums = torch.stack(((share * blur.flatten(1)[:, None]).mean(2), share.mean(2)), 1)  # (T, 2, 11)
    # A depth at which nothing lies takes what its neighbours say.
    apart = (torch.arange(BINS) - torch.arange(BINS)[:, None]).abs()
    blurred, many = (sums @ (10.0 ** (-1.5 * apart)).to(sums)).unbind(1)
    return blurred / many


def at_depth(curve: Tensor, depth: Tensor) -> Tensor:
    """Values of `curve` (T, 11) at `depth` (T, 1, H, W) in [0, 1]."""
    place = (depth.clamp(0, 1) * (BINS - 1)).flatten(1)  # (T, H W)
    low = place.floor().clamp_max(BINS - 2)
    share, index = place - low, low.long()
    values = curve.gather(1, index) * (1 - share) + curve.gather(1, index + 1) * share
    return values.view_as(depth)


class BlurFromDepth:
    """Blur map of the frames of a scene, in order, one value for each depth."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._map = DefocusMap(device)
        self._before: Tensor | None = None

    def restart(self) -> None:
        """Forgets: the next frame is the first of a scene."""
        self._map.restart()
        self._before = None

    def __call__(self, frames: Tensor, depth: Tensor) -> Tensor:
        """(T, 3, H, W) RGB in [0, 1] and (T, 1, H, W) to (T, 1, H, W), as `DefocusMap` has it."""
        curve = steady(blur_at_depths(self._map(frames), depth), self._before)
        self._before = curve[-1]
        return at_depth(curve, depth)


def blur_mask(blur: Tensor, threshold: float = MASK_THRESHOLD) -> Tensor:
    """1 where a blur map lies above the threshold, else 0.

    The paper says "above the least value", which on a continuous map is all but everywhere.
    """
    return (blur > threshold).to(blur)


LEAST = 1e-4
"""Above the least value by this much a pixel is blurred, where a map has a least value."""


def above_least(blur: Tensor) -> Tensor:
    """1 where a blur map lies above its least value, else 0 (DaBiT, section 3.2).

    For maps of `ops.wavelet`, in which all that lies as far as what is in focus has that value.
    """
    return (blur > blur.amin() + LEAST).to(blur)


def energies(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of the details of frames, and of frames blurred once more, without that of noise.

    Returns:
        (T, 1, h, w) each, cells of 8 x 8 pixels.
    """
    x = padded(frames)
    reach = math.ceil(3 * REBLUR)
    line = gaussian(reach, REBLUR, x).expand(3, 1, 1, -1)
    soft = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    soft = F.conv2d(F.conv2d(soft, line, groups=3), line.transpose(2, 3), groups=3)
    # White noise keeps this part of its energy.
    taps = line[0, 0, 0]
    step = F.pad(taps, (1, 1))
    kept_along, kept_across = (step[1:] - step[:-1]).square().sum() / 2, taps.square().sum()
    once, twice = (F.avg_pool2d(details_of(y), CELL) for y in (x, soft))  # (T, 3, h, w)
    # Blurred images have next to no diagonal details: the least of them is noise.
    quiet = once[:, 2].flatten(1).quantile(QUIET, 1) / QUIET_MEAN
    noise = 2 * quiet[:, None, None, None]
    once, twice = (y[:, :2].sum(1, keepdim=True) for y in (once, twice))
    return once - noise, twice - noise * kept_along * kept_across


def details_of(x: Tensor) -> Tensor:
    """Energy of the details of all colours, across, down and diagonal: (T, 3, H/2, W/2).

    Mean of two sets of 2 x 2 blocks, for an edge between blocks is none inside them.
    """
    shifted = F.pad(x[..., 1:, 1:], (0, 1, 0, 1), mode="replicate")
    return (haar(x)[1].square().sum(1) + haar(shifted)[1].square().sum(1)) / 2


def padded(x: Tensor) -> Tensor:
    """The frames up to a whole number of cells."""
    height, width = (padded_length(side, 2 * CELL) for side in x.shape[-2:])
    return pad_to(x, height, width)


def width_of(once: Tensor, twice: Tensor) -> Tensor:
    """Width of the blur in pixels from the energies before and after the second blur."""
    q = ((once.clamp_min(0) + FLOOR) / (twice.clamp_min(0) + FLOOR / 3)).square()
    return REBLUR / (q - 1).clamp_min(1e-3).sqrt()


def as_map(width: Tensor) -> Tensor:
    """0 at `SHARP` pixels of blur and below, 1 at `BLURRED` and above."""
    return ((width - SHARP) / (BLURRED - SHARP)).clamp(0, 1)
