"""The circle of confusion of each pixel by coc-s or coc-m, from the image alone."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import weights
from unblur.guidance.steady import CHANGE, steady
from unblur.models import load_state
from unblur.models.coc import CocConfig, CocNet, alone, radius_of, with_encoder
from unblur.weights.difference import load_whole
from unblur.weights.switches import read_switches

COC_WEIGHTS = "coc-s"
COC_LARGER = "coc-m"
"""On the encoder of `motion-s`: finds more, and takes seven times as long."""
BLUREST = 12.0
"""Radius in pixels that a map shows as 1."""
REMEDY = "they come with unblur: install it again"
PIXELS = {"own": 2_200_000, "motion-s": 1_300_000}
"""Pixels that a network of that encoder sees at once: 400 MiB. Larger frames are cut into bands."""
MARGIN = 64
"""Rows on either side of a band that the network sees with it."""
CELL = 32
"""Pixels over which a change is common: the focus moves for all that lies there, noise does not."""


def load_coc_s(device: torch.device | str = "cpu") -> CocNet:
    """coc-s with the weights that ship, or with others in their place."""
    return load_coc(weights.require(COC_WEIGHTS, REMEDY)).to(device)


def load_coc_m(device: torch.device | str = "cpu") -> CocNet:
    """coc-m, likewise."""
    return load_coc(weights.require(COC_LARGER, REMEDY)).to(device)


def load_coc(path: str | Path) -> CocNet:
    """The network that the weights in a file say they are of."""
    known = {field.name for field in fields(CocConfig)}
    switches = read_switches(path) or {}
    config = CocConfig(**{name: x for name, x in switches.items() if name in known})
    return load_state(CocNet(config), alone(load_whole(path, with_encoder)), str(path))


def coc_radius(network: CocNet, frames: Tensor) -> Tensor:
    """Radius of the circle of confusion, each frame by itself.

    Args:
        network: on any device.
        frames: (T, 3, H, W) encoded RGB in [0, 1], any size.

    Returns:
        (T, 1, H, W) pixels, where the frames are; up to about 14 it is right, beyond too small.
    """
    device = next(network.parameters()).device
    height, width = frames.shape[-2:]
    found = frames.new_zeros(len(frames), 1, height, width, dtype=torch.float32)
    places = bands(height, width, network.config)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for t, (first, last) in product(range(len(frames)), places):
            top = max(0, first - MARGIN)
            given = frames[t, None, :, top : last + MARGIN].to(device).float()
            radius = radius_of(network(given))[..., first - top : last - top, :]
            found[t, :, first:last] = radius[0].to(frames.device)
    return found


def bands(height: int, width: int, config: CocConfig) -> list[tuple[int, int]]:
    """First and last row + 1 of the parts of a frame that the network looks at one by one.

    >>> bands(1080, 1920, CocConfig()), bands(1000, 3840, CocConfig())
    ([(0, 1080)], [(0, 432), (432, 864), (864, 1000)])
    """
    most, multiple = PIXELS[config.encoder], config.multiple_of
    if height * width <= most:
        return [(0, height)]
    rows = max(MARGIN, (most // width - 2 * MARGIN) // multiple * multiple)
    return [(first, min(first + rows, height)) for first in range(0, height, rows)]


class DefocusMap:
    """Blur map of the frames of a scene, in order, that does not flicker.

    0 = sharp, 1 = a radius of `BLUREST` pixels and more, and even steps between: times `BLUREST` it
    is the radius again.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._network = load_coc_s(device)
        self._before: Tensor | None = None

    def restart(self) -> None:
        """Forgets: the next frame is the first of a scene."""
        self._before = None

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) encoded RGB in [0, 1] to (T, 1, H, W) in [0, 1]."""
        whole = math.log1p(BLUREST)
        maps = []
        for radius in coc_radius(self._network, frames):
            self._before = followed(radius[None].log1p() / whole, self._before)  # (1, 1, H, W)
            maps.append((self._before * whole).expm1() / BLUREST)
        return torch.cat(maps).clamp(0, 1) if maps else frames[:, :1]


def followed(values: Tensor, before: Tensor | None) -> Tensor:
    """A map of a frame, steadied: what changes equally all around is taken over whole.

    So noise is kept out and a focus pull comes through without delay. Pixels that change much on
    their own have no say in what is common: something moves there.

    Args:
        values: (1, 1, H, W) in about [0, 1].
        before: what this returned for the frame before, or None.
    """
    if before is None:
        return values
    change = values - before
    common_to = (1 - (change / CHANGE).square()).clamp_min(0)
    size = values.shape[-2:]
    sums = [
        F.avg_pool2d(x, CELL, ceil_mode=True, count_include_pad=False)
        for x in (common_to * change, common_to)
    ]
    common = F.interpolate(sums[0] / (sums[1] + 0.1), size, mode="bilinear", align_corners=False)
    return steady(values, (before + common)[0])
