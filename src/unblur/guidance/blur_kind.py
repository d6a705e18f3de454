"""How blurred a frame is, and by what: motion, focus, both or nothing."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import weights
from unblur.guidance.flow import dis_flow_ahead
from unblur.models import load_state
from unblur.models.look import CELL, PATCH, Look

LOOK_WEIGHTS = "look-s"
LEAST = 1e-6
"""Energy of gradients, on a range of 1, below which there is no detail to speak of."""
MOST = 0.9
"""Quantile of detail that says how blurred a frame is."""
LUMA = (0.2126, 0.7152, 0.0722)


def load_look_s(device: torch.device | str = "cpu") -> Look:
    """look-s with the weights that ship."""
    path = weights.require(LOOK_WEIGHTS, "they come with unblur: install it again")
    return load_state(Look(), weights.load(path), str(path)).to(device).eval()


def filled(x: Tensor, height: int, width: int) -> Tensor:
    """Grows the last two axes by their last values."""
    missing = (0, max(0, width - x.shape[-1]), 0, max(0, height - x.shape[-2]))
    return F.pad(x, missing, mode="replicate")[..., :height, :width]


def noise(luma: Tensor) -> Tensor:
    """Deviation of white noise in an image (1, 1, H, W), by what no edge explains.

    The median of a second difference along both axes, which straight edges leave at zero.
    """
    kernel = luma.new_tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    second = F.conv2d(luma, kernel).abs()
    return second.median() / (6 * 0.6745) + 1e-4


def detail_of(luma: Tensor) -> Tensor:
    """Root mean square of gradients in each cell of an image (1, 1, H, W), sides in whole cells."""
    dx = F.pad(luma[..., 1:] - luma[..., :-1], (0, 1))
    dy = F.pad(luma[..., 1:, :] - luma[..., :-1, :], (0, 0, 0, 1))
    return (F.avg_pool2d(dx**2 + dy**2, CELL)[0, 0] + LEAST).sqrt()


def weighted_quantile(values: Tensor, weight: Tensor, level: float = MOST) -> float:
    """That of values (n,) by their weight."""
    ordered, order = values.sort()
    below = weight[order].cumsum(0) / weight.sum()
    at = torch.searchsorted(below, below.new_tensor([level])).clamp(max=len(values) - 1)
    return float(ordered[at])


class Looked(NamedTuple):
    """How a frame is blurred."""

    motion: Tensor
    """(h, w) pixels that things in each cell moved while the shutter was open."""
    radius: Tensor
    """(h, w) of the circle of confusion in pixels."""
    blurred: Tensor
    """(h, w) share of each cell that is blurred, by motion or by focus: the larger of both."""
    chance: tuple[float, float]
    """Of being blurred by motion, and by focus."""
    noise: float
    """Deviation of the noise, on a range of 1."""
    detail: Tensor
    """(h, w) by how much each cell counts."""

    def most(self, values: Tensor) -> float:
        """What a tenth of all that has detail reaches."""
        return weighted_quantile(values.flatten(), self.detail.flatten())


class Looker:
    """Looks at frames with their neighbours."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device
        self.network = load_look_s(device)

    @torch.no_grad()
    def __call__(self, frame: Tensor, neighbour: Tensor | None) -> Looked:
        """Looks at a frame (3, H, W), encoded RGB in [0, 1], and at one beside it in its shot."""
        shown, beside, flow = seen_by(frame, neighbour)
        cells, kinds = self.network(*(x.to(self.device) for x in (shown, beside, flow)))
        motion, radius = cells[0, :2].float().cpu().clamp_min(0).expm1()
        blurred = cells[0, 2:].float().cpu().sigmoid().amax(0)
        chance = kinds[0].float().sigmoid().tolist()
        noisy, detail = float(noise(shown)), detail_of(shown)
        return Looked(motion, radius, blurred, (chance[0], chance[1]), noisy, detail)


def seen_by(frame: Tensor, neighbour: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """What look-s is given of a frame (3, H, W) in [0, 1]; without a neighbour nothing moves."""
    pair = torch.stack((frame, frame if neighbour is None else neighbour)).float().cpu()
    flow = dis_flow_ahead(pair, PATCH)  # (1, 2, h, w)
    luma = torch.einsum("tchw,c->thw", pair, pair.new_tensor(LUMA))[:, None]
    height, width = (-(-side // CELL) * CELL for side in luma.shape[-2:])
    shown, beside = filled(luma, height, width).split(1)
    return shown, beside, filled(flow, height // PATCH, width // PATCH)
